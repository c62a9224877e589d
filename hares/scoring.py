"""Embeddings in, HARES out: the score of each task, and the report that holds all of them (paper section 2.1).

HARES is the unweighted mean of the twelve scores, a domain's score the mean of its tasks. Where a task could
not be scored, the mean of its domain and HARES are null, as a mean of fewer tasks is a different number;
`partial_mean` gives the mean of what there is, under a name that cannot be mistaken for either. All values
are fractions.

A task without training clips, without test clips or with fewer than two classes to tell apart is not an
error but "not scored", with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hares.embeddings import TaskEmbeddings
from hares.metrics import chance_accuracy, chance_average_precision, multi_hot
from hares.predictions import Predictions, compare
from hares.probes import FOLDS, Fold, load_probe
from hares.protocol import EVALUATION_ROLE, TRAIN_ROLE, ProtocolSettings
from hares.report.paper import REFERENCES, paper_averages, paper_score
from hares.statistics import bootstrap_interval
from hares.task import DOMAINS, Slot, Task

CHOICES = (
    "Embeddings are standardised by the mean and standard deviation of the training crops, for every probe.",
    "A clip's score is the mean of its subclips' probabilities.",
    "A last subclip is added where at least half a subclip remains, and ends where the clip ends.",
    "Clips shorter than a crop are padded with zeros at the end.",
    "Probe batches are drawn with replacement: a random clip, then a random one of its crops.",
    "Chance is the score of the best answer that ignores the clip: the commonest training class, or one constant "
    "score for mAP.",
    "mAP is the mean over the classes with at least one positive test clip.",
    "Intervals are 95% bootstrap intervals over test clips, or over speakers, recordings or instruments where "
    "clips share one; their resamples are centred on the score.",
)


@dataclass(frozen=True)
class TaskScore:
    """One task's score and everything one must know to judge it.

    Attributes:
        task: the protocol's record.
        value: the score in [0, 1]; None where the task is not scored.
        chance: score of the best answer that ignores the clip; None where the task is not scored.
        interval: 95% interval of `value`; None where it is undefined.
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
    interval: tuple[float, float] | None
    clips: int
    train_clips: int
    classes_trained: int
    classes: int
    deviations: tuple[str, ...]
    details: Mapping[str, float]
    predictions: Predictions | None
    reason: str


@dataclass(frozen=True)
class SourceSummary:
    """What ingestion found out about one task's corpus.

    Attributes:
        expected_clips: clips that the index lists for the scored splits, missing ones among them.
        missing: clips and files not used, counted by reason.
        split_official: whether the split in force is the one the data set ships.
        deviations: from the paper, by the corpus.
    """

    expected_clips: int
    missing: Mapping[str, int]
    split_official: bool
    deviations: tuple[str, ...]


def source_summary(manifest: Mapping[str, Any]) -> SourceSummary:
    """What scoring needs of an ingestion manifest (`hares.ingest.build_manifest`)."""
    splits = manifest["splits"]
    return SourceSummary(
        expected_clips=sum(int(splits[split]["listed"]) for split in splits if split in ("test", *FOLDS)),
        missing={str(reason): int(count) for reason, count in manifest["rejected"].items()},
        split_official=bool(manifest["split_is_official"]),
        deviations=tuple(manifest["deviations"]),
    )


