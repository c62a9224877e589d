"""The benchmark's loop: task by task, what the data are and what the probes make of the embeddings; then the report.

`hares evaluate` and the pipeline's Evaluator feed it, each from its own storage. Values in the report are fractions;
`hares.averages` makes their means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hares.averages import difference, mean_differences, mean_intervals, means
from hares.class_scores import class_scores, confusion, macro_recall
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.leakage import ClipIdentity, check_leakage, not_checked
from hares.own_classifier import OwnClassifier
from hares.predictions import Predictions
from hares.protocol import ProtocolSettings
from hares.report.paper import REFERENCES, paper_averages, paper_score
from hares.scoring import TaskScore, not_scored, score_task
from hares.statistics import Resampled
from hares.task import FOLDS, Reason, Slot, Task, load_task, task_names

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
    "Chance is the score of the best answer that ignores the clip: the commonest training class; for mAP the mean "
    "over all random rankings.",
    "mAP is the mean over the classes with at least one positive test clip.",
    "Intervals are 95%, Wilson's, from a bootstrap over test clips, or over speakers, recordings or instruments "
    "where clips share one. They say how far other test sets of this size could move the score, not other training "
    "runs, and not how far mAP of a small test set is above that of a large one.",
    "Differences are paired: both encoders on the same resamples, held against the standard error by Student's t.",
)


@dataclass(frozen=True)
class CorpusSummary:
    """What ingestion found out about one task's corpus.

    Attributes:
        expected_clips: clips that the index lists for the scored splits, whether they can be used or not.
        rejected: clips and files not used, counted by reason.
        split_is_official: whether the split in force is the one the data set ships.
        deviations: from the paper, by the corpus.
        listed, used: clips of all splits that the index lists, and those that are there and can be read.
        leakage: what is on both sides of the split, by content (`hares.leakage`); None where not looked for.
    """

    expected_clips: int
    rejected: Mapping[str, int]
    split_is_official: bool
    deviations: tuple[str, ...]
    listed: int = 0
    used: int = 0
    leakage: Mapping[str, Any] | None = None


def corpus_summary(manifest: Mapping[str, Any], leakage: Mapping[str, Any] | None = None) -> CorpusSummary:
    """What scoring needs of an ingestion manifest (`hares.ingest.build_manifest`).

    Args:
        manifest: of one task.
        leakage: what `hares.leakage.check_leakage` found in the manifest's list of clips.
    """
    splits = manifest["splits"]
    return CorpusSummary(
        expected_clips=sum(int(splits[split]["listed"]) for split in splits if split in ("test", *FOLDS)),
        rejected={str(reason): int(count) for reason, count in manifest["rejected"].items()},
        split_is_official=bool(manifest["split_is_official"]),
        deviations=tuple(manifest["deviations"]),
        listed=sum(int(split["listed"]) for split in splits.values()),
        used=sum(int(split["used"]) for split in splits.values()),
        leakage=leakage,
    )


class Benchmark:
    """The scores of one encoder, as they come in."""

    def __init__(self, settings: ProtocolSettings) -> None:
        self._settings = settings
        self._slots: dict[str, tuple[Slot, ...]] = {}
        self._corpora: dict[str, CorpusSummary] = {}
        self._scores: dict[str, TaskScore] = {}
        self._untrained: dict[str, TaskScore] = {}

    def describe(self, task: Task, manifest: Mapping[str, Any], clips: Iterable[ClipIdentity]) -> None:
        """Takes what ingestion found; comes before `score`.

        Args:
            task: the protocol's record.
            manifest: of the task (`hares.ingest.build_manifest`).
            clips: those that were used, which may be gone through several times.
        """
        self._slots[task.name] = tuple(
            Slot(slot["name"], tuple(slot["classes"])) for slot in manifest["slots"]
        )
        self._corpora[task.name] = corpus_summary(manifest, check_leakage(task, clips))

    def score(
        self,
        task: Task,
        data: TaskEmbeddings,
        own_classifier: OwnClassifier | None = None,
        untrained: bool = False,
    ) -> None:
        """Scores the embeddings of a task; `untrained` are those of the same encoder with its initial weights.

        Raises:
            ValueError: as `hares.scoring.score_task`.
        """
        scores = self._untrained if untrained else self._scores
        scores[task.name] = score_task(task, self._slots[task.name], data, self._settings, own_classifier)

    def fail(self, task: Task, reason: str) -> None:
        """Records that a task has no score, and why."""
        self._scores[task.name] = not_scored(task, self._settings, reason)

    @property
    def predictions(self) -> dict[str, Predictions]:
        """The answers, clip by clip, of the tasks that are scored."""
        return {name: score.predictions for name, score in self._scores.items() if score.predictions}

    def report(self, encoder: Mapping[str, Any]) -> dict[str, Any]:
        """The report of all twelve tasks, and of the user's own that were scored (`build_report`)."""
        tasks = [load_task(name) for name in task_names()]
        own = [load_task(name) for name in self._scores if name not in task_names()]
        return build_report(tasks, self._scores, self._untrained, self._corpora, self._settings, encoder, own)


