"""`hub:DIR`: a TF-Hub module on the disk, called as its page says: `model(waveform)`.

Covers what audio modules have in common: a callable of (n,) or (b, n) float waveforms, with an argument
`sample_rate` where the module has one (TRILL). Outputs: a tensor, a dictionary (TRILL: `embedding`), or a tuple, which
is numbered from 0; embeddings in time are averaged. Where the module takes one waveform it is called once a waveform.

Of several outputs the one with an embedding's name is taken, or `--output-name`. One form without names is known:
YAMNet takes one waveform and returns scores, embeddings and spectrogram, all matrices (time, numbers).

A module is code: load only what you trust.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._arrays import as_array, choose_output, over_time
from hares.digests import combined_digest, library_versions, tree_digest

YAMNET_EMBEDDING = "1"


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder of a TF-Hub module's folder. Raises ValueError where there is none, or it is not callable."""
    import tensorflow as tf

    spec = f"hub:{location}"
    if not (Path(location) / "saved_model.pb").is_file():
        raise ValueError(
            f"encoder {spec!r}: no saved_model.pb in {location or '.'}; unpack the module and give its folder"
        )
    try:
        model = tf.saved_model.load(location)
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
    form = _form(model, spec)
    outputs = form.named_outputs()
    known = YAMNET_EMBEDDING if form.is_yamnet() else None
    output = choose_output(outputs, options.output or known, spec) if outputs else ""
    if options.output is not None and not outputs:
        raise ValueError(f"encoder {spec!r}: it has one output without a name. Leave --output-name out")
    arguments: dict[str, Any] = {"sample_rate": rate} if form.takes_rate else {}

    def call(waveforms: np.ndarray) -> np.ndarray:
        found = model(tf.constant(waveforms), **arguments)
        if outputs:
            found = found[output] if isinstance(found, Mapping) else found[int(output)]
        return over_time(as_array(found), len(waveforms) if waveforms.ndim == 2 else 1)

    def embed(waveforms: np.ndarray) -> np.ndarray:
        return call(waveforms) if form.rank == 2 else np.concatenate([call(row) for row in waveforms])

    return FrozenEncoder(
        spec=spec,
        name=Path(location).resolve().name,
        sample_rate=rate,
        embedding_size=None,
        digest=combined_digest(
            kind="hub",
            files=tree_digest(Path(location)),
            rate=rate,  # an argument of some modules
            output=output,
            versions=library_versions(),
        ),
        embed=embed,
        input_samples=form.samples,
        output=output,
        outputs=tuple(outputs),
        rate_assumed=options.sample_rate is None,
    )


@dataclass(frozen=True)
class _Form:
    """How a module is called: the waveform's rank and fixed length, a `sample_rate` or not, and what it returns."""

    rank: int
    samples: int | None
    takes_rate: bool
    returns: Any  # tf.TensorSpecs as the function nests them

    def named_outputs(self) -> dict[str, Any]:
        """The outputs by name, or by number as text; empty of a single tensor."""
        if isinstance(self.returns, Mapping):
            return dict(sorted(self.returns.items()))
        if isinstance(self.returns, list | tuple):
            return {str(number): output for number, output in enumerate(self.returns)}
        return {}

    def is_yamnet(self) -> bool:
        """Whether it is the form of YAMNet, whose second output is its embedding."""
        return (
            self.rank == 1
            and isinstance(self.returns, list | tuple)
            and [output.shape.rank for output in self.returns] == [2, 2, 2]
        )


def _form(model: Any, spec: str) -> _Form:
    functions = getattr(model.__call__, "concrete_functions", ())
    for function in functions:
        positional, named = function.structured_input_signature
        tensors = [s for s in (*positional, *named.values()) if hasattr(s, "shape")]
        waves = [s for s in tensors if s.dtype.is_floating and s.shape.rank in (1, 2)]
        if len(waves) > 1:
            found = ", ".join(f"{s.name} {s.dtype.name}{s.shape}" for s in waves)
            raise ValueError(
                f"encoder {spec!r}: the module takes several float tensors, {found}; which is the waveform? Wrap it "
                "in a HEAR module and give hear:MODULE"
            )
        if waves:
            names = [*named, *function.function_type.parameters]
            returns = function.structured_outputs
            return _Form(waves[0].shape.rank, waves[0].shape[-1], "sample_rate" in names, returns)
    raise ValueError(
        f"encoder {spec!r}: none of the module's {len(functions)} functions takes a float waveform (samples,) or "
        f"(batch, samples). Wrap it in a HEAR module and give hear:MODULE"
    )
