"""Encoders and objectives in a user's own file, outside the package.

Such a file (`hares.plugin` loads it) exposes what a file of ours would: `ENCODERS`, a mapping of names to
`EncoderRecord`, and, where it has one, `OBJECTIVE`, an `ObjectiveRecord`. Once it is loaded its names work wherever
a name of ours does.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from models.encoder import EncoderRecord, encoder_names
from models.objective import ObjectiveRecord, objective_names


def check_models(module: ModuleType, file: Path) -> None:
    """Checks the encoders and the objective of a plugin that is executed and not yet known.

    Raises:
        ValueError: they are none, or a name is taken; the message names the file.
    """
    records = getattr(module, "ENCODERS", None)
    objective = getattr(module, "OBJECTIVE", None)
    if records is not None:
        if not isinstance(records, Mapping) or not all(
            isinstance(r, EncoderRecord) for r in records.values()
        ):
            raise ValueError(f"plugin {file}: ENCODERS must map names to models.encoder.EncoderRecord")
        wrong = [name for name, record in records.items() if record.name != name]
        if wrong:
            raise ValueError(f"plugin {file}: the record of {wrong[0]!r} is named {records[wrong[0]].name!r}")
        if taken := sorted(set(encoder_names()) & set(records)):
            raise ValueError(f"plugin {file}: there is an encoder {taken[0]!r} already; choose another name")
    if objective is not None:
        if not isinstance(objective, ObjectiveRecord):
            raise ValueError(f"plugin {file}: OBJECTIVE must be a models.objective.ObjectiveRecord")
        if objective.name in objective_names():
            raise ValueError(
                f"plugin {file}: there is an objective {objective.name!r} already; choose another name"
            )
