"""The settings of a pipeline run: one frozen dataclass, filled by a preset, a YAML file or `--set`.

Presets are in `pipeline/presets/`, and `pipeline/preset.py` finds them by name; a YAML file names one under `preset`
and gives what differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hares.blessing import BlessingConfig
from hares.decoding import Limits
from hares.folder import MAX_WINDOW
from hares.protocol import ProtocolSettings
from hares.task import task_names
from hares.user_code import contained
from models.frontend import FrontendConfig
from models.objective import load_objective
from models.training.config import TrainingConfig
from pipeline.beam_args import checked_beam_args
from pipeline.plugin import load_plugin
from pipeline.preset import load_preset, preset_hint, preset_names
from pipeline.settings import (
    SettingError,
    as_dict,
    check_path,
    check_pipeline_name,
    override,
    parse_assignments,
    read_yaml,
    refuse_secrets,
)

# Sources of pretraining clips that have no folder of their own.
AUTO, TRAIN_SPLITS = "auto", "train_splits"


@dataclass(frozen=True)
class PretrainingConfig:
    """What the encoder is pretrained on.

    Attributes:
        source: a task's name (its training split; "audioset" is the paper's choice), "train_splits" (the
            training splits of all tasks of the run, without labels), a folder of audio files, a pattern with
            {SPAN} in it, or "auto": the corpus' `pretrain` folder where there is one, else "train_splits".
        span: number of the newest span to take where `source` is a pattern; None for the newest there is.
        window: how many spans to take: that one and those before it.
        warm_start: whose encoder training starts from: "" for fresh weights, "latest_blessed" for this pipeline's
            latest blessed model in the run's store, or a path (see `pipeline/warm_start.py`).
    """

    source: str = "audioset"
    span: int | None = None
    window: int = 1
    warm_start: str = ""

    def __post_init__(self) -> None:
        check_path("pretraining.source", self.source)
        check_path("pretraining.warm_start", self.warm_start)
        if not 1 <= self.window <= MAX_WINDOW:
            raise SettingError(f"pretraining.window: got {self.window}; accepted are 1 to {MAX_WINDOW} spans")


@dataclass(frozen=True)
class PipelineConfig:
    """Everything that decides a run, besides the corpus and the code.

    Attributes:
        name: the pipeline's name in ML Metadata and on clusters.
        tasks: the tasks to score; all twelve for a HARES score.
        pretraining: the pretraining corpus.
        frontend: the log-mel front end.
        training: encoder, objective and optimisation.
        protocol: how closely the probes follow the paper.
        blessing: when a model is good enough to be pushed.
        compare_untrained: also score the same encoder before training, at the cost of a second pass.
        clips_per_shard: clips in a TFRecord file, about.
        longest_clip: seconds of sound that one file may claim; one that claims more is rejected (`too_long`).
        beam_args: flags for Beam, as in `--direct_num_workers=2` (see `pipeline/beam_args.py`); a file may set only
            some of them (`pipeline/beam_flags.py`).
        plugins: path and SHA-256 of each file of the user's own that defines encoders or an objective. Only
            `--plugin` sets it, since a plugin is executed.
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
    longest_clip: float = Limits().longest
    beam_args: tuple[str, ...] = ()
    plugins: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        check_pipeline_name(self.name)
        if not self.tasks:
            raise SettingError(f"tasks: got none; accepted are one or more of {', '.join(task_names())}")
        for task in self.tasks:
            if task not in task_names():
                raise SettingError(f"tasks: got {task!r}; accepted are {', '.join(task_names())}")
        if len(set(self.tasks)) != len(self.tasks):
            raise SettingError(f"tasks: got {', '.join(self.tasks)}; each may be named once")
        if self.clips_per_shard < 1:
            raise SettingError(f"clips_per_shard: got {self.clips_per_shard}; accepted is 1 or more")
        if self.longest_clip <= 0:
            raise SettingError(f"longest_clip: got {self.longest_clip}; accepted are seconds above 0")


