"""Embeddings in, HARES out: the score of each task, and the report that holds all of them (paper section 2.1).

All values are fractions; `hares.averages` makes the means of them.

A task without training clips, without test clips or with fewer than two classes to tell apart is not an
error but "not scored", with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from hares._scorable import check_labels, classes_of, why_not_scored
from hares.averages import difference, mean_differences, mean_intervals, means
from hares.class_scores import class_scores, confusion, macro_recall
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.leakage import not_checked
from hares.metrics import chance_accuracy, chance_average_precision, multi_hot
from hares.own_classifier import NOTE, OwnClassifier
from hares.predictions import Predictions
from hares.probes import FOLDS, Fold, load_probe
from hares.probes._own_classifier import run_own_classifier
from hares.protocol import ProtocolSettings
from hares.report.paper import REFERENCES, paper_averages, paper_score
from hares.statistics import Resampled, draws_seed, interval
from hares.task import Reason, Slot, Task

UNREADABLE = (
    *(Reason.EMPTY, Reason.UNDECODABLE, Reason.TRUNCATED, Reason.TOO_SHORT, Reason.WRONG_LENGTH),
    *(Reason.NON_FINITE, Reason.BAD_HEADER, Reason.TOO_LONG, Reason.TOO_SLOW, Reason.TOO_LARGE),
    *(Reason.DECODER_DIED, Reason.NEEDS_FFMPEG),
)

CHOICES = (
    "Embeddings are standardised by the mean and standard deviation of the training crops, for every probe.",
    "A clip's score is the mean of its subclips' probabilities.",
    "A last subclip is added where at least half a subclip remains, and ends where the clip ends.",
    "Clips shorter than a crop are padded with zeros at the end.",
    "Probe batches are drawn with replacement: a random clip, then a random one of its crops.",
    "A score is the mean over the probe's seeds, which differ in batches and initial weights; an SVM has one.",
    "Chance is the score of the best answer that ignores the clip: the commonest training class, or one constant "
    "score for mAP.",
    "mAP is the mean over the classes with at least one positive test clip.",
    "Intervals are 95%, Wilson's, from a bootstrap over test clips, or over speakers, recordings or instruments "
    "where clips share one. They say how far other test clips could move the score, not other training runs.",
    "Differences are paired: both encoders on the same resamples, held against the standard error by Student's t.",
)

ONE_GROUP = (
    "All test clips are of one speaker, recording or instrument: the interval is over clips, and narrower than one "
    "over speakers, recordings or instruments would be."
)


@dataclass(frozen=True)
class TaskScore:
    """One task's score and everything one must know to judge it.

    Attributes:
        task: the protocol's record.
        value: the score in [0, 1]; None where the task is not scored.
        chance: score of the best answer that ignores the clip; None where the task is not scored.
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


@dataclass(frozen=True)
class SourceSummary:
    """What ingestion found out about one task's corpus.

    Attributes:
        expected_clips: clips that the index lists for the scored splits, missing ones among them.
        missing: clips and files not used, counted by reason.
        split_official: whether the split in force is the one the data set ships.
        deviations: from the paper, by the corpus.
        listed, used: clips of all splits that the index lists, and those that are there and can be read.
        leakage: what is on both sides of the split, by content (`hares.leakage`); None where not looked for.
    """

    expected_clips: int
    missing: Mapping[str, int]
    split_official: bool
    deviations: tuple[str, ...]
    listed: int = 0
    used: int = 0
    leakage: Mapping[str, Any] | None = None


def source_summary(manifest: Mapping[str, Any], leakage: Mapping[str, Any] | None = None) -> SourceSummary:
    """What scoring needs of an ingestion manifest (`hares.ingest.build_manifest`).

    Args:
        manifest: of one task.
        leakage: what `hares.leakage.check_leakage` found in the manifest's list of clips.
    """
    splits = manifest["splits"]
    return SourceSummary(
        expected_clips=sum(int(splits[split]["listed"]) for split in splits if split in ("test", *FOLDS)),
        missing={str(reason): int(count) for reason, count in manifest["rejected"].items()},
        split_official=bool(manifest["split_is_official"]),
        deviations=tuple(manifest["deviations"]),
        listed=sum(int(split["listed"]) for split in splits.values()),
        used=sum(int(split["used"]) for split in splits.values()),
        leakage=leakage,
    )


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
    check_labels(task, slots, data)
    folded = task.probe == "svm"
    train = data.clips_in(FOLDS if folded else ["train"])
    test = data.clips_in(FOLDS if folded else ["test"])
    reason = why_not_scored(task, data, train, test, folded)
    common: dict[str, Any] = {
        "task": task,
        "train_clips": len(train),
        "classes_trained": len(classes_of(task, data, train)),
        "classes": sum(len(slot.classes) for slot in slots),
        "deviations": task.deviations + settings.deviations(task),
    }
    if reason:
        return replace(not_scored(task, settings, reason), **common)
    if own_classifier is not None and own_classifier.task == task.name:
        outcome = run_own_classifier(own_classifier, task, slots, data)
        common["deviations"] = (*task.deviations, NOTE)
    else:
        outcome = load_probe(task.probe)(task, slots, data, settings)
    predictions = _predictions(task, slots, data, outcome.folds, outcome.scores)
    if predictions.of_one_group():
        common["deviations"] = (*common["deviations"], ONE_GROUP)
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


