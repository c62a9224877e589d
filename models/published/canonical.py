"""Weights under our own canonical names, as `models.weights.save_weights` writes them: an `.npz` or `.safetensors`.

This is how the NFNet and Slowfast families come in: the authors' released networks are converted once, where their
frameworks are, to the names and layouts that `canonical_variables` lists, kernels as (time, frequency, in, out).
"""

from __future__ import annotations

import numpy as np

from models.frontend import FrontendConfig
from models.import_weights import Arrays, PublishedSource


def convert(tensors: Arrays) -> dict[str, np.ndarray]:
    """The tensors as they are."""
    return dict(tensors)


SOURCE = PublishedSource(
    name="canonical",
    encoders=(),
    citation="weights by canonical name",
    frontend=FrontendConfig(),
    convert=convert,
)
