"""What a probe answered, clip by clip: enough to recompute a score, its interval and a paired test later.

Shapes: `s` seeds, `c` test clips, `k` logits, `g` groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from hares.arrays import (
    npz_arrays,
    npz_bytes,
    pack_lists,
    pack_strings,
    unpack_lists,
    unpack_strings,
)
from hares.metrics import RankedScores, chance_average_precision, multi_hot, share_of_positives
from hares.statistics import (
    PairedDifference,
    Resampled,
    Statistic,
    difference_of,
    draws_seed,
    group_ids,
    grouped_mean,
    mean_of,
    paired_difference,
    resample,
)
from hares.task import Metric, Slot, load_task, task_names

COMPARISON_RESAMPLES = 1_000


@dataclass(frozen=True)
class Predictions:
    """Scores of one task's test clips beside their labels.

    Attributes:
        metric: how the scores become one number.
        slots: names of the classes along the last axis of `scores`, slot after slot.
        clip_ids: c names.
        groups: c speakers, recordings or instruments, "" for none.
        labels: c lists of true class ids.
        scores: (s, c, k) float32, one layer for each seed of the probe; higher is likelier.
        weights: (c,) float64, a clip's weight in the mean accuracy: all 1, but for folds of unequal size,
            whose accuracies weigh the same.
    """

    metric: Metric
    slots: tuple[Slot, ...]
    clip_ids: tuple[str, ...]
    groups: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    scores: np.ndarray
    weights: np.ndarray

    def answers(self) -> np.ndarray:
        """The likeliest class of each slot, (s, c, slots)."""
        edges = (0, *accumulate(len(slot.classes) for slot in self.slots))
        return np.stack([self.scores[..., a:b].argmax(axis=-1) for a, b in pairwise(edges)], axis=-1)

    def correct(self) -> np.ndarray:
        """Whether all slots are right, (s, c) bool."""
        return np.asarray((self.answers() == np.asarray(self.labels)).all(axis=-1))

    def statistic(self) -> Statistic:
        """The score, a mean over seeds, as a function of how often each group of clips is drawn, (n, g)."""
        ids, _ = self._resampled_groups()
        if self.metric == "accuracy":
            return grouped_mean(self.correct().mean(axis=0), self.weights, ids)
        ranked = self._ranked()
        return lambda counts: np.asarray([_mean_over_seeds(ranked, row[ids]) for row in counts])

    def seed_scores(self) -> list[float]:
        """The score of each seed."""
        if self.metric == "accuracy":
            return [float(np.average(seed, weights=self.weights)) for seed in self.correct()]
        ones = np.ones(len(self.clip_ids))
        return [seed.mean_average_precision(ones) for seed in self._ranked()]

    def score(self) -> float:
        """The task's score over all test clips: the mean over seeds."""
        return float(np.mean(self.seed_scores()))

    def small_sample_bias(self) -> float | None:
        """How far a random ranking of these clips scores above one of endlessly many such clips; None of accuracy.

        An encoder's own bias has the same sign and is a few times as large (docs/protocol.md).
        """
        if self.metric != "mAP":
            return None
        targets = multi_hot(self.labels, self.scores.shape[-1])
        return chance_average_precision(targets) - share_of_positives(targets)

    def resampled(self, resamples: int, seed: int) -> Resampled | None:
        """The score on bootstrap resamples of the groups, or of the clips where they share one group.

        None with fewer than two clips.
        """
        return resample(self.statistic(), self._resampled_groups()[1], resamples, seed)

    def of_one_group(self) -> bool:
        """Whether all clips share one group, so that nothing says how far another group's would move the score."""
        return len(self.groups) > 1 and len(set(self.groups)) == 1 and self.groups[0] != ""

    def about_same_clips(self, other: Predictions) -> bool:
        """Whether both answer for the same clips in the same order, so that they can be paired."""
        return (self.clip_ids, self.labels, self.metric, self.groups) == (
            other.clip_ids,
            other.labels,
            other.metric,
            other.groups,
        )

    def _resampled_groups(self) -> tuple[np.ndarray, list[str]]:
        """What is resampled whole: (c,) numbers from 0 up, and their names."""
        return group_ids([""] * len(self.groups) if self.of_one_group() else self.groups, self.clip_ids)

    def _ranked(self) -> list[RankedScores]:
        targets = multi_hot(self.labels, self.scores.shape[-1])
        return [RankedScores(seed, targets) for seed in self.scores]


