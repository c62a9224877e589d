"""The loop that trains a probe by gradient descent, and the scores of its test clips (paper appendix A).

Adam with a linear warm-up from 0 and a cosine to 0. Steps run inside one compiled function, a chunk of them at
a call: a step costs a gather, two matrix products and one fused update of the weights, and no Python. Several
seeds train side by side in the same graph, each on its own batches. Where the embeddings are too large for
memory, batches come gathered (`hares.probes._batches`).

Deviation: batches are drawn with replacement, not epoch by epoch; over 400k steps the difference is
immaterial, and a clip may have any number of crops.

Shapes: `s` seeds, `b` batch, `d` embedding size, `k` logits, `n` steps of a chunk.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes import Fold, ProbeOutcome
from hares.probes._batches import TrainingRows
from hares.probes._standard import average_over_crops, standardisation, standardise
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
    """A probe of one seed as plain functions: initial weights, logits, loss and probabilities.

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
    """Trains `network` on a fold's training clips, once a seed, and scores its test clips."""
    rows = data.rows(fold.train, TRAIN_ROLE)
    mean, deviation = standardisation(data.embeddings, rows)
    training = TrainingRows(task, slots, data, rows, mean, deviation)
    seeds = [settings.seed + number for number in range(settings.probe_seeds)]
    weights, losses = train(network, training, settings.schedule(task, len(rows)), seeds)

    @tf.function(input_signature=[tf.TensorSpec([None, training.size], tf.float32)])
    def probabilities(inputs: tf.Tensor) -> tf.Tensor:
        return tf.stack([network.probabilities(network.logits(of_seed, inputs)) for of_seed in weights])

    scores = average_over_crops(
        data,
        fold.test,
        lambda embeddings: probabilities(standardise(embeddings, mean, deviation)).numpy(),
    )
    return ProbeOutcome(folds=(fold,), scores=scores, details={"final_loss": float(np.mean(losses))})


def train(
    network: Network, training: TrainingRows, schedule: ProbeSchedule, seeds: list[int]
) -> tuple[list[list[tf.Tensor]], list[float]]:
    """The weights of each seed after all steps, and the loss of each one's last batch.

    Raises:
        ValueError: a loss is not finite.
    """
    variables = [[tf.Variable(value) for value in network.initial(training.size, seed)] for seed in seeds]
    moments = [
        [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in of_seed]
        for of_seed in variables
    ]
    resident = _resident(training) if training.resident else None

    def step(inputs: tf.Tensor, targets: tf.Tensor, rates: tf.Tensor) -> tf.Tensor:
        """One step of all seeds: inputs (s, b) or (s, b, d), targets (s, b, any), rates (3,) to losses (s,)."""
        losses = []
        for place, (of_seed, own_moments) in enumerate(zip(variables, moments, strict=True)):
            rows = inputs[place] if resident is None else tf.gather(resident, inputs[place])
            with tf.GradientTape() as tape:
                loss = network.loss(network.logits(of_seed, rows), targets[place])
            _adam(of_seed, own_moments, tape.gradient(loss, of_seed), rates)
            losses.append(loss)
        return tf.stack(losses)

    @tf.function(jit_compile=False, reduce_retracing=True)
    def optimise(inputs: tf.Tensor, targets: tf.Tensor, rates: tf.Tensor) -> tf.Tensor:
        losses = tf.zeros((len(seeds),))
        for number in tf.range(tf.shape(targets)[0]):
            losses = step(inputs[number], targets[number], rates[number])
        return losses

    losses = tf.zeros((len(seeds),))
    for chunk in training.chunks(schedule, seeds):
        rates = adam_rates(chunk.first + np.arange(len(chunk.targets)), schedule)
        losses = optimise(tf.constant(chunk.inputs), tf.constant(chunk.targets), tf.constant(rates))
    found = [float(loss) for loss in losses]
    if not all(math.isfinite(loss) for loss in found):
        raise ValueError(f"the probe's loss is {found} after {schedule.steps} steps; lower the learning rate")
    return [[tf.constant(variable) for variable in of_seed] for of_seed in variables], found


def _resident(training: TrainingRows) -> tf.Variable:
    """All rows (r, d) where the graph can gather them. Filled block by block: `tf.constant` would hold them thrice."""
    rows = tf.Variable(tf.zeros((training.count, training.size)))
    for first, block in training.blocks():
        rows[first : first + len(block)].assign(block)
    return rows


def learning_rate(step: np.ndarray, schedule: ProbeSchedule) -> np.ndarray:
    """The learning rate of step 0, 1, ...: linear from 0 to the peak, then a cosine to 0."""
    done = np.asarray(step, np.float64)
    warm = done / schedule.warmup_steps
    rest = max(1, schedule.steps - schedule.warmup_steps)
    cosine = 0.5 * (1.0 + np.cos(math.pi * (done - schedule.warmup_steps) / rest))
    return np.asarray(schedule.learning_rate * np.where(done < schedule.warmup_steps, warm, cosine))


def adam_rates(step: np.ndarray, schedule: ProbeSchedule) -> np.ndarray:
    """What changes in Adam from step to step: (n, 3) float32 learning rate and powers of both betas.

    Known beforehand, so that the graph has no more to do than to look them up.
    """
    powers = [beta ** (np.asarray(step, np.float64) + 1.0) for beta in (ADAM_BETA1, ADAM_BETA2)]
    return np.stack([learning_rate(step, schedule), *powers], axis=-1).astype(np.float32)


def _adam(
    variables: list[tf.Variable],
    moments: list[tuple[tf.Variable, tf.Variable]],
    gradients: list[tf.Tensor],
    rates: tf.Tensor,
) -> None:
    """One Adam step by TensorFlow's fused kernel, which touches each weight once; rates of `adam_rates`."""
    rate, beta1_power, beta2_power = tf.unstack(rates)
    for variable, (first, second), gradient in zip(variables, moments, gradients, strict=True):
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=first.handle,
            v=second.handle,
            beta1_power=beta1_power,
            beta2_power=beta2_power,
            lr=rate,
            beta1=ADAM_BETA1,
            beta2=ADAM_BETA2,
            epsilon=ADAM_EPSILON,
            grad=gradient,
        )
