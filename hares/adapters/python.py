"""`python:MODULE:FACTORY`: any Python object that turns waveforms into embeddings.

`FACTORY()` gives an object with `sample_rate` (Hz), `embedding_size`, and a call from float32 (b, n) in [-1, 1]
to (b, d). Its digest is that of the module's source and of the arrays of numbers that the object holds
(`hares.adapters._state`); one whose weights are elsewhere says so in an attribute `digest` (a string that changes when
they do), or its cached embeddings outlive them.

`hares.evaluate` takes such an object itself, or a function (`from_callable`).

The module's code is executed: load only what you trust.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from hares.adapters import EncoderOptions, FrozenEncoder, chosen_rate
from hares.adapters._state import State, state_of
from hares.code_digest import source_digest
from hares.digests import combined_digest, library_versions
from hares.user_code import UserCodeError, import_user_module


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The encoder that a factory makes. Raises ValueError where it makes none."""
    spec = f"python:{location}"
    name, _, factory_name = location.partition(":")
    if not name or not factory_name:
        raise ValueError(f"encoder {spec!r}: give python:MODULE:FACTORY")
    factory = getattr(import_user_module(name, spec), factory_name, None)
    if not callable(factory):
        raise ValueError(f"encoder {spec!r}: module {name} has no function {factory_name!r}")
    if options.output is not None:
        raise ValueError(f"encoder {spec!r}: a Python encoder has one embedding. Leave --output-name out")
    try:
        encoder: Any = factory()
    except Exception as error:  # whatever the user's code raises
        raise UserCodeError(
            f"encoder {spec!r}: {factory_name}() failed ({type(error).__name__}: {error})"
        ) from error
    missing = [a for a in ("sample_rate", "embedding_size") if not hasattr(encoder, a)]
    if missing or not callable(encoder):
        raise ValueError(
            f"encoder {spec!r}: {factory_name}() gave a {type(encoder).__name__} "
            f"{f'without {missing[0]}' if missing else 'that cannot be called'}; expected an object with "
            "sample_rate, embedding_size and a call from waveforms (b, n) to embeddings (b, d)"
        )
    state = state_of(encoder)
    return FrozenEncoder(
        spec=spec,
        name=location,
        sample_rate=chosen_rate(spec, encoder.sample_rate, options),
        embedding_size=encoder.embedding_size,
        digest=combined_digest(
            kind="python",
            factory=factory_name,
            source=source_digest(name),
            state=state.digest,
            own=str(getattr(encoder, "digest", "")),
            versions=library_versions(),
        ),
        embed=encoder,
        details={"weight_arrays": state.arrays},
    )


def from_callable(encoder: Callable[..., Any], options: EncoderOptions) -> FrozenEncoder:
    """The encoder that a callable is, from waveforms (b, n) to embeddings (b, d).

    A `torch.nn.Module` gets tensors on its device, anything else numpy arrays. Cached embeddings are found again only
    where the callable holds arrays, or has an attribute `digest`: else nothing tells whether its weights have changed.

    Raises:
        ValueError: it cannot be called, or is a class.
    """
    if isinstance(encoder, type) or not callable(encoder):
        kind = f"the class {encoder.__name__}" if isinstance(encoder, type) else f"a {type(encoder).__name__}"
        raise ValueError(
            f"encoder: got {kind}; expected a SPEC, a module with the HEAR interface, or an object that turns "
            "waveforms (b, n) into embeddings (b, d) when it is called"
        )
    name = getattr(encoder, "__qualname__", type(encoder).__qualname__)
    if options.output is not None:
        raise ValueError(f"encoder {name}: a callable has one embedding. Leave output_name out")
    spec, declared, state = f"callable:{name}", getattr(encoder, "sample_rate", None), state_of(encoder)
    return FrozenEncoder(
        spec=spec,
        name=name,
        sample_rate=chosen_rate(spec, declared, options),
        embedding_size=getattr(encoder, "embedding_size", None),
        digest=combined_digest(
            kind="callable",
            source=_source_of(encoder, state),
            state=state.digest,
            own=str(getattr(encoder, "digest", "")),
            versions=library_versions(),
        ),
        embed=_on_tensors(encoder, state) if any(m is encoder for m in state.torch_modules) else encoder,
        rate_assumed=declared is None and options.sample_rate is None,
        details={"weight_arrays": state.arrays},
    )


def _source_of(encoder: Callable[..., Any], state: State) -> str:
    """Digest of the code; one of its own where code and weights cannot all be seen."""
    module = encoder.__module__ if hasattr(encoder, "__qualname__") else type(encoder).__module__
    if state.arrays or hasattr(encoder, "digest"):
        try:
            return source_digest(module)
        except ValueError:  # a notebook, or a script that is run
            pass
    return uuid.uuid4().hex


def _on_tensors(encoder: Any, state: State) -> Callable[[np.ndarray], Any]:
    torch = sys.modules["torch"]
    encoder.eval()  # dropout and batch statistics off

    def embed(waveforms: np.ndarray) -> Any:
        with torch.no_grad():
            return encoder(torch.from_numpy(waveforms.copy()).to(state.torch_device))

    return embed