def _mean_over_seeds(ranked: list[RankedScores], weights: np.ndarray) -> float:
    return float(np.mean([seed.mean_average_precision(weights) for seed in ranked]))


def encode_predictions(predictions: Predictions) -> bytes:
    """An npz archive of `predictions`, without pickle."""
    return npz_bytes(
        {
            "scores": predictions.scores.astype(np.float32, copy=False),
            "weights": predictions.weights.astype(np.float64, copy=False),
            **pack_strings("metric", [predictions.metric]),
            **pack_strings("slot_names", [slot.name for slot in predictions.slots]),
            **pack_strings("classes", [name for slot in predictions.slots for name in slot.classes]),
            "slot_sizes": np.asarray([len(slot.classes) for slot in predictions.slots], np.int64),
            **pack_strings("clip_ids", predictions.clip_ids),
            **pack_strings("groups", predictions.groups),
            **pack_lists("labels", predictions.labels),
        }
    )


def load_predictions(path: Path) -> Predictions:
    """Predictions from a file. Raises as `decode_predictions`."""
    return decode_predictions(path.read_bytes(), str(path))


def decode_predictions(data: bytes, path: str) -> Predictions:
    """Predictions from the bytes of `encode_predictions`; `path` is where they are from, for the message.

    Raises:
        ValueError: not such an archive; the message names it.
    """
    arrays = npz_arrays(data, path)
    if "scores" in arrays and arrays["scores"].ndim != 3:
        raise ValueError(
            f"{path}: scores of shape {arrays['scores'].shape}; expected (seeds, clips, logits). "
            "Score the encoder again"
        )
    try:
        metric: Metric = "mAP" if unpack_strings("metric", arrays) == ("mAP",) else "accuracy"
        classes = unpack_strings("classes", arrays)
        edges = (0, *accumulate(arrays["slot_sizes"].tolist()))
        names = unpack_strings("slot_names", arrays)
        return Predictions(
            metric=metric,
            slots=tuple(
                Slot(name, classes[a:b]) for name, (a, b) in zip(names, pairwise(edges), strict=True)
            ),
            clip_ids=unpack_strings("clip_ids", arrays),
            groups=unpack_strings("groups", arrays),
            labels=unpack_lists("labels", arrays),
            scores=arrays["scores"],
            weights=arrays["weights"],
        )
    except KeyError as error:
        raise ValueError(f"{path}: no array {error}. Is this a file of predictions?") from error


@dataclass(frozen=True)
class Answers:
    """An encoder's answers by task, ready to be set against another's.

    Attributes:
        name: of the encoder, for notes.
        predictions: as they are stored.
        resampled: their scores on draws that are the same for every encoder, which is what pairs them; without the
            tasks of fewer than two groups of clips.
    """

    name: str
    predictions: Mapping[str, Predictions]
    resampled: Mapping[str, Resampled]


def resampled_answers(name: str, predictions: Mapping[str, Predictions]) -> Answers:
    """The answers of an encoder called `name`, with their scores on resamples."""
    official = task_names()
    found = {
        task: own.resampled(
            COMPARISON_RESAMPLES, draws_seed(load_task(task) if task in official else task, 0)
        )
        for task, own in predictions.items()
    }
    return Answers(name, predictions, {task: resampled for task, resampled in found.items() if resampled})


def why_not_paired(task: str, first: Answers, second: Answers) -> str:
    """Why two encoders cannot be compared clip by clip at a task; "" where they can."""
    for answers in (first, second):
        if task not in answers.predictions:
            return f"no answers of {answers.name}"
    if not first.predictions[task].about_same_clips(second.predictions[task]):
        return "not the same clips"
    return "" if task in first.resampled and task in second.resampled else "fewer than two test clips"


def paired_means(tasks: Sequence[str], first: Answers, second: Answers) -> PairedDifference | None:
    """The mean over `tasks` of the first's scores minus the second's; None where its standard error is undefined."""
    apart = [difference_of(first.resampled[task], second.resampled[task]) for task in tasks]
    return paired_difference(mean_of(apart))
