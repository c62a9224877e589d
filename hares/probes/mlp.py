"""The probe of AudioSet: an MLP with one hidden layer of 512 ReLU units, then sigmoids (paper appendix A).

The paper gives neither the activation nor the initialisation: ReLU, Glorot uniform for the hidden layer,
zeros for the last. Targets are mixed in the ratio in which the crops were (`hares.protocol`).

Shapes: `b` batch, `d` embedding size, `k` logits.
"""

from __future__ import annotations

import math

import numpy as np

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes import ProbeOutcome, train_test_fold
from hares.probes._layers import sigmoid, sigmoid_loss, zero_layer
from hares.probes._training import Network, run_network
from hares.protocol import ProtocolSettings
from hares.task import Slot, Task

HIDDEN_UNITS = 512


def run(
    task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings, settings: ProtocolSettings
) -> ProbeOutcome:
    """Trains on the training split and scores the test split.

    Args:
        task: the protocol's record; `label_kind` "multi".
        slots: one slot, which names the classes.
        data: embeddings of the task.
        settings: schedule and seed.

    Returns:
        Averaged probabilities of the test clips.

    Raises:
        ValueError: the loss diverged, or a test clip has no evaluation crop.
    """
    classes = len(slots[0].classes)
    network = Network(
        initial=lambda size, seed: _initial(size, classes, seed),
        loss=sigmoid_loss,
        probabilities=sigmoid,
    )
    return run_network(task, slots, data, settings, train_test_fold(data), network)


def _initial(size: int, classes: int, seed: int) -> list[np.ndarray]:
    limit = math.sqrt(6.0 / (size + HIDDEN_UNITS))
    stream = np.random.Generator(np.random.Philox(key=[seed, size]))  # another one than that of the batches
    hidden = limit * (2.0 * stream.random((size, HIDDEN_UNITS), np.float32) - 1.0)
    return [hidden, np.zeros(HIDDEN_UNITS, np.float32), *zero_layer(HIDDEN_UNITS, classes)]
