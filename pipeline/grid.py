"""What a study runs: a grid of cells, read from a YAML file, each cell one pipeline run.

```yaml
name: mine                # of the study, and of the pipeline in ML Metadata
base: demo                # the preset that cells of encoders x objectives start from
settings: {compare_untrained: false}           # on top, for every cell
cells:
  - encoders: [resnet50, sf_resnet50_bn]       # every encoder by every objective
    objectives: [classification, simclr]
    settings: {training: {steps: 1000}}        # on top, for these
  - presets: [byola, bidir_cpc]                # or presets as they are
```

Grids of ours are in `pipeline/grids/` and found by name: `tiny`, `paper`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from hares.report.paper import PaperRow
from models.encoder import load_encoder
from pipeline.config import PipelineConfig, checked_config, load_config, load_plugins, with_settings
from pipeline.preset import load_preset, preset_hint, preset_names
from pipeline.settings import SettingError, checked_name, parse_assignments, read_yaml

_TINY = "_tiny"
_KEYS = {"name", "base", "settings", "cells"}
_GROUP_KEYS = {"encoders", "objectives", "presets", "settings"}


@dataclass(frozen=True)
class Cell:
    """One cell of a study.

    Attributes:
        name: `<objective>_<encoder>`, or the preset's.
        config: the settings of its run.
        preset: the preset that these settings started from.
        row: the paper's row of it, or of its full-sized sibling; None if the paper has none.
    """

    name: str
    config: PipelineConfig
    preset: str
    row: PaperRow | None


@dataclass(frozen=True)
class Grid:
    """A study: its name, and its cells in the order in which they run."""

    name: str
    cells: tuple[Cell, ...]


def grid_names() -> tuple[str, ...]:
    """Names of our own grids, sorted."""
    files = (Path(file.name) for file in resources.files("pipeline").joinpath("grids").iterdir())
    return tuple(sorted(file.stem for file in files if file.suffix == ".yaml"))


def load_grid(name_or_file: str, assignments: Sequence[str] = (), plugins: Sequence[Path] = ()) -> Grid:
    """The cells of a grid.

    Args:
        name_or_file: the name of a grid of ours, or the path of a YAML file.
        assignments: `key=value` texts, on top of every cell's settings.
        plugins: files that define encoders or an objective; they are executed.

    Raises:
        SettingError: no such grid or file, an unknown key, preset, encoder, objective or setting in it, a setting that
            a file may not make, or two cells of one name.
    """
    loaded = load_plugins(plugins)
    values = _read(name_or_file)
    _known(values, _KEYS, name_or_file)
    name, groups = values.get("name"), values.get("cells")
    if not isinstance(name, str) or not name or not isinstance(groups, list) or not groups:
        raise SettingError(
            f"{name_or_file}: a grid has a `name`, and a list of `cells` with at least one group"
        )
    checked_name(f"{name_or_file}: name", name)
    given = parse_assignments(assignments)
    cells = []
    for number, group in enumerate(groups):
        where = f"{name_or_file}: cells[{number}]"
        if not isinstance(group, dict):
            raise SettingError(f"{where}: got {group!r}; expected encoders and objectives, or presets")
        _known(group, _GROUP_KEYS, where)
        for cell_name, preset, settings in _members(group, values.get("base"), where):
            config = load_config(preset)
            for layer in (settings, values.get("settings", {}), group.get("settings", {})):
                config = with_settings(config, layer)
            # One pipeline for all: the name is part of TFX's cache key, and ingestion is to be shared.
            config = replace(with_settings(config, given), name=name)
            try:
                config = checked_config(config, given, loaded)
                load_encoder(config.training.encoder)
            except ValueError as error:
                raise SettingError(f"{where}: {cell_name}: {error}") from error
            cells.append(Cell(cell_name, config, preset, paper_row(config)))
    names = [cell.name for cell in cells]
    if twice := sorted({cell for cell in names if names.count(cell) > 1}):
        raise SettingError(f"{name_or_file}: {', '.join(twice)} is named twice; every cell may be named once")
    return Grid(name, tuple(cells))


def paper_row(config: PipelineConfig) -> PaperRow | None:
    """The paper's row of an encoder and objective; for a `_tiny` encoder that of its full-sized sibling.

    Of two rows it is the one with the same pretraining corpus, else AudioSet's.
    """
    source = config.pretraining.source
    rows = [
        (own.pretraining.source == source, own.pretraining.source == "audioset", row)
        for own, row in _paper_rows()
        if own.training.objective == config.training.objective
        and _siblings(config.training.encoder, own.training.encoder)
    ]
    return max(rows, key=lambda row: row[:2])[2] if rows else None


@functools.cache
def _paper_rows() -> tuple[tuple[PipelineConfig, PaperRow], ...]:
    presets = [load_preset(name) for name in preset_names()]
    return tuple((preset.config(), preset.row) for preset in presets if preset.row is not None)


def _siblings(encoder: str, full: str) -> bool:
    stem = encoder.removesuffix(_TINY)
    return encoder == full or (stem != encoder and (full == stem or full.startswith(f"{stem}_")))


def _members(group: Mapping[str, Any], base: Any, where: str) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Name, preset and own settings of each cell of a group."""
    if "presets" in group:
        if "encoders" in group or "objectives" in group:
            raise SettingError(f"{where}: give either presets, or encoders and objectives")
        presets = _names(group, "presets", where)
        for preset in presets:
            if preset not in preset_names():
                raise SettingError(f"{where}: unknown preset {preset!r}; {preset_hint(preset)}")
        return [(preset, preset, {}) for preset in presets]
    if base not in preset_names():
        raise SettingError(f"{where}: encoders need a preset as `base`, got {base!r}; {preset_hint(base)}")
    return [
        (f"{objective}_{encoder}", base, {"training": {"encoder": encoder, "objective": objective}})
        for encoder in _names(group, "encoders", where)
        for objective in _names(group, "objectives", where)
    ]


def _names(group: Mapping[str, Any], key: str, where: str) -> list[str]:
    names = group.get(key)
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise SettingError(f"{where}: {key} is {names!r}; expected a list of names, with at least one")
    return names


def _known(values: Mapping[str, Any], keys: set[str], where: str) -> None:
    if unknown := sorted(set(values) - keys):
        raise SettingError(f"{where}: unknown key {unknown[0]!r}; accepted are {', '.join(sorted(keys))}")


def _read(name_or_file: str) -> dict[str, Any]:
    ours = name_or_file in grid_names()
    path = (
        Path(str(resources.files("pipeline") / "grids" / f"{name_or_file}.yaml"))
        if ours
        else Path(name_or_file)
    )
    if not path.is_file():
        raise SettingError(
            f"--grid {name_or_file!r}: neither a grid ({', '.join(grid_names())}) nor an existing file"
        )
    return read_yaml(path, name_or_file, "a grid as `key: value` lines")
