"""What a pretraining objective is, and how one is found by name.

One objective is one module in `models/objectives/`, named as the objective; it exposes `OBJECTIVE`, an
`ObjectiveRecord`. Adding an objective touches no other file.

An objective draws nothing at random: crops, mixing partners and ratios, the encoder's noise and the numbers an
objective asks for with `noise_size` come with the batch from `models/training/input_pipeline.py`, as a function
of (seed, step, row), so what is learnt does not depend on the number of replicas.

What an objective keeps from one update to the next (a target network, a queue of past clips, running statistics)
are `state` variables in it, which the run's checkpoints hold. Each replica has its own copy and assigns to it, so
what is assigned must be the same on all of them: a function of gathered rows, of sums over replicas, or of the
weights. `loss` may assign what it learns from the batch; `after_update` what follows from the new weights.

Shapes: `b` clips on this replica, `B` clips of the global batch, `v` views a clip, `t` frames, `f` mel bins,
`k` classes, `d` embedding.
"""

from __future__ import annotations

import abc
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypedDict

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.loaded_plugins import plugin_module_with_objective, plugin_modules
from models.training.config import TrainingConfig


class Batch(TypedDict):
    """One replica's share of one global batch.

    Attributes:
        clips: (b, v, t, f) float32 log-mel, or (b, v, n) waveform: `v` random crops of each clip.
        labels: (b, k) float32 in {0, 1}.
        noise: (b, v, passes * noise_size) float32 uniform in [0, 1) for the encoder.
        objective_noise: (b, v, objective's noise_size) float32 uniform in [0, 1) for the objective.
        partners: (b, v, t, f) crops of other clips of the global batch; v is 0 where nothing is mixed.
        partner_labels: (b, v, k) float32 in {0, 1}.
        ratio: (b, v) float32, the share of `clips` in the mixture.
    """

    clips: tf.Tensor
    labels: tf.Tensor
    noise: tf.Tensor
    objective_noise: tf.Tensor
    partners: tf.Tensor
    partner_labels: tf.Tensor
    ratio: tf.Tensor


# One replica's share of the loss (scalar float32), and of each metric by name.
LossShare: TypeAlias = tuple[tf.Tensor, dict[str, tf.Tensor]]


class Replicas:
    """What one replica may know of the others. Make it in replica context.

    Attributes:
        count: replicas in step with one another.
        index: scalar int32 tensor, which of them this is.
    """

    def __init__(self) -> None:
        self._context = tf.distribute.get_replica_context()
        self.count: int = self._context.num_replicas_in_sync
        self.index = tf.cast(self._context.replica_id_in_sync_group, tf.int32)

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """All replicas' rows, (b, ...) -> (B, ...), in the order of their indices. Gradients pass through."""
        return rows if self.count == 1 else self._context.all_gather(rows, axis=0)

    def sum(self, value: tf.Tensor) -> tf.Tensor:
        """The sum of `value` over the replicas."""
        return value if self.count == 1 else self._context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def state(value: Any, name: str) -> tf.Variable:
    """A variable that `Objective.loss` and its hooks assign to; every replica to its own copy, the same value."""
    return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.NONE, name=name)


class Objective(tf.Module, abc.ABC):
    """A loss on top of an encoder, with the weights it needs beside the encoder's.

    Its `trainable_variables` are those that the optimizer changes; its other variables are state.

    Attributes:
        noise_size: uniform numbers in [0, 1) that it needs for one view.
    """

    noise_size: int = 0

    @abc.abstractmethod
    def views(self, batch: Batch) -> tf.Tensor:
        """What the encoder sees: (v * b, ...), all first views before all second ones."""

    @abc.abstractmethod
    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """This replica's share of the loss and of the metrics.

        Shares add up: the global loss is their sum over replicas, and so is its gradient. So a replica
        divides the sum over its rows by the size of the global batch.

        Returns:
            loss: scalar float32.
            metrics: scalars float32 by name, each a share as well.
        """

    def begin(self, encoder: Encoder) -> None:
        """Called once before the first update of a run, outside replicas, with the encoder's first weights."""

    def after_update(self, encoder: Encoder) -> None:
        """Called in replica context after each update of the encoder's and the objective's weights."""
        return None  # AutoGraph cannot convert a function without a statement, and warns on every run

    def classifier(self) -> tf.Module | None:
        """What turns an embedding (b, d) into scores (b, k) in [0, 1] of the pretraining classes, if anything."""
        return None


