"""Plugins of a run: files of the user's own with encoders or an objective.

A task in such a file waits: a run scores the twelve.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from hares.plugin import OF_MODELS, Plugin
from hares.plugin import load_plugin as load_file
from models.plugin import check_models


def load_plugin(path: str | Path, digest: str | None = None) -> Plugin:
    """Executes a plugin's file and makes what it defines known under its names.

    Raises:
        ValueError: as `hares.plugin.load_plugin`; or it defines a task alone.
    """
    return load_file(path, digest, _check)


def _check(module: ModuleType, file: Path) -> None:
    if all(getattr(module, name, None) is None for name in OF_MODELS):
        raise ValueError(
            f"plugin {file}: it defines a task alone, and a run scores the twelve; score its model afterwards with "
            f"`hares evaluate --encoder run:WORKSPACE --plugin {file}`"
        )
    check_models(module, file)
