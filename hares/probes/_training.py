"""The loop that trains a probe by gradient descent, and the scores of its test clips (paper appendix A).

Adam with a linear warm-up from 0 and a cosine to 0. All steps run inside one compiled function over tensors
that stay where they are, so a step costs a gather and two matrix products and no Python. A batch is a random
clip and a random one of its crops for every place, drawn statelessly from (seed, step): the paper's "random
crop of a random clip", so a clip too short for several crops weighs as much as any other. Deviation: batches
are drawn with replacement, not epoch by epoch; over 400k steps the difference is immaterial, and step s
needs no history.

All training embeddings of a task must fit in memory (AudioSet in full does only with few crops and a small
embedding; 1.9 million crops of 3456 numbers are 26 GB).

Shapes: `b` batch, `d` embedding size, `k` logits, `r` training crops, `c` clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from hares.embeddings import TaskEmbeddings
from hares.metrics import multi_hot
from hares.probes import Fold, ProbeOutcome
from hares.probes._standard import average_over_crops, standardisation
from hares.protocol import TRAIN_ROLE, ProbeSchedule, ProtocolSettings
from hares.task import Slot, Task

ADAM_BETA1 = 0.9
ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8

Weights = Sequence[tf.Tensor]
Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Logits (b, k) and targets (b, any) to the mean loss of the batch, a scalar."""


@dataclass(frozen=True)
class Network:
    """A probe as plain functions: initial weights, logits, loss and probabilities.

    Attributes:
        initial: (d, seed) to the weights training starts from.
        logits: weights and standardised embeddings (b, d) to (b, k).
        loss: logits and targets to a scalar.
        probabilities: logits (b, k) to (b, k).
    """

    initial: Callable[[int, int], list[tf.Tensor]]
    logits: Callable[[Weights, tf.Tensor], tf.Tensor]
    loss: Loss
    probabilities: Callable[[tf.Tensor], tf.Tensor]


def run_network(
    task: Task,
    slots: tuple[Slot, ...],
    data: TaskEmbeddings,
    settings: ProtocolSettings,
    fold: Fold,
    network: Network,
) -> ProbeOutcome:
    """Trains `network` on a fold's training clips and scores its test clips."""
    rows = data.rows(fold.train, TRAIN_ROLE)
    rows = rows[np.argsort(data.clip_index[rows], kind="stable")]
    mean, deviation = standardisation(data.embeddings[rows])
    weights, loss = _train(
        network,
        embeddings=(data.embeddings[rows] - mean) / deviation,
        targets=_targets(task, slots, data),
        clip=data.clip_index[rows],
        partner=data.partner[rows],
        share=data.mix_weight[rows],
        schedule=settings.schedule(task),
        seed=settings.seed,
    )

    def probabilities(embeddings: np.ndarray) -> np.ndarray:
        standardised = tf.constant((embeddings - mean) / deviation)
        return np.asarray(network.probabilities(network.logits(weights, standardised)))

    scores = average_over_crops(data, fold.test, probabilities)
    return ProbeOutcome(folds=(fold,), scores=scores, details={"final_loss": loss})


def _targets(task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings) -> np.ndarray:
    """What each clip should give: class ids (c, slots) int32, or for multi-label 0 and 1 (c, k) uint8."""
    if task.label_kind != "multi":
        return np.asarray(data.labels, np.int32).reshape(len(data.labels), len(slots))
    return multi_hot(data.labels, len(slots[0].classes)).astype(np.uint8)


def _train(
    network: Network,
    *,
    embeddings: np.ndarray,
    targets: np.ndarray,
    clip: np.ndarray,
    partner: np.ndarray,
    share: np.ndarray,
    schedule: ProbeSchedule,
    seed: int,
) -> tuple[list[tf.Tensor], float]:
    """The weights after all steps, and the loss of the last one. Rows are sorted by clip."""
    first_row, crops = (tf.constant(part, tf.int32) for part in _runs(clip))
    resident = tf.constant(embeddings, tf.float32)
    answers, own, other = tf.constant(targets), tf.constant(clip), tf.constant(partner)
    own_share = tf.constant(share, tf.float32)[:, tf.newaxis]
    mixed = bool((partner != clip).any())

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        draw = tf.random.stateless_uniform((2, schedule.batch_size), tf.stack([seed, step]))
        count = tf.shape(first_row)[0]
        # float32 in [0, 1) times the count can round up to the count itself.
        chosen = tf.minimum(tf.cast(draw[0] * tf.cast(count, tf.float32), tf.int32), count - 1)
        available = tf.gather(crops, chosen)
        crop = tf.minimum(tf.cast(draw[1] * tf.cast(available, tf.float32), tf.int32), available - 1)
        row = tf.gather(first_row, chosen) + crop
        target = tf.gather(answers, tf.gather(own, row))
        if mixed:
            weight = tf.gather(own_share, row)
            partners = tf.gather(answers, tf.gather(other, row))
            target = weight * tf.cast(target, tf.float32) + (1.0 - weight) * tf.cast(partners, tf.float32)
        return tf.gather(resident, row), target

    variables = [tf.Variable(value) for value in network.initial(embeddings.shape[1], seed)]
    moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in variables]

    @tf.function(jit_compile=False)
    def optimise() -> tf.Tensor:
        loss = tf.constant(0.0)
        for step in tf.range(schedule.steps):
            inputs, target = batch(step)
            with tf.GradientTape() as tape:
                loss = network.loss(network.logits(variables, inputs), target)
            gradients = tape.gradient(loss, variables)
            _adam(variables, moments, gradients, step, schedule)
        return loss

    loss = float(optimise())
    if not math.isfinite(loss):
        raise ValueError(f"the probe's loss is {loss} after {schedule.steps} steps; lower the learning rate")
    return [tf.constant(variable) for variable in variables], loss


def _runs(sorted_clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row and number of rows of each clip of a sorted list of clips, one entry a row."""
    _, first, count = np.unique(sorted_clips, return_index=True, return_counts=True)
    return first, count


def learning_rate(step: tf.Tensor, schedule: ProbeSchedule) -> tf.Tensor:
    """The learning rate of step 0, 1, ...: linear from 0 to the peak, then a cosine to 0."""
    done = tf.cast(step, tf.float32)
    warm = done / schedule.warmup_steps
    rest = max(1, schedule.steps - schedule.warmup_steps)
    cosine = 0.5 * (1.0 + tf.cos(math.pi * (done - schedule.warmup_steps) / rest))
    return schedule.learning_rate * tf.where(done < schedule.warmup_steps, warm, cosine)


def _adam(
    variables: list[tf.Variable],
    moments: list[tuple[tf.Variable, tf.Variable]],
    gradients: list[tf.Tensor],
    step: tf.Tensor,
    schedule: ProbeSchedule,
) -> None:
    """One Adam step by TensorFlow's fused kernel, which touches each weight once."""
    updates = tf.cast(step, tf.float32) + 1.0
    rate = learning_rate(step, schedule)
    for variable, (first, second), gradient in zip(variables, moments, gradients, strict=True):
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=tf.pow(ADAM_BETA1, updates),
            beta2_power=tf.pow(ADAM_BETA2, updates),
            lr=rate,
            beta1=ADAM_BETA1,
            beta2=ADAM_BETA2,
            epsilon=ADAM_EPSILON,
            grad=gradient,
        )