@dataclass(frozen=True)
class NoSettings:
    """The settings of an objective that has none of its own."""


@dataclass(frozen=True)
class ObjectiveRecord:
    """One objective.

    Attributes:
        name: the name a config uses, and its module's.
        num_views: random crops taken of each clip.
        mixes: whether clips are mixed with others of the batch.
        input_kind: what it can train: encoders of "log_mel" or of "waveform", or of "any" of them.
        metrics: names of the metrics that `loss` returns.
        build: makes the objective with fresh weights from (config, encoder's record, number of classes, shape
            of one crop: (t, f) or (n,)).
        settings: frozen dataclass of its own settings, all with defaults; it raises ValueError for values that
            cannot work. `TrainingConfig.objective_settings` overrides them by name.
        passes: times that the encoder sees each view in one update; it has noise of its own for each.
        frames: what it needs of an encoder beside its embedding, as in `EncoderRecord.frames`; "" for nothing.
    """

    name: str
    num_views: int
    mixes: bool
    input_kind: Literal["log_mel", "waveform", "any"]
    metrics: tuple[str, ...]
    build: Callable[[TrainingConfig, EncoderRecord, int, tuple[int, ...]], Objective]
    settings: type[Any] = NoSettings
    passes: int = 1
    frames: Literal["", "causal", "masked"] = ""

    @property
    def takes(self) -> str:
        """Which encoders it trains, in words."""
        return f"{self.input_kind} with {self.frames} frames" if self.frames else self.input_kind

    def trains(self, encoder: EncoderRecord) -> bool:
        """Whether the encoder takes what the objective gives it, and has the frames it needs."""
        fits = self.input_kind in ("any", encoder.input_kind)
        return fits and self.frames in ("", encoder.frames)

    def own_settings(self, config: TrainingConfig) -> Any:
        """The objective's `settings` with those of the config in place of its defaults.

        Raises:
            ValueError: a name that `settings` does not have, or a value it refuses.
        """
        names = [field.name for field in dataclasses.fields(self.settings)]
        unknown = [name for name in config.objective_settings if name not in names]
        if unknown:
            raise ValueError(
                f"training: objective_settings has {', '.join(unknown)}; accepted with "
                f"objective={self.name!r} are {', '.join(names) or 'none'}"
            )
        # Settings travel as JSON, which has no tuples.
        values = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in config.objective_settings.items()
        }
        return self.settings(**values)


def objective_names() -> tuple[str, ...]:
    """Names of all objectives, sorted: the public modules in `models/objectives/`, and plugins' own."""
    package = importlib.import_module("models.objectives")
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]
    own = [module.OBJECTIVE.name for module in plugin_modules() if hasattr(module, "OBJECTIVE")]
    return tuple(sorted([*names, *own]))


def objective_module_name(name: str) -> str:
    """Import path of the module that defines objective `name`.

    Raises:
        ValueError: no objective has this name; the message lists those there are.
    """
    if name not in objective_names():
        raise ValueError(f"unknown objective {name!r}; there are {', '.join(objective_names())}")
    return plugin_module_with_objective(name) or f"models.objectives.{name}"


def load_objective(name: str) -> ObjectiveRecord:
    """The record of objective `name`. Raises ValueError as `objective_module_name` does."""
    record: ObjectiveRecord = importlib.import_module(objective_module_name(name)).OBJECTIVE
    return record
