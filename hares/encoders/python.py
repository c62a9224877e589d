"""`python:MODULE:FACTORY`: any Python object that turns waveforms into embeddings.

`FACTORY()` gives an object with `sample_rate` (Hz), `embedding_size`, and a call from float32 (b, n) in [-1, 1]
to (b, d). Its digest is that of the module's source; an object whose weights are elsewhere says so in an
attribute `digest` (a string that changes when they do), or its cached embeddings outlive them.

The module's code is executed: load only what you trust.
"""

from __future__ import annotations

from typing import Any

from hares._digests import combined_digest, library_versions
from hares.code_digest import source_digest
from hares.encoders import EncoderOptions, FrozenEncoder, chosen_rate
from hares.encoders._modules import import_user_module


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
        raise ValueError(
            f"encoder {spec!r}: {factory_name}() failed ({type(error).__name__}: {error})"
        ) from error
    missing = [a for a in ("sample_rate", "embedding_size") if not hasattr(encoder, a)]
    if missing or not callable(encoder):
        raise ValueError(
            f"encoder {spec!r}: {factory_name}() gave a {type(encoder).__name__} "
            f"{f'without {missing[0]}' if missing else 'that cannot be called'}; expected an object with "
            "sample_rate, embedding_size and a call from waveforms (b, n) to embeddings (b, d)"
        )
    return FrozenEncoder(
        spec=spec,
        name=location,
        sample_rate=chosen_rate(spec, encoder.sample_rate, options),
        embedding_size=encoder.embedding_size,
        digest=combined_digest(
            kind="python",
            factory=factory_name,
            source=source_digest(name),
            own=str(getattr(encoder, "digest", "")),
            versions=library_versions(),
        ),
        embed=encoder,
    )
