"""What a preset is, and how one is found by name.

A module in `pipeline/presets/` exposes either `config()`, and is one preset named as the module, or `PRESETS`, a
mapping of names to `Preset` that all begin with the module's name: the module of a preset is the one whose name is the
longest prefix of the preset's (`simclr` holds `simclr_resnet50`). So adding a preset touches no other file. A preset
that repeats a row of the paper says which: `ROW` in a module with `config()`, `row` of a `Preset`.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hares.report.paper import PaperRow

if TYPE_CHECKING:  # pipeline.config looks presets up
    from pipeline.config import PipelineConfig


@dataclass(frozen=True)
class Preset:
    """One preset.

    Attributes:
        name: what `--config` takes.
        summary: one line for people.
        config: makes its settings.
        row: the row of the paper's tables that it repeats; None where it repeats none.
    """

    name: str
    summary: str
    config: Callable[[], PipelineConfig]
    row: PaperRow | None = None


def preset_names() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    return tuple(sorted(_presets()))


def load_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    found = _presets()
    if name not in found:
        raise ValueError(f"unknown preset {name!r}; {preset_hint(name)}")
    return found[name]


def preset_hint(name: object) -> str:
    """What an error says of a name that is no preset's: too many to list, so the nearest ones."""
    near = difflib.get_close_matches(str(name), preset_names(), n=3)
    question = f"did you mean {' or '.join(near)}? " if near else ""
    return f"{question}`hares presets` lists them"


def _presets() -> dict[str, Preset]:
    package = importlib.import_module("pipeline.presets")
    modules = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]
    found: dict[str, Preset] = {}
    for module_name in modules:
        module = importlib.import_module(f"pipeline.presets.{module_name}")
        if hasattr(module, "PRESETS"):
            own: dict[str, Preset] = module.PRESETS
        else:
            summary = (module.__doc__ or "").splitlines()[0].rstrip(".")
            own = {module_name: Preset(module_name, summary, module.config, getattr(module, "ROW", None))}
        for name, preset in own.items():
            # Without this rule two modules could define one name, and which of them counted would be chance.
            if (
                max((m for m in modules if name == m or name.startswith(f"{m}_")), key=len, default="")
                != module_name
            ):
                raise ValueError(
                    f"pipeline/presets/{module_name}.py: preset {name!r} belongs into another module"
                )
            found[name] = preset
    return found
