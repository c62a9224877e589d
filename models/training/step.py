"""One update on all replicas, and many of them in one compiled call."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from models.encoder import Encoder
from models.objective import Batch, Objective, Replicas


@dataclass(frozen=True)
class StepLog:
    """What `n` updates in a row showed.

    Attributes:
        losses: (n,) loss of the global batch before each update.
        gradient_norms: (n,) norm of the gradient over all variables.
        metrics: the objective's metrics at the last update.
        waited_seconds: time in which the replicas waited for input; NaN on a TPU, whose host may be another
            machine than the one that keeps the time.
    """

    losses: np.ndarray
    gradient_norms: np.ndarray
    metrics: dict[str, float]
    waited_seconds: float


def trainable_variables(encoder: Encoder, objective: Objective) -> list[tf.Variable]:
    """The variables that training changes, in a fixed order."""
    return [*encoder.trainable_variables, *objective.trainable_variables]


def replica_gradients(
    encoder: Encoder, objective: Objective, batch: Batch
) -> tuple[tf.Tensor, dict[str, tf.Tensor], list[tf.Tensor]]:
    """In replica context: this replica's share of loss and metrics, and the gradients summed over all.

    Raises:
        ValueError: a trainable variable has no part in the loss; the message names it.
    """
    variables = trainable_variables(encoder, objective)
    replicas = Replicas()
    with tf.GradientTape() as tape:
        loss, metrics = objective.loss(encoder, batch, replicas)
    gradients = tape.gradient(loss, variables)
    unused = [v.name for v, gradient in zip(variables, gradients, strict=True) if gradient is None]
    if unused:
        raise ValueError(
            f"training: the loss of {objective.name} does not reach {', '.join(unused)}; an encoder's "
            "trainable variables must all have a part in its embedding"
        )
    return loss, metrics, [replicas.sum(gradient) for gradient in gradients]


def compile_steps(
    strategy: tf.distribute.Strategy,
    encoder: Encoder,
    objective: Objective,
    optimizer: tf.keras.optimizers.legacy.Optimizer,
    metric_names: tuple[str, ...],
    batches: Iterator[Any],
) -> Callable[[int], StepLog]:
    """A function that makes the next `n` updates from `batches` in one call of a compiled graph.

    The number of updates is an argument of the graph, so it is traced once, here. On CPU it is left to
    TensorFlow's own kernels: XLA's grouped convolutions are many times slower there.
    """
    variables = trainable_variables(encoder, objective)
    clock = _no_clock if isinstance(strategy, tf.distribute.TPUStrategy) else _clock

    def update(batch: Batch) -> tf.Tensor:
        loss, metrics, gradients = replica_gradients(encoder, objective, batch)
        # Every replica holds the same summed gradient: shares of its norm add up to it again.
        norm = tf.linalg.global_norm(gradients) / strategy.num_replicas_in_sync
        optimizer.apply_gradients(
            zip(gradients, variables, strict=True), experimental_aggregate_gradients=False
        )
        objective.after_update(encoder)
        return tf.stack([loss, norm, *(metrics[name] for name in metric_names)])

    @tf.function
    def run(source: Iterator[Any], count: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        rows = tf.TensorArray(tf.float32, size=count, element_shape=[2 + len(metric_names)])
        row = tf.zeros([2 + len(metric_names)])
        waited = tf.constant(0.0, tf.float64)
        for index in tf.range(count):
            # The clock starts when the last update has ended, and stops when the batch has arrived.
            with tf.control_dependencies([row]):
                asked = clock()
            with tf.control_dependencies([asked]):
                batch = next(source)
            with tf.control_dependencies(tf.nest.flatten(batch, expand_composites=True)):
                waited += clock() - asked
            row = strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(update, args=(batch,)), axis=None)
            rows = rows.write(index, row)
        return rows.stack(), waited

    run(batches, tf.constant(0))  # traces and optimises without an update, so that later calls can be timed

    def run_steps(count: int) -> StepLog:
        rows, waited = run(batches, tf.constant(count))
        table = rows.numpy()
        last = {name: float(value) for name, value in zip(metric_names, table[-1, 2:], strict=True)}
        return StepLog(table[:, 0], table[:, 1], last, float(waited))

    return run_steps


def _clock() -> tf.Tensor:
    """Seconds, scalar float64. TensorFlow's own timestamp is refused where determinism is on."""
    now = tf.numpy_function(lambda: np.float64(time.monotonic()), [], tf.float64)
    return tf.ensure_shape(now, [])


def _no_clock() -> tf.Tensor:
    return tf.constant(np.nan, tf.float64)
