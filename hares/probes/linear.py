"""The linear probe: one layer on the frozen embedding (paper section 2.1, appendix A).

A softmax over the classes; for multi-label tasks (MagnaTagATune) a sigmoid for each class.
"""

from __future__ import annotations

from functools import partial

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes import ProbeOutcome, train_test_fold
from hares.probes._layers import sigmoid, sigmoid_loss, softmax_loss, softmax_probabilities, zero_layer
from hares.probes._training import Network, run_network
from hares.protocol import ProtocolSettings
from hares.task import Slot, Task


def run(
    task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings, settings: ProtocolSettings
) -> ProbeOutcome:
    """Trains on the training split and scores the test split.

    Args:
        task: the protocol's record; `label_kind` "single" or "multi".
        slots: one slot, which names the classes.
        data: embeddings of the task.
        settings: schedule and seed.

    Returns:
        Averaged probabilities of the test clips.

    Raises:
        ValueError: the loss diverged, or a test clip has no evaluation crop.
    """
    classes = len(slots[0].classes)
    multi = task.label_kind == "multi"
    network = Network(
        initial=lambda size, seed: zero_layer(size, classes),
        loss=sigmoid_loss if multi else softmax_loss((classes,)),
        probabilities=sigmoid if multi else partial(softmax_probabilities, (classes,)),
    )
    return run_network(task, slots, data, settings, train_test_fold(data), network)
