"""`keras:FILE.keras`: a Keras model of one float waveform (b, n), on whichever backend Keras finds.

KERAS_BACKEND chooses the backend; without it, the first of TensorFlow, PyTorch and JAX that is installed. Code in the
file (a Lambda layer) is refused, and custom layers have to be registered: for those give python:MODULE:FACTORY.
Sample rate: 16 kHz unless `--sample-rate` says otherwise. An embedding (b, t, d) is averaged over time; of several
outputs `--output-name` chooses by name.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._frameworks import WaveformInput, model_file, not_loaded, with_outputs
from hares.code_digest import code_digest
from hares.digests import combined_digest, file_digest, library_versions

_BACKENDS = ("tensorflow", "torch", "jax")


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a .keras file. Raises ValueError where it is none, or not one of waveforms."""
    spec = f"keras:{location}"
    path = model_file(location, "keras", ".keras")
    for backend in _BACKENDS:
        if importlib.util.find_spec(backend) is not None:
            os.environ.setdefault("KERAS_BACKEND", backend)
    import keras

    try:
        model: Any = keras.saving.load_model(location, compile=False, safe_mode=True)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise not_loaded(spec, "a .keras file whose layers are Keras' own", error) from error
    if len(model.inputs) != 1:
        raise ValueError(f"encoder {spec!r}: it has {len(model.inputs)} inputs; expected one waveform")
    takes = WaveformInput.of_shape(tuple(model.inputs[0].shape), spec)

    def call(waveforms: np.ndarray) -> Any:
        found = model.predict_on_batch(waveforms)
        names = list(model.output_names)
        return dict(zip(names, found, strict=True)) if isinstance(found, list | tuple) else found

    embed, output, outputs = with_outputs(call, takes, options.output, spec)
    return FrozenEncoder(
        spec=spec,
        name=path.stem,
        sample_rate=chosen_rate(spec, None, options),
        embedding_size=None,
        digest=combined_digest(
            kind="keras",
            code=code_digest(__name__),
            file=file_digest(path),
            output=output,
            versions=library_versions("keras", "jaxlib"),
        ),
        embed=embed,
        input_samples=takes.samples,
        output=output,
        outputs=outputs,
        rate_assumed=options.sample_rate is None,
        details={"backend": keras.backend.backend()},
    )
