"""Files of a user's own, outside the package: a task, and for the pipeline encoders and an objective.

A plugin is one Python file that exposes what a file of ours would. A task is `TASK`, `index` and `read`, as in
`hares/tasks/`; once the file is loaded it is scored by its name, beside the twelve and in no mean. `models/plugin.py`
says what encoders and objectives are. **A plugin is code**: loading it executes it with the rights of the user; load
only what you trust.

A plugin is identified by its path and the digest of its bytes. Its file is read once, and what was read is what is
executed, so the digest is that of the code that runs.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from hares.own_task import check_task
from hares.task import OWN_TASK

PREFIX = "hares_plugin_"  # of the module names under which plugins are loaded; `models.loaded_plugins` finds them by it
OF_MODELS = ("ENCODERS", "OBJECTIVE")


@dataclass(frozen=True)
class Plugin:
    """A plugin, as settings and ML Metadata record it.

    Attributes:
        path: absolute path of its file.
        digest: SHA-256 (hex) of the file's bytes.
        task: name of the task that it defines, "" for none.
    """

    path: str
    digest: str
    task: str = ""


def load_plugin(
    path: str | Path,
    digest: str | None = None,
    check_models: Callable[[ModuleType, Path], None] | None = None,
) -> Plugin:
    """Executes a plugin's file and makes what it defines known under its names.

    Loading the same bytes again does nothing.

    Args:
        path: of the file.
        digest: SHA-256 (hex) that the bytes must have; None for any.
        check_models: raises ValueError where the module's encoders or objective are of no use
            (`models.plugin.check_models`); None where a task is wanted, and there are none.

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
    found = hashlib.sha256(source).hexdigest()
    if digest not in (None, found):
        raise ValueError(
            f"plugin {file}: its SHA-256 is {found[:16]}..., but this run was made with {str(digest)[:16]}...; "
            "bring back the file as it was, or start the run again"
        )
    name = f"{PREFIX}{re.sub(r'[^0-9A-Za-z_]', '_', file.stem)}_{found[:16]}"
    if name not in sys.modules:
        _execute(name, file, source, check_models)
    return Plugin(str(file), found, getattr(getattr(sys.modules[name], "TASK", None), "name", ""))


def plugin_of(task: str) -> dict[str, str]:
    """For reports, the file that a task of a plugin is from: its name and the SHA-256 of its bytes."""
    module = sys.modules[f"{OWN_TASK}{task}"]
    return {"file": Path(str(module.__file__)).name, "sha256": module.__sha256__}


def _execute(
    name: str, file: Path, source: bytes, check_models: Callable[[ModuleType, Path], None] | None
) -> None:
    for loaded, earlier in sys.modules.items():
        if loaded.startswith(PREFIX) and earlier.__file__ == str(file):
            raise ValueError(
                f"plugin {file}: it was changed after this process had loaded it; start a new process"
            )
    module = ModuleType(name)
    module.__file__ = str(file)
    module.__dict__["__sha256__"] = hashlib.sha256(source).hexdigest()
    sys.modules[name] = module  # dataclasses look their module up while it is executed
    try:
        _run(module, file, source)
    finally:
        del sys.modules[name]
    _check(module, file, check_models)
    if hasattr(module, "TASK"):
        sys.modules[f"{OWN_TASK}{module.TASK.name}"] = module
    sys.modules[name] = module


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


def _check(module: ModuleType, file: Path, check_models: Callable[[ModuleType, Path], None] | None) -> None:
    of_models = [name for name in OF_MODELS if getattr(module, name, None) is not None]
    if not hasattr(module, "TASK") and not of_models:
        raise ValueError(
            f"plugin {file}: it defines neither a TASK nor ENCODERS nor OBJECTIVE; expected at least one"
        )
    if hasattr(module, "TASK"):
        check_task(module, file)
    elif check_models is None:
        raise ValueError(
            f"plugin {file}: it defines {' and '.join(of_models)} and no TASK, and only a task can be used here; "
            "`hares evaluate --plugin` and `hares run --plugin` take encoders"
        )
    if check_models is not None:
        check_models(module, file)
