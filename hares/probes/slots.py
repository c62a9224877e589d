"""The probe of Fluent Speech Commands: three softmaxes at once on one linear layer (paper appendix A).

The three cross entropies are summed; an answer is right only if all three slots are.
"""

from __future__ import annotations

from functools import partial

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes import ProbeOutcome, train_test_fold
from hares.probes._layers import softmax_loss, softmax_probabilities, zero_layer
from hares.probes._training import Network, run_network
from hares.protocol import ProtocolSettings
from hares.task import Slot, Task


def run(
    task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings, settings: ProtocolSettings
) -> ProbeOutcome:
    """Trains on the training split and scores the test split.

    Args:
        task: the protocol's record; `label_kind` "slots".
        slots: the softmaxes, in the order of a clip's labels.
        data: embeddings of the task.
        settings: schedule and seed.

    Returns:
        Averaged probabilities of the test clips, slot after slot along the last axis.

    Raises:
        ValueError: the loss diverged, or a test clip has no evaluation crop.
    """
    sizes = tuple(len(slot.classes) for slot in slots)
    network = Network(
        initial=lambda size, seed: zero_layer(size, sum(sizes)),
        loss=softmax_loss(sizes),
        probabilities=partial(softmax_probabilities, sizes),
    )
    return run_network(task, slots, data, settings, train_test_fold(data), network)
