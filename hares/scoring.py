"""A task's embeddings in, its score out (paper section 2.1): by a probe, or by the encoder's own classifier.

A task without training clips, without test clips or with fewer than two classes to tell apart is not an error but "not
scored", with the reason. Scores are fractions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.metrics import chance_accuracy, chance_average_precision, multi_hot
from hares.own_classifier import NOTE, OwnClassifier
from hares.predictions import Predictions
from hares.probes import Fold, ProbeOutcome, load_probe, train_test_fold
from hares.probes._standard import average_over_crops
from hares.protocol import EVALUATION_ROLE, TRAIN_ROLE, ProtocolSettings
from hares.statistics import Resampled, draws_seed, interval
from hares.task import Slot, Task

ONE_GROUP = (
    "All test clips are of one speaker, recording or instrument: the interval is over clips, and narrower than one "
    "over speakers, recordings or instruments would be."
)

NOTABLE_BIAS = 0.002  # of a random ranking's mAP: about 4,000 clips


@dataclass(frozen=True)
class TaskScore:
    """One task's score and everything one must know to judge it.

    Attributes:
        task: the protocol's record.
        value: the score in [0, 1]; None where the task is not scored.
        chance: score of the best answer that ignores the clip, for mAP of a random ranking; None where the task is not
            scored.
        resampled: `value` on bootstrap resamples; None with fewer than two groups of test clips.
        seed_scores: the score of each seed of the probe; `value` is their mean.
        clips: test clips scored.
        train_clips: clips trained on (of ESC-50, all folds together).
        classes_trained: classes, of all slots, that training clips show.
        classes: classes, of all slots, that the task defines.
        deviations: from the paper, by the task or the protocol's settings.
        details: what the probe settled on.
        predictions: answers clip by clip; None where the task is not scored.
        reason: why it is not scored, "" where it is.
    """

    task: Task
    value: float | None
    chance: float | None
    resampled: Resampled | None
    seed_scores: tuple[float, ...]
    clips: int
    train_clips: int
    classes_trained: int
    classes: int
    deviations: tuple[str, ...]
    details: Mapping[str, float]
    predictions: Predictions | None
    reason: str

    @property
    def interval(self) -> tuple[float, float] | None:
        """95% interval of `value`."""
        return interval(self.resampled) if self.resampled else None


def score_task(
    task: Task,
    slots: tuple[Slot, ...],
    data: TaskEmbeddings,
    settings: ProtocolSettings,
    own_classifier: OwnClassifier | None = None,
) -> TaskScore:
    """Trains a task's probe and scores its test clips.

    Args:
        task: the protocol's record.
        slots: the label set in force (`TaskIndex.slots`).
        data: embeddings of all the task's clips.
        settings: preset, seed, steps.
        own_classifier: the encoder's; it takes the place of the probe for the task it was trained on.

    Returns:
        The score, or why there is none.

    Raises:
        ValueError: a clip's labels do not fit `slots`, or the probe's loss diverged.
    """
    _check_labels(task, slots, data)
    train = data.clips_in(task.folds or ["train"])
    test = data.clips_in(task.folds or ["test"])
    reason = _why_not_scored(task, data, train, test)
    common: dict[str, Any] = {
        "task": task,
        "train_clips": len(train),
        "classes_trained": len(_classes_of(task, data, train)),
        "classes": sum(len(slot.classes) for slot in slots),
        "deviations": task.deviations + settings.deviations(task),
    }
    if reason:
        return replace(not_scored(task, settings, reason), **common)
    if own_classifier is not None and own_classifier.task == task.name:
        outcome = _own_classifier_outcome(own_classifier, task, slots, data)
        common["deviations"] = (*task.deviations, NOTE)
    else:
        outcome = load_probe(task.probe)(task, slots, data, settings)
    predictions = _predictions(task, slots, data, outcome.folds, outcome.scores)
    if predictions.of_one_group():
        common["deviations"] = (*common["deviations"], ONE_GROUP)
    common["deviations"] = (*common["deviations"], *_notes_on_map(predictions))
    seed_scores = predictions.seed_scores()
    return TaskScore(
        **common,
        value=float(np.mean(seed_scores)),
        chance=_chance(predictions, data, outcome.folds),
        resampled=predictions.resampled(settings.bootstrap_resamples, draws_seed(task, settings.seed)),
        seed_scores=tuple(seed_scores),
        clips=len(predictions.clip_ids),
        details=outcome.details,
        predictions=predictions,
        reason="",
    )


def _notes_on_map(predictions: Predictions) -> Iterator[str]:
    """What makes mAP of a small or partial test set another number than that of the whole one."""
    bias = predictions.small_sample_bias()
    if bias is None:
        return
    chance = chance_average_precision(multi_hot(predictions.labels, predictions.scores.shape[-1]))
    if bias > NOTABLE_BIAS:
        yield (
            f"mAP of {len(predictions.clip_ids)} clips is biased upward: a random ranking of them scores "
            f"{100 * chance:.1f}%, one of endlessly many such clips {100 * (chance - bias):.1f}%. The interval is that "
            "of test sets of this size."
        )
    classes = predictions.scores.shape[-1]
    tested = len({label for labels in predictions.labels for label in labels})
    if tested < classes:
        yield f"mAP is the mean over the {tested} of {classes} classes that a test clip has."


def not_scored(task: Task, settings: ProtocolSettings, reason: str) -> TaskScore:
    """The record of a task that has no score; nothing is counted."""
    return TaskScore(
        task=task, value=None, chance=None, resampled=None, seed_scores=(), clips=0, train_clips=0, classes_trained=0,
        classes=task.num_classes, deviations=task.deviations + settings.deviations(task), details={},
        predictions=None, reason=reason,
    )  # fmt: skip


def _why_not_scored(task: Task, data: TaskEmbeddings, train: np.ndarray, test: np.ndarray) -> str:
    """Why a task cannot be scored with the clips at hand; "" where it can."""
    empty = [fold for fold in task.folds if not len(data.clips_in([fold]))]
    if empty:
        return f"no clips in {', '.join(empty)}; the score is the mean of {len(task.folds)} folds"
    for what, clips, role in (("training", train, TRAIN_ROLE), ("test", test, EVALUATION_ROLE)):
        if not len(data.rows(clips, role)):
            return f"no {what} clips"
    if len(_answers_of(task, data, train)) < 2:
        return "fewer than two classes among the training clips"
    if task.label_kind == "multi" and not _classes_of(task, data, test):
        return "no test clip has any of the classes"
    return ""


def _answers_of(task: Task, data: TaskEmbeddings, clips: np.ndarray) -> set[tuple[int, ...]]:
    """The different answers among `clips`: classes, or of a task with slots their combinations."""
    if task.label_kind == "multi":
        return _classes_of(task, data, clips)
    return {data.labels[clip] for clip in clips}


def _classes_of(task: Task, data: TaskEmbeddings, clips: np.ndarray) -> set[tuple[int, ...]]:
    """The different (slot, class) among `clips`; a multi-label task has one slot."""
    pairs = ((slot, label) for clip in clips for slot, label in enumerate(data.labels[clip]))
    return {(0, label) if task.label_kind == "multi" else (slot, label) for slot, label in pairs}


def _check_labels(task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings) -> None:
    sizes = [len(slot.classes) for slot in slots]
    for clip_id, labels in zip(data.clip_ids, data.labels, strict=True):
        limits = [sizes[0]] * len(labels) if task.label_kind == "multi" else sizes
        fits = len(labels) == len(limits)
        if not fits or any(not 0 <= a < limit for a, limit in zip(labels, limits, strict=True)):
            raise ValueError(
                f"{task.name}: clip {clip_id!r} has labels {labels}, which do not fit a label set of sizes "
                f"{sizes}. Were its Examples made with another version of the task?"
            )


def _own_classifier_outcome(
    own: OwnClassifier, task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings
) -> ProbeOutcome:
    """The answers of the encoder's own classifier, as a probe's outcome: a clip's score is the mean over its crops."""
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


def _predictions(
    task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings, folds: Sequence[Fold], scores: np.ndarray
) -> Predictions:
    clips = np.concatenate([fold.test for fold in folds])
    weights = np.concatenate([np.full(len(fold.test), 1.0 / len(fold.test)) for fold in folds])
    return Predictions(
        metric=task.metric,
        slots=slots,
        clip_ids=tuple(data.clip_ids[clip] for clip in clips),
        groups=tuple(data.groups[clip] for clip in clips),
        labels=tuple(data.labels[clip] for clip in clips),
        scores=scores,
        weights=weights * (len(clips) / len(folds)),  # so that they are 1 where folds are of one size
    )


def _chance(predictions: Predictions, data: TaskEmbeddings, folds: Sequence[Fold]) -> float:
    if predictions.metric == "mAP":
        return chance_average_precision(multi_hot(predictions.labels, predictions.scores.shape[-1]))
    return float(
        np.mean(
            [
                chance_accuracy(
                    [data.labels[clip] for clip in fold.train], [data.labels[clip] for clip in fold.test]
                )
                for fold in folds
            ]
        )
    )
