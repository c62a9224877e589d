"""`jax:MODULE:FACTORY`: a JAX function of waveforms (b, n), compiled by `jax.jit`, on a GPU or TPU where there is one.

`FACTORY()` gives a pure function, or an object that is called as one; its weights are what it holds (a closure, a
`functools.partial`, attributes). `sample_rate` is its attribute, else `--sample-rate`, else 16 kHz. The embedding is an
array (b, d), or (b, t, d), which is averaged over time; of a mapping or tuple that is returned `--output-name` chooses.

The module's code is executed: load only what you trust.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._frameworks import WaveformInput, made_by, with_outputs
from hares.adapters._state import state_of
from hares.code_digest import code_digest, source_digest
from hares.digests import combined_digest, library_versions


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder that a factory makes. Raises ValueError where it makes none."""
    import jax

    spec = f"jax:{location}"
    module, factory, function = made_by(location, "jax")
    state, declared = state_of(function), getattr(function, "sample_rate", None)
    compiled = jax.jit(function)

    def call(waveforms: np.ndarray) -> Any:
        return compiled(jax.numpy.asarray(waveforms))

    embed, output, outputs = with_outputs(call, WaveformInput(), options.output, spec)
    return FrozenEncoder(
        spec=spec,
        name=location,
        sample_rate=chosen_rate(spec, declared, options),
        embedding_size=None,
        digest=combined_digest(
            kind="jax", code=code_digest(__name__), source=source_digest(module), factory=factory,
            state=state.digest, output=output, versions=library_versions("jax", "jaxlib"),
        ),
        embed=embed,
        output=output,
        outputs=outputs,
        rate_assumed=declared is None and options.sample_rate is None,
        details={"weight_arrays": state.arrays, "device": jax.default_backend()},
    )  # fmt: skip
