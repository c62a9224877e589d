"""Encoders and objectives in a user's own file, outside the package.

A plugin is one Python file that exposes what a file of ours would: `ENCODERS`, a mapping of names to
`EncoderRecord`, and, where it has one, `OBJECTIVE`, an `ObjectiveRecord`. Once it is loaded its names work wherever
a name of ours does. **A plugin is code**: loading it executes it with the rights of the user; load only what you trust.

A plugin is identified by its path and the digest of its bytes. Its file is read once, and what was read is what is
executed, so the digest is that of the code that runs.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from models.encoder import EncoderRecord, encoder_names
from models.loaded_plugins import PREFIX, plugin_modules
from models.objective import ObjectiveRecord, objective_names


@dataclass(frozen=True)
class Plugin:
    """A plugin, as settings and ML Metadata record it.

    Attributes:
        path: absolute path of its file.
        digest: SHA-256 (hex) of the file's bytes.
    """

    path: str
    digest: str


def load_plugin(path: str | Path, digest: str | None = None) -> Plugin:
    """Executes a plugin's file and makes what it defines known under its names.

    Loading the same bytes again does nothing.

    Args:
        path: of the file.
        digest: SHA-256 (hex) that the bytes must have; None for any.

    Raises:
        ValueError: no such file; it fails when it is executed; it defines nothing of use, or a name that is taken; or
            its bytes are not those of `digest`.
    """
    file = Path(path).resolve()
    if not file.is_file() or file.suffix != ".py":
        raise ValueError(
            f"plugin {str(path)!r}: not a Python file that is there; give the path of a .py file"
        )
    source = file.read_bytes()
    plugin = Plugin(str(file), hashlib.sha256(source).hexdigest())
    if digest not in (None, plugin.digest):
        raise ValueError(
            f"plugin {file}: its SHA-256 is {plugin.digest[:16]}..., but this run was made with {str(digest)[:16]}...; "
            "bring back the file as it was, or start the run again"
        )
    name = f"{PREFIX}{re.sub(r'[^0-9A-Za-z_]', '_', file.stem)}_{plugin.digest[:16]}"
    if name not in sys.modules:
        _execute(name, file, source)
    return plugin


def _execute(name: str, file: Path, source: bytes) -> None:
    for earlier in plugin_modules():
        if earlier.__file__ == str(file):
            raise ValueError(
                f"plugin {file}: it was changed after this process had loaded it; start a new process"
            )
    module = ModuleType(name)
    module.__file__ = str(file)
    taken_encoders, taken_objectives = set(encoder_names()), set(objective_names())
    sys.modules[name] = module  # dataclasses look their module up while it is executed
    try:
        _run(module, file, source)
        _check(module, file, taken_encoders, taken_objectives)
    except BaseException:
        del sys.modules[name]
        raise


def _run(module: ModuleType, file: Path, source: bytes) -> None:
    try:
        exec(compile(source, str(file), "exec"), module.__dict__)
    except SystemExit as error:
        raise ValueError(
            f"plugin {file}: its code wanted to end the process (SystemExit: {error}). Keep parse_args(), sys.exit() "
            "and other parts of a script under `if __name__ == '__main__':`"
        ) from error
    except Exception as error:  # whatever the user's code raises
        raise ValueError(f"plugin {file}: it failed ({type(error).__name__}: {error})") from error


def _check(module: ModuleType, file: Path, encoders: set[str], objectives: set[str]) -> None:
    records = getattr(module, "ENCODERS", None)
    objective = getattr(module, "OBJECTIVE", None)
    if records is None and objective is None:
        raise ValueError(f"plugin {file}: it defines neither ENCODERS nor OBJECTIVE; expected at least one")
    if records is not None:
        if not isinstance(records, Mapping) or not all(
            isinstance(r, EncoderRecord) for r in records.values()
        ):
            raise ValueError(f"plugin {file}: ENCODERS must map names to models.encoder.EncoderRecord")
        wrong = [name for name, record in records.items() if record.name != name]
        if wrong:
            raise ValueError(f"plugin {file}: the record of {wrong[0]!r} is named {records[wrong[0]].name!r}")
        if taken := sorted(encoders & set(records)):
            raise ValueError(f"plugin {file}: there is an encoder {taken[0]!r} already; choose another name")
    if objective is not None:
        if not isinstance(objective, ObjectiveRecord):
            raise ValueError(f"plugin {file}: OBJECTIVE must be a models.objective.ObjectiveRecord")
        if objective.name in objectives:
            raise ValueError(
                f"plugin {file}: there is an objective {objective.name!r} already; choose another name"
            )