def not_scored(task: Task, settings: ProtocolSettings, reason: str) -> TaskScore:
    """The record of a task that has no score; nothing is counted."""
    return TaskScore(
        task=task, value=None, chance=None, resampled=None, seed_scores=(), clips=0, train_clips=0, classes_trained=0,
        classes=task.num_classes, deviations=task.deviations + settings.deviations(task), details={},
        predictions=None, reason=reason,
    )  # fmt: skip


def build_report(
    tasks: Sequence[Task],
    scores: Mapping[str, TaskScore],
    untrained: Mapping[str, TaskScore],
    sources: Mapping[str, SourceSummary],
    settings: ProtocolSettings,
    encoder: Mapping[str, Any],
) -> dict[str, Any]:
    """All scores as one record that JSON can hold.

    Args:
        tasks: all tasks of the benchmark, scored or not.
        scores: by task name; a task that is not in it was not part of the run.
        untrained: scores of the same encoder with its initial weights, by task name; may be empty.
        sources: what ingestion found, by task name; a task that is not in it has null counts.
        settings: the protocol.
        encoder: what the encoder is: name, weights digest and the like.

    Returns:
        `tasks`, `domains`, `hares`, `partial_mean`, `intervals` (of the domains and HARES), `untrained`,
        `above_untrained` (the paired differences of the domains and HARES), `protocol`, `encoder` and `paper`;
        values are fractions, null where not scored.
    """
    return {
        "tasks": {
            task.name: _task_entry(
                task, scores.get(task.name), untrained.get(task.name), sources.get(task.name)
            )
            for task in tasks
        },
        **means(tasks, _values(scores)),
        "intervals": mean_intervals(tasks, _resampled(scores)),
        "untrained": means(tasks, _values(untrained)),
        "above_untrained": mean_differences(tasks, _resampled(scores), _resampled(untrained)),
        "protocol": {"name": settings.name, "settings": _plain(asdict(settings)), "choices": list(CHOICES)},
        "encoder": dict(encoder),
        "paper": {name: paper_averages(name) for name in REFERENCES},
    }


def _values(scores: Mapping[str, TaskScore]) -> dict[str, float]:
    return {name: score.value for name, score in scores.items() if score.value is not None}


def _resampled(scores: Mapping[str, TaskScore]) -> dict[str, Resampled]:
    return {name: score.resampled for name, score in scores.items() if score.resampled}


def _task_entry(
    task: Task,
    score: TaskScore | None,
    untrained: TaskScore | None,
    source: SourceSummary | None,
) -> dict[str, Any]:
    answers = score.predictions if score else None
    own = score.deviations if score else task.deviations
    return {
        "title": task.title,
        "domain": task.domain,
        "metric": task.metric,
        "value": score.value if score else None,
        "interval": list(score.interval) if score and score.interval else None,
        "chance": score.chance if score else None,
        "untrained": untrained.value if untrained else None,
        "above_untrained": difference(score.resampled, untrained.resampled) if score and untrained else None,
        "seed_scores": list(score.seed_scores) if score else [],
        "seed_deviation": _seed_deviation(score),
        "macro_recall": macro_recall(answers) if answers else None,
        "per_class": class_scores(answers) if answers else [],
        "confusion": confusion(answers) if answers else [],
        "clips": score.clips if score else 0,
        "expected_clips": source.expected_clips if source else None,
        "train_clips": score.train_clips if score else 0,
        "classes": score.classes if score else task.num_classes,
        "classes_trained": score.classes_trained if score else 0,
        "missing": dict(source.missing) if source else {},
        "manifest": _manifest(source) if source else None,
        "leakage": dict(not_checked(task) if source is None or source.leakage is None else source.leakage),
        "split_official": source.split_official if source else None,
        "deviations": list(dict.fromkeys(own + (source.deviations if source else ()))),
        "details": dict(score.details) if score else {},
        "reason": _reason(score, source),
        "paper": {name: paper_score(name, task.name) for name in REFERENCES},
    }


def _reason(score: TaskScore | None, source: SourceSummary | None) -> str:
    """Why there is no score: of a data set whose index cannot be used, that."""
    if score is None:
        return "not part of this run"
    if score.value is None and source and Reason.INDEX.value in source.missing:
        return "; ".join(source.deviations)
    return score.reason


def _seed_deviation(score: TaskScore | None) -> float | None:
    """Standard deviation of the seeds' scores; None of one seed."""
    return float(np.std(score.seed_scores, ddof=1)) if score and len(score.seed_scores) > 1 else None


def _manifest(source: SourceSummary) -> dict[str, Any]:
    """Clips of all splits: expected by the index, present, and what became of the rest."""
    unreadable = sum(source.missing.get(reason.value, 0) for reason in UNREADABLE)
    return {
        "expected": source.listed,
        "present": source.used,
        "unreadable": unreadable,
        "missing": max(0, source.listed - source.used - unreadable),
        "share": source.used / source.listed if source.listed else 0.0,
        "split_official": source.split_official,
    }


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


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON reads them back: tuples become lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
