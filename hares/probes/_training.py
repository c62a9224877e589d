"""The loop that trains a probe by gradient descent, and the scores of its test clips (paper appendix A).

Adam with a linear warm-up from 0 and a cosine to 0, in float32. A step is a gather, two matrix products a layer and ten
passes over the weights, none of which makes an array of the weights' size. A compiled graph of TensorFlow needs about
0.6 of the processor time (docs/measurements/probes.md); this gives the same numbers on every installation. Each seed
trains on its own batches, on a core of its own as far as there are cores: BLAS itself computes on one
(`hares.probes.load_probe`), so that their number decides no digit. Where the embeddings are too large for memory,
batches come gathered (`hares.probes._batches`).

Deviation: batches are drawn with replacement, not epoch by epoch; over 400k steps the difference is
immaterial, and a clip may have any number of crops.

Shapes: `s` seeds, `b` batch, `d` embedding size, `k` logits, `n` steps of a chunk.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes import Fold, ProbeOutcome
from hares.probes._batches import Chunk, TrainingRows
from hares.probes._layers import Loss, Weights, logits, loss_and_gradients
from hares.probes._standard import average_over_crops, standardisation, standardise
from hares.protocol import TRAIN_ROLE, ProbeSchedule, ProtocolSettings
from hares.task import Slot, Task

ADAM_BETA1 = 0.9
ADAM_BETA2 = 0.999
ADAM_EPSILON = 1e-8
_BLOCK = 32_768  # weights that Adam updates at once: with their moments they stay in a core's cache


@dataclass(frozen=True)
class Network:
    """A probe of one seed as plain functions: initial weights, loss and probabilities.

    Attributes:
        initial: (d, seed) to the weights training starts from, layer by layer.
        loss: see `hares.probes._layers.Loss`.
        probabilities: logits (b, k) to (b, k).
    """

    initial: Callable[[int, int], list[np.ndarray]]
    loss: Loss
    probabilities: Callable[[np.ndarray], np.ndarray]


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

    def probabilities(embeddings: np.ndarray) -> np.ndarray:
        inputs = standardise(embeddings, mean, deviation)
        return np.stack([network.probabilities(logits(of_seed, inputs)) for of_seed in weights])

    scores = average_over_crops(data, fold.test, probabilities)
    return ProbeOutcome(folds=(fold,), scores=scores, details={"final_loss": float(np.mean(losses))})


def train(
    network: Network, training: TrainingRows, schedule: ProbeSchedule, seeds: list[int]
) -> tuple[list[Weights], list[float]]:
    """The weights of each seed after all steps, and the loss of each one's last batch.

    Raises:
        ValueError: a loss is not finite.
    """
    resident = _resident(training) if training.resident else None
    learners = [_Learner(network, training.size, seed, resident) for seed in seeds]
    with ThreadPoolExecutor(min(len(seeds), len(os.sched_getaffinity(0)))) as pool:
        for chunk in training.chunks(schedule, seeds):
            rates = adam_rates(chunk.first + np.arange(len(chunk.targets)), schedule)
            waiting = [
                pool.submit(learner.learn, chunk, place, rates) for place, learner in enumerate(learners)
            ]
            losses = [done.result() for done in waiting]
    if not all(math.isfinite(loss) for loss in losses):
        raise ValueError(
            f"the probe's loss is {losses} after {schedule.steps} steps; lower the learning rate"
        )
    return [learner.weights for learner in learners], losses


class _Learner:
    """The weights of one seed, and what Adam keeps of their gradients: each all layers in one array, and views of it.

    Attributes:
        weights: of each layer, views.
    """

    def __init__(self, network: Network, size: int, seed: int, resident: np.ndarray | None) -> None:
        initial = network.initial(size, seed)
        self._network, self._resident = network, resident
        self._flat = np.concatenate([array.ravel() for array in initial])
        self._flat_gradients = np.empty_like(self._flat)
        self._first, self._second = np.zeros_like(self._flat), np.zeros_like(self._flat)
        self._scratch = np.empty(min(_BLOCK, self._flat.size), np.float32)
        self._rows: np.ndarray | None = None  # a batch
        self.weights = _views(self._flat, initial)
        self._gradients = _views(self._flat_gradients, initial)

    def learn(self, chunk: Chunk, place: int, rates: np.ndarray) -> float:
        """Takes the steps of a chunk, as seed number `place` of it; returns the last one's loss."""
        loss = 0.0
        if self._rows is None and self._resident is not None:
            self._rows = np.empty((chunk.inputs.shape[2], self._resident.shape[1]), np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # `train` looks at the loss
            for inputs, targets, rate in zip(
                chunk.inputs[:, place], chunk.targets[:, place], rates, strict=True
            ):
                rows = inputs
                if (
                    self._resident is not None
                ):  # into the same memory each time: new pages cost as much as the copy
                    rows = np.take(self._resident, inputs, axis=0, out=self._rows, mode="clip")
                loss = loss_and_gradients(self.weights, rows, targets, self._network.loss, self._gradients)
                self._adam(*rate)
        return loss

    def _adam(self, rate: np.float32, epsilon: np.float32) -> None:
        """One step; `adam_rates` says by what. Both moments are kept without their factors of one minus beta."""
        for start in range(0, self._flat.size, _BLOCK):
            part = slice(start, start + _BLOCK)
            weights, gradients = self._flat[part], self._flat_gradients[part]
            first, second = self._first[part], self._second[part]
            scratch = self._scratch[: len(weights)]
            first *= np.float32(ADAM_BETA1)
            first += gradients
            gradients *= gradients
            second *= np.float32(ADAM_BETA2)
            second += gradients
            np.sqrt(second, out=scratch)
            scratch += epsilon
            np.divide(first, scratch, out=scratch)
            scratch *= rate
            weights -= scratch


def _views(flat: np.ndarray, like: list[np.ndarray]) -> list[np.ndarray]:
    """Parts of (any,) numbers in the shapes of `like`."""
    ends = np.cumsum([array.size for array in like])
    return [flat[end - a.size : end].reshape(a.shape) for end, a in zip(ends, like, strict=True)]


def _resident(training: TrainingRows) -> np.ndarray:
    """All rows (r, d), in memory."""
    rows = np.empty((training.count, training.size), np.float32)
    for first, block in training.blocks():
        rows[first : first + len(block)] = block
    return rows


def learning_rate(step: np.ndarray, schedule: ProbeSchedule) -> np.ndarray:
    """The learning rate of step 0, 1, ...: linear from 0 to the peak, then a cosine to 0."""
    done = np.asarray(step, np.float64)
    warm = done / schedule.warmup_steps
    rest = max(1, schedule.steps - schedule.warmup_steps)
    cosine = 0.5 * (1.0 + np.cos(math.pi * (done - schedule.warmup_steps) / rest))
    return np.asarray(schedule.learning_rate * np.where(done < schedule.warmup_steps, warm, cosine))


def adam_rates(step: np.ndarray, schedule: ProbeSchedule) -> np.ndarray:
    """What changes in Adam from step to step: (n, 2) float32 step size and epsilon.

    With m and v as Adam's paper defines them a step is `rate * m / (sqrt(v) + epsilon)` once both are corrected for
    their start at zero. Moments that lack their factors, m / (1 - beta1) and v / (1 - beta2), have these instead.
    """
    count = np.asarray(step, np.float64) + 1.0
    scale = math.sqrt(1.0 - ADAM_BETA2)
    corrected = learning_rate(step, schedule) * np.sqrt(1.0 - ADAM_BETA2**count) / (1.0 - ADAM_BETA1**count)
    rates = corrected * (1.0 - ADAM_BETA1) / scale
    return np.stack([rates, np.full_like(rates, ADAM_EPSILON / scale)], axis=-1).astype(np.float32)
