"""The settings of a pipeline run: one frozen dataclass, filled by a preset, a YAML file or `--set`.

A preset is a module in `pipeline/presets/` that exposes `config()`; a YAML file names one under `preset` and
gives what differs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from hares.blessing import BlessingConfig
from hares.protocol import ProtocolSettings
from hares.task import task_names
from models.frontend import FrontendConfig
from models.training.config import TrainingConfig
from pipeline.settings import SettingError, override, parse_assignments

# Sources of pretraining clips that are no folder of their own.
AUTO, TRAIN_SPLITS = "auto", "train_splits"


@dataclass(frozen=True)
class PretrainingConfig:
    """What the encoder is pretrained on.

    Attributes:
        source: a task's name (its training split; "audioset" is the paper's choice), "train_splits" (the
            training splits of all tasks of the run, without labels), a folder of audio files, a pattern with
            {SPAN} in it, or "auto": the corpus' `pretrain` folder where there is one, else "train_splits".
        span: number of the span to take where `source` is a pattern; None for the newest.
    """

    source: str = "audioset"
    span: int | None = None


@dataclass(frozen=True)
class PipelineConfig:
    """Everything a run is a function of, beside the corpus and the code.

    Attributes:
        name: the pipeline's name in ML Metadata.
        tasks: the tasks to score; all twelve for a HARES score.
        pretraining: the pretraining corpus.
        frontend: the log-mel front end.
        training: encoder, objective and optimisation.
        protocol: how closely the probes follow the paper.
        blessing: when a model is good enough to be pushed.
        compare_untrained: also score the same encoder before training, at the cost of a second pass.
        clips_per_shard: clips in a TFRecord file, about.
        beam_args: flags for Beam, as in `--direct_num_workers=2`.
    """

    name: str = "hares"
    tasks: tuple[str, ...] = field(default_factory=task_names)
    pretraining: PretrainingConfig = field(default_factory=PretrainingConfig)
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    blessing: BlessingConfig = field(default_factory=BlessingConfig)
    compare_untrained: bool = True
    clips_per_shard: int = 256
    beam_args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tasks:
            raise SettingError(f"tasks: got none; accepted are one or more of {', '.join(task_names())}")
        for task in self.tasks:
            if task not in task_names():
                raise SettingError(f"tasks: got {task!r}; accepted are {', '.join(task_names())}")
        if len(set(self.tasks)) != len(self.tasks):
            raise SettingError(f"tasks: got {', '.join(self.tasks)}; each may be named once")
        if self.clips_per_shard < 1:
            raise SettingError(f"clips_per_shard: got {self.clips_per_shard}; accepted is 1 or more")


def preset_names() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    package = importlib.import_module("pipeline.presets")
    return tuple(sorted(info.name for info in pkgutil.iter_modules(package.__path__)))


def load_config(name_or_file: str, assignments: Sequence[str] = ()) -> PipelineConfig:
    """The settings of a preset or YAML file, with `--set` on top.

    Args:
        name_or_file: a preset's name, or the path of a YAML file with `preset` and what differs from it.
        assignments: `key=value` texts.

    Raises:
        SettingError: no such preset or file, or a wrong setting in it.
    """
    if name_or_file in preset_names():
        config = _preset(name_or_file)
    else:
        values = _read_yaml(Path(name_or_file))
        values.pop("preset", None)
        config = override(_preset(preset_of(name_or_file)), values)
    config = override(config, parse_assignments(assignments))
    try:
        config.training.validate()
    except ValueError as error:
        raise SettingError(str(error)) from error
    return config


def preset_of(name_or_file: str) -> str:
    """The preset that settings start from: itself, or the one that a YAML file names.

    Raises:
        SettingError: no such preset or file, or a file that names no preset.
    """
    if name_or_file in preset_names():
        return name_or_file
    preset = _read_yaml(Path(name_or_file)).get("preset")
    if preset not in preset_names():
        raise SettingError(
            f"{name_or_file}: preset is {preset!r}; it must name one of {', '.join(preset_names())}"
        )
    return str(preset)


def _preset(name: str) -> PipelineConfig:
    config: PipelineConfig = importlib.import_module(f"pipeline.presets.{name}").config()
    return config


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SettingError(
            f"--config {str(path)!r}: neither a preset ({', '.join(preset_names())}) nor a file that is there"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: not YAML: {error}") from error
    if not isinstance(values, dict):
        raise SettingError(f"{path}: expected settings as `key: value` lines, with `preset` among them")
    return values