def build_report(
    tasks: Sequence[Task],
    scores: Mapping[str, TaskScore],
    untrained: Mapping[str, TaskScore],
    corpora: Mapping[str, CorpusSummary],
    settings: ProtocolSettings,
    encoder: Mapping[str, Any],
    own: Sequence[Task] = (),
) -> dict[str, Any]:
    """All scores as one record that JSON can hold.

    Args:
        tasks: all tasks of the benchmark, scored or not.
        scores: by task name; a task that is not in it was not part of the run.
        untrained: scores of the same encoder with its initial weights, by task name; may be empty.
        corpora: what ingestion found, by task name; a task that is not in it has null counts.
        settings: the protocol.
        encoder: what the encoder is: name, weights digest and the like.
        own: tasks of the user's own, which are part of no mean.

    Returns:
        `tasks`, `own_tasks`, `domains`, `hares`, `partial_mean`, `intervals` (of the domains and HARES), `untrained`,
        `above_untrained` (the paired differences of the domains and HARES), `protocol`, `encoder` and `paper`;
        values are fractions, null where not scored.
    """
    tasks_and_own = (
        {
            task.name: _task_entry(
                task, scores.get(task.name), untrained.get(task.name), corpora.get(task.name)
            )
            for task in some
        }
        for some in (tasks, own)
    )
    return {
        **dict(zip(("tasks", "own_tasks"), tasks_and_own, strict=True)),
        **means(tasks, _values(scores)),
        "intervals": mean_intervals(tasks, _resampled(scores)),
        "untrained": means(tasks, _values(untrained)),
        "above_untrained": mean_differences(tasks, _resampled(scores), _resampled(untrained)),
        "protocol": {
            "name": settings.name,
            "settings": _lists_for_tuples(asdict(settings)),
            "choices": list(CHOICES),
        },
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
    corpus: CorpusSummary | None,
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
        "small_sample_bias": answers.small_sample_bias() if answers else None,
        "untrained": untrained.value if untrained else None,
        "above_untrained": difference(score.resampled, untrained.resampled) if score and untrained else None,
        "seed_scores": list(score.seed_scores) if score else [],
        "seed_deviation": _seed_deviation(score),
        "macro_recall": macro_recall(answers) if answers else None,
        "per_class": class_scores(answers) if answers else [],
        "confusion": confusion(answers) if answers else [],
        "clips": score.clips if score else 0,
        "expected_clips": corpus.expected_clips if corpus else None,
        "train_clips": score.train_clips if score else 0,
        "classes": score.classes if score else task.num_classes,
        "classes_trained": score.classes_trained if score else 0,
        "missing": dict(corpus.rejected) if corpus else {},
        "manifest": _manifest(corpus) if corpus else None,
        "leakage": dict(not_checked(task) if corpus is None or corpus.leakage is None else corpus.leakage),
        "split_official": corpus.split_is_official if corpus else None,
        "deviations": list(dict.fromkeys(own + (corpus.deviations if corpus else ()))),
        "details": dict(score.details) if score else {},
        "reason": _reason(score, corpus),
        "paper": {name: paper_score(name, task.name) for name in REFERENCES},
    }


def _reason(score: TaskScore | None, corpus: CorpusSummary | None) -> str:
    """Why there is no score: of a data set whose index cannot be used, that."""
    if score is None:
        return "not part of this run"
    if score.value is None and corpus and Reason.INDEX.value in corpus.rejected:
        return "; ".join(corpus.deviations)
    return score.reason


def _seed_deviation(score: TaskScore | None) -> float | None:
    """Standard deviation of the seeds' scores; None of one seed."""
    return float(np.std(score.seed_scores, ddof=1)) if score and len(score.seed_scores) > 1 else None


def _manifest(corpus: CorpusSummary) -> dict[str, Any]:
    """Clips of all splits: expected by the index, present, and what became of the rest."""
    unreadable = sum(corpus.rejected.get(reason.value, 0) for reason in UNREADABLE)
    return {
        "expected": corpus.listed,
        "present": corpus.used,
        "unreadable": unreadable,
        "missing": max(0, corpus.listed - corpus.used - unreadable),
        "share": corpus.used / corpus.listed if corpus.listed else 0.0,
        "split_official": corpus.split_is_official,
    }


def _lists_for_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as JSON reads them back: tuples become lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}
