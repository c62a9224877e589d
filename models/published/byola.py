"""BYOL-A's AudioNTT2020, trained on AudioSet without labels: `AudioNTT2020-BYOLA-64x96d2048.pth`.

Niizumi et al., "BYOL for audio: self-supervised learning for general-purpose audio representation".

Its front end: windows of 1024 samples, a hop of 160, powers, 64 HTK bands from 60 to 7800 Hz, natural logarithm with
float32's epsilon added; then the mean and deviation of the data set are taken off, where ours are those of each clip.
Differences are in `docs/published_weights.md`.
"""

from __future__ import annotations

import numpy as np

from models.frontend import FrontendConfig
from models.import_weights import Arrays, PublishedSource
from models.published._torch_names import to_canonical, without

FRONTEND = FrontendConfig(
    window_length=1024,
    hop_length=160,
    fft_length=1024,
    num_mel_bins=64,
    lower_edge_hertz=60.0,
    upper_edge_hertz=7800.0,
    magnitude_power=2.0,
    log_floor=float(np.finfo(np.float32).eps),
)


def convert(tensors: Arrays) -> dict[str, np.ndarray]:
    """BYOL-A's state; its maps have frequency as their height, ours time."""
    arrays = to_canonical(without(tensors, ()))
    return {
        name: np.swapaxes(array, 0, 1) if np.ndim(array) == 4 else array for name, array in arrays.items()
    }


SOURCE = PublishedSource(
    name="byola",
    encoders=("byola_cnn",),
    citation="Niizumi et al., BYOL-A, AudioNTT2020 d=2048 trained on AudioSet; github.com/nttcslab/byol-a",
    frontend=FRONTEND,
    convert=convert,
)
