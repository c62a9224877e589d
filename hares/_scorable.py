"""Whether a task can be scored with the clips at hand, and if not, why."""

from __future__ import annotations

import numpy as np

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes import FOLDS
from hares.protocol import EVALUATION_ROLE, TRAIN_ROLE
from hares.task import Slot, Task


def why_not_scored(
    task: Task, data: TaskEmbeddings, train: np.ndarray, test: np.ndarray, folded: bool
) -> str:
    if folded:
        empty = [fold for fold in FOLDS if not len(data.clips_in([fold]))]
        if empty:
            return f"no clips in {', '.join(empty)}; the score is the mean of {len(FOLDS)} folds"
    for what, clips, role in (("training", train, TRAIN_ROLE), ("test", test, EVALUATION_ROLE)):
        if not len(data.rows(clips, role)):
            return f"no {what} clips"
    if len(_answers_of(task, data, train)) < 2:
        return "fewer than two classes among the training clips"
    if task.label_kind == "multi" and not classes_of(task, data, test):
        return "no test clip has any of the classes"
    return ""


def _answers_of(task: Task, data: TaskEmbeddings, clips: np.ndarray) -> set[tuple[int, ...]]:
    """The different answers among `clips`: classes, or of a task with slots their combinations."""
    if task.label_kind == "multi":
        return classes_of(task, data, clips)
    return {data.labels[clip] for clip in clips}


def classes_of(task: Task, data: TaskEmbeddings, clips: np.ndarray) -> set[tuple[int, ...]]:
    """The different (slot, class) among `clips`; a multi-label task has one slot."""
    pairs = ((slot, label) for clip in clips for slot, label in enumerate(data.labels[clip]))
    return {(0, label) if task.label_kind == "multi" else (slot, label) for slot, label in pairs}


def check_labels(task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings) -> None:
    sizes = [len(slot.classes) for slot in slots]
    for clip_id, labels in zip(data.clip_ids, data.labels, strict=True):
        limits = [sizes[0]] * len(labels) if task.label_kind == "multi" else sizes
        fits = len(labels) == len(limits)
        if not fits or any(not 0 <= a < limit for a, limit in zip(labels, limits, strict=True)):
            raise ValueError(
                f"{task.name}: clip {clip_id!r} has labels {labels}, which do not fit a label set of sizes "
                f"{sizes}. Were its Examples made with another version of the task?"
            )