def score_task(
    task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings, settings: ProtocolSettings
) -> TaskScore:
    """Trains a task's probe and scores its test clips.

    Args:
        task: the protocol's record.
        slots: the label set in force (`TaskIndex.slots`).
        data: embeddings of all the task's clips.
        settings: preset, seed, steps.

    Returns:
        The score, or why there is none.

    Raises:
        ValueError: a clip's labels do not fit `slots`, or the probe's loss diverged.
    """
    _check_labels(task, slots, data)
    folded = task.probe == "svm"
    train = data.clips_in(FOLDS if folded else ["train"])
    test = data.clips_in(FOLDS if folded else ["test"])
    reason = _why_not_scored(task, data, train, test, folded)
    common: dict[str, Any] = {
        "task": task,
        "train_clips": len(train),
        "classes_trained": len(_classes_of(task, data, train)),
        "classes": sum(len(slot.classes) for slot in slots),
        "deviations": task.deviations + settings.deviations(task),
    }
    if reason:
        nothing: dict[str, Any] = {"value": None, "chance": None, "interval": None, "predictions": None}
        return TaskScore(**common, **nothing, clips=0, details={}, reason=reason)
    outcome = load_probe(task.probe)(task, slots, data, settings)
    predictions = _predictions(task, slots, data, outcome.folds, outcome.scores)
    return TaskScore(
        **common,
        value=predictions.score(),
        chance=_chance(predictions, data, outcome.folds),
        interval=bootstrap_interval(
            predictions.statistic(), predictions.groups, settings.bootstrap_resamples, settings.seed
        ),
        clips=len(predictions.clip_ids),
        details=outcome.details,
        predictions=predictions,
        reason="",
    )


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
        `tasks`, `domains`, `hares`, `partial_mean`, `untrained`, `protocol`, `encoder` and `paper`; values
        are fractions, null where not scored.
    """
    return {
        "tasks": {
            task.name: _task_entry(
                task, scores.get(task.name), untrained.get(task.name), sources.get(task.name), settings
            )
            for task in tasks
        },
        **_means(tasks, scores),
        "untrained": _means(tasks, untrained),
        "protocol": {"name": settings.name, "settings": _plain(asdict(settings)), "choices": list(CHOICES)},
        "encoder": dict(encoder),
        "paper": {name: paper_averages(name) for name in REFERENCES},
    }


def _task_entry(
    task: Task,
    score: TaskScore | None,
    untrained: TaskScore | None,
    source: SourceSummary | None,
    settings: ProtocolSettings,
) -> dict[str, Any]:
    own = score.deviations if score else task.deviations
    return {
        "title": task.title,
        "domain": task.domain,
        "metric": task.metric,
        "value": score.value if score else None,
        "interval": list(score.interval) if score and score.interval else None,
        "chance": score.chance if score else None,
        "untrained": untrained.value if untrained else None,
        "above_untrained": _above(score, untrained, settings),
        "clips": score.clips if score else 0,
        "expected_clips": source.expected_clips if source else None,
        "train_clips": score.train_clips if score else 0,
        "classes": score.classes if score else task.num_classes,
        "classes_trained": score.classes_trained if score else 0,
        "missing": dict(source.missing) if source else {},
        "split_official": source.split_official if source else None,
        "deviations": list(dict.fromkeys(own + (source.deviations if source else ()))),
        "details": dict(score.details) if score else {},
        "reason": score.reason if score else "not part of this run",
        "paper": {name: paper_score(name, task.name) for name in REFERENCES},
    }


def _above(
    score: TaskScore | None, untrained: TaskScore | None, settings: ProtocolSettings
) -> dict[str, Any] | None:
    """The paired comparison with the untrained encoder, where both are scored."""
    if not (score and untrained and score.predictions and untrained.predictions):
        return None
    found = compare(score.predictions, untrained.predictions, settings.bootstrap_resamples, settings.seed)
    if found is None:
        return None
    return {"difference": found.difference, "interval": [found.low, found.high], "p_value": found.p_value}


def _means(tasks: Sequence[Task], scores: Mapping[str, TaskScore]) -> dict[str, Any]:
    """Domain means and HARES, null where a task is missing, and the partial means of what is there."""
    members = {domain: [task.name for task in tasks if task.domain == domain] for domain in DOMAINS}
    everything = [task.name for task in tasks]
    values = {name: score.value for name, score in scores.items() if score.value is not None}
    scored = [name for name in everything if name in values]
    return {
        "domains": {domain: _full_mean(names, values) for domain, names in members.items()},
        "hares": _full_mean(everything, values),
        "partial_mean": {
            **{domain: _partial_mean(names, values) for domain, names in members.items()},
            "hares": _partial_mean(everything, values),
            "scored_tasks": len(scored),
            "of_tasks": len(everything),
        },
    }


def _full_mean(names: Sequence[str], values: Mapping[str, float]) -> float | None:
    return _partial_mean(names, values) if all(name in values for name in names) else None


def _partial_mean(names: Sequence[str], values: Mapping[str, float]) -> float | None:
    found = [values[name] for name in names if name in values]
    return float(np.mean(found)) if found else None


def _why_not_scored(
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
        return chance_average_precision(multi_hot(predictions.labels, predictions.scores.shape[1]))
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
