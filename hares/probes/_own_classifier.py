"""In place of a probe: the classifier that the encoder brings along; a clip's score is the mean over its crops."""

from __future__ import annotations

import numpy as np

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.own_classifier import OwnClassifier
from hares.probes import ProbeOutcome, train_test_fold
from hares.probes._standard import average_over_crops
from hares.task import Slot, Task


def run_own_classifier(
    own: OwnClassifier, task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings
) -> ProbeOutcome:
    """Scores of the test clips, as a probe's outcome.

    Raises:
        ValueError: its number of classes is not the task's.
    """
    classes = len(slots[0].classes)

    def score(embeddings: np.ndarray) -> np.ndarray:
        scores = own.classify(embeddings)
        if scores.shape != (len(embeddings), classes):
            raise ValueError(
                f"{task.name}: the encoder's own classifier gave scores of shape {scores.shape} for "
                f"{len(embeddings)} embeddings; the task has {classes} classes. Was it trained on another "
                "label set?"
            )
        return scores[np.newaxis]

    fold = train_test_fold(data)
    return ProbeOutcome((fold,), average_over_crops(data, fold.test, score), {})
