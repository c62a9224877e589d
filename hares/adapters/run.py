"""`run:WORKSPACE`: the latest model of `hares run`: the last one pushed, or where none was, the last one trained.

A pushed model is one that was blessed. Models are told apart by the number of their folder, which TFX counts
up; a folder without `hares_metadata.json`, written last, is a model half exported and is passed over.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hares.adapters import EncoderOptions, FrozenEncoder, saved_model

_PLACES = (("pushed", "pushed", "."), ("trained", "artifacts/trainer/model", "Format-Serving"))


def load(location: str, options: EncoderOptions) -> FrozenEncoder:
    """The latest model of a workspace. Raises ValueError where it holds none."""
    spec = f"run:{location}"
    for state, folder, inner in _PLACES:
        home = Path(location) / folder
        numbered = [path for path in home.glob("*") if path.name.isdecimal()]
        complete = [p / inner for p in numbered if (p / inner / saved_model.METADATA_FILE).is_file()]
        if complete:
            latest = max(complete, key=lambda path: int(path.relative_to(home).parts[0]))
            encoder = saved_model.load(str(latest), options)
            details = {**encoder.details, "model": str(latest), "state": state}
            return dataclasses.replace(encoder, spec=spec, details=details)
    raise ValueError(
        f"encoder {spec!r}: no model in {location or '.'}, neither pushed nor trained. Give the --workspace of "
        "a `hares run` that got past its trainer, or saved_model:DIR"
    )
