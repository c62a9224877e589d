"""`hub:DIR`: a TF-Hub module on the disk, called as its page says: `model(waveform)`.

Covers what audio modules have in common: a callable of (n,) or (b, n) float waveforms, with an argument
`sample_rate` where the module has one (TRILL). Outputs: a tensor, a dictionary (TRILL: `embedding`), or a tuple
(YAMNet: scores, embeddings, spectrogram); embeddings in time are averaged. Where the module takes one waveform
it is called once a waveform.

A module is code: load only what you trust.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hares._digests import combined_digest, library_versions, tree_digest
from hares.encoders import EncoderOptions, FrozenEncoder, chosen_rate
from hares.encoders._arrays import as_array, over_time, pick_output


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a TF-Hub module's folder. Raises ValueError where there is none, or it is not callable."""
    import tensorflow_hub

    spec = f"hub:{location}"
    if not (Path(location) / "saved_model.pb").is_file():
        raise ValueError(
            f"encoder {spec!r}: no saved_model.pb in {location or '.'}; unpack the module and give its folder"
        )
    try:
        model = tensorflow_hub.load(location)
    except Exception as error:  # a damaged file surfaces as any of a dozen types
        raise ValueError(
            f"encoder {spec!r}: the module cannot be loaded ({type(error).__name__}: {error}). Is it complete and "
            "undamaged?"
        ) from error
    if not callable(model):
        raise ValueError(
            f"encoder {spec!r}: the module cannot be called (a TF1 module?). Try saved_model:{location}, which "
            "uses its serving_default signature"
        )
    rate = chosen_rate(spec, None, options)
    rank, samples, takes_rate = _input(model, spec)
    arguments: dict[str, Any] = {"sample_rate": rate} if takes_rate else {}

    def call(waveforms: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        outputs = model(tf.constant(waveforms), **arguments)
        batch = len(waveforms) if waveforms.ndim == 2 else 1
        return over_time(as_array(pick_output(outputs, options.output, spec)), batch)

    def embed(waveforms: np.ndarray) -> np.ndarray:
        return call(waveforms) if rank == 2 else np.concatenate([call(row) for row in waveforms])

    return FrozenEncoder(
        spec=spec,
        name=Path(location).resolve().name,
        sample_rate=rate,
        embedding_size=None,
        digest=combined_digest(
            kind="hub",
            files=tree_digest(Path(location)),
            rate=rate,  # an argument of some modules
            output=options.output,
            versions=library_versions(),
        ),
        embed=embed,
        input_samples=samples,
        rate_assumed=options.sample_rate is None,
    )


def _input(model: Any, spec: str) -> tuple[int, int | None, bool]:
    """Rank and fixed length of the waveform, and whether there is an argument `sample_rate`."""
    functions = getattr(model.__call__, "concrete_functions", ())
    for function in functions:
        positional, named = function.structured_input_signature
        tensors = [s for s in (*positional, *named.values()) if hasattr(s, "shape")]
        waves = [s for s in tensors if s.dtype.is_floating and s.shape.rank in (1, 2)]
        if waves:
            names = [*named, *function.function_type.parameters]
            return waves[0].shape.rank, waves[0].shape[-1], "sample_rate" in names
    raise ValueError(
        f"encoder {spec!r}: none of the module's {len(functions)} functions takes a float waveform (samples,) or "
        f"(batch, samples). Wrap it in a HEAR module and give hear:MODULE"
    )
