"""What a probe answered, clip by clip: enough to recompute a score, its interval and a paired test later.

Shapes: `c` test clips, `k` logits.
"""

from __future__ import annotations

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
    write_atomically,
)
from hares.metrics import RankedScores, multi_hot, weighted_accuracy
from hares.statistics import PairedDifference, Statistic, paired_difference
from hares.task import Metric, Slot


@dataclass(frozen=True)
class Predictions:
    """Scores of one task's test clips beside their labels.

    Attributes:
        metric: how the scores become one number.
        slots: names of the classes along the last axis of `scores`, slot after slot.
        clip_ids: c names.
        groups: c speakers, recordings or instruments, "" for none.
        labels: c lists of true class ids.
        scores: (c, k) float32, higher is likelier.
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
        """The likeliest class of each slot, (c, slots)."""
        edges = (0, *accumulate(len(slot.classes) for slot in self.slots))
        return np.stack([self.scores[:, a:b].argmax(axis=1) for a, b in pairwise(edges)], axis=1)

    def correct(self) -> np.ndarray:
        """Whether all slots are right, (c,) bool."""
        return np.asarray((self.answers() == np.asarray(self.labels)).all(axis=1))

    def statistic(self) -> Statistic:
        """The score as a function of how often each clip counts, (c,)."""
        if self.metric == "mAP":
            return RankedScores(
                self.scores, multi_hot(self.labels, self.scores.shape[1])
            ).mean_average_precision
        correct = self.correct()
        return lambda counts: weighted_accuracy(correct, counts * self.weights)

    def score(self) -> float:
        """The task's score over all test clips."""
        return self.statistic()(np.ones(len(self.clip_ids)))


def compare(first: Predictions, second: Predictions, resamples: int, seed: int) -> PairedDifference | None:
    """Paired comparison of two encoders on one task.

    Args:
        first: answers from one encoder's embeddings.
        second: answers from the other's.
        resamples: how many bootstrap resamples.
        seed: of the resamples.

    Returns:
        First score minus second, or None where there are fewer than two groups of clips.

    Raises:
        ValueError: the two are not about the same clips; a comparison would not be paired.
    """
    if first.clip_ids != second.clip_ids or first.labels != second.labels or first.metric != second.metric:
        raise ValueError(
            f"the predictions are about different clips or labels ({len(first.clip_ids)} and "
            f"{len(second.clip_ids)} clips). Were both encoders scored on the same corpus?"
        )
    return paired_difference(first.statistic(), second.statistic(), first.groups, resamples, seed)


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


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Writes `predictions` to `path`; the file appears complete or not at all."""
    write_atomically(path, encode_predictions(predictions))


def load_predictions(path: Path) -> Predictions:
    """Reads what `save_predictions` wrote.

    Raises:
        ValueError: not such an archive; the message names it.
    """
    arrays = npz_arrays(path.read_bytes(), str(path))
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