def load_config(
    name_or_file: str, assignments: Sequence[str] = (), plugins: Sequence[Path] = ()
) -> PipelineConfig:
    """The settings of a preset or YAML file, with `--set` on top.

    Args:
        name_or_file: a preset's name, or the path of a YAML file with `preset` and what differs from it.
        assignments: `key=value` texts.
        plugins: files that define encoders or an objective; they are executed.

    Raises:
        SettingError: no such preset or file, a wrong setting in it, or a plugin that cannot be used.
    """
    loaded = load_plugins(plugins)
    if name_or_file in preset_names():
        config = _preset(name_or_file)
    else:
        values = _read(name_or_file)
        values.pop("preset", None)
        config = with_settings(_preset(preset_of(name_or_file)), values)
    given = parse_assignments(assignments)
    return checked_config(with_settings(config, given), given, loaded)


def with_settings(config: PipelineConfig, values: Mapping[str, Any]) -> PipelineConfig:
    """`override`, where another objective does not inherit the settings of the one it replaces."""
    training, objective = values.get("training"), config.training.objective
    if isinstance(training, Mapping) and training.get("objective", objective) != objective:
        config = replace(config, training=replace(config.training, objective_settings={}))
    return override(config, values)


def checked_config(
    config: PipelineConfig, given: Mapping[str, Any], plugins: Sequence[tuple[str, str]]
) -> PipelineConfig:
    """Checks combined settings: they must work, and a file must not make them execute anything.

    Args:
        config: preset, file and command line together.
        given: what the command line says (`--set`).
        plugins: path and digest of those that `--plugin` has loaded.

    Raises:
        SettingError: a setting cannot work, holds a secret, or is one that a file may not make: a plugin, or a flag
            for Beam that runs a program or sends data elsewhere.
    """
    loaded = {digest for _, digest in plugins}
    for path, digest in config.plugins:
        if digest not in loaded:
            raise SettingError(
                f"plugins: the settings name {path}, and a plugin is executed; if you trust it, give --plugin {path}"
            )
    from_file = () if "beam_args" in given else config.beam_args
    config = replace(
        config,
        plugins=tuple(plugins),
        training=checked(config.training),
        beam_args=checked_beam_args(config.beam_args, from_file),
    )
    refuse_secrets(as_dict(config))
    return config


def checked(training: TrainingConfig) -> TrainingConfig:
    """Checks the settings of training, and gives the objective's own the types that it declares.

    Raises:
        SettingError: one of them cannot work, or no objective has this name.
    """
    try:
        training.validate()
    except ValueError as error:
        raise SettingError(str(error)) from error
    try:
        objective = load_objective(training.objective)
    except ValueError as error:
        raise SettingError(f"training.objective: {error}") from error
    given = training.objective_settings
    own = as_dict(override(objective.settings(), given, "training.objective_settings."))
    return replace(training, objective_settings={name: own[name] for name in given})


def load_plugins(files: Sequence[Path]) -> tuple[tuple[str, str], ...]:
    """Executes plugins; returns path and digest of each, as settings record them. Raises SettingError."""
    plugins = []
    try:
        for file in files:
            with contained(f"plugin {file}"):
                plugins.append(load_plugin(file))
    except ValueError as error:
        raise SettingError(f"--plugin: {error}") from error
    return tuple((plugin.path, plugin.digest) for plugin in plugins)


def preset_of(name_or_file: str) -> str:
    """The preset that settings start from: itself, or the one that a YAML file names.

    Raises:
        SettingError: no such preset or file, or a file that names no preset.
    """
    if name_or_file in preset_names():
        return name_or_file
    preset = _read(name_or_file).get("preset")
    if preset not in preset_names():
        raise SettingError(f"{name_or_file}: {preset!r} is not a preset; {preset_hint(preset)}")
    return str(preset)


def _preset(name: str) -> PipelineConfig:
    return load_preset(name).config()


def _read(name_or_file: str) -> dict[str, Any]:
    path = Path(name_or_file)
    if not path.is_file():
        raise SettingError(
            f"--config {str(path)!r}: neither a preset nor an existing file; {preset_hint(path)}"
        )
    return read_yaml(path, name_or_file, "settings as `key: value` lines, with `preset` among them")
