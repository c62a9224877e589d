"""Accuracy and mean average precision, and what an encoder that ignores its input would score.

Average precision is the step-wise sum over distinct thresholds, sum_i (R_i - R_{i-1}) P_i, that
scikit-learn's `average_precision_score` computes: clips of equal score enter together, so the order of ties
does not matter. The mean is macro: over the classes with at least one positive test clip. Classes without
one have no recall and are left out (the full test sets have positives for every class; a partial corpus may
not).

Every metric takes a weight for each clip, so that a bootstrap resample is a vector of multiplicities and
costs no new sort.

Chance, for accuracy, is the score of the best answer that ignores the clip: the commonest training class (of
equally common ones the lowest id; for slots the commonest combination, the lowest first). Guessing in proportion
to the training classes would score less; the higher bar is the honest one. For mAP it is what a random ranking
scores on average, which on a small test set is far above a class's share of positives, the score of a constant
answer: the first positive's own place counts as found.

Shapes: `c` clips, `k` classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


class RankedScores:
    """Scores of a multi-label task, sorted once; the mean average precision is then cheap for any weights."""

    def __init__(self, scores: np.ndarray, targets: np.ndarray) -> None:
        """Sorts the scores of each class.

        Args:
            scores: (c, k) finite; higher means more likely.
            targets: (c, k) bool, which classes a clip truly has.

        Raises:
            ValueError: the shapes differ, or a score is not finite.
        """
        if scores.shape != targets.shape or scores.ndim != 2:
            raise ValueError(
                f"scores {scores.shape} and targets {targets.shape} must be alike, (clips, classes)"
            )
        if not np.isfinite(scores).all():
            raise ValueError("mean average precision of scores that are not finite is undefined")
        self._classes = [
            _rank(scores[:, k], targets[:, k]) for k in range(scores.shape[1]) if targets[:, k].any()
        ]

    def mean_average_precision(self, weights: np.ndarray) -> float:
        """The macro mean for clip weights (c,); NaN where no class has a positive of weight above 0."""
        precisions = [_average_precision(*ranked, weights) for ranked in self._classes]
        defined = [value for value in precisions if value is not None]
        return float(np.mean(defined)) if defined else float("nan")


def mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """Macro mean average precision of scores (c, k) for bool targets (c, k); see `RankedScores`."""
    return RankedScores(scores, targets).mean_average_precision(np.ones(len(scores)))


def commonest_answer(labels: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The commonest of `labels`; of equally common ones the lowest.

    Raises:
        ValueError: there are no labels.
    """
    if not labels:
        raise ValueError("the commonest of no labels is undefined")
    counts = Counter(labels)
    return min(counts, key=lambda answer: (-counts[answer], answer))


def chance_accuracy(train: Sequence[tuple[int, ...]], test: Sequence[tuple[int, ...]]) -> float:
    """Accuracy on `test` of always giving the commonest answer of `train`."""
    answer = commonest_answer(train)
    return sum(labels == answer for labels in test) / len(test)


def chance_average_precision(targets: np.ndarray) -> float:
    """Mean average precision of a random ranking, on average over all rankings, for bool targets (c, k).

    Of n clips and m positives, a positive at rank r has on average (r - 1)(m - 1)/(n - 1) others above it, so that
    the average precision is the mean over ranks of (1 + (r - 1)(m - 1)/(n - 1)) / r. With H the n-th harmonic number
    that is (H + (m - 1)/(n - 1) (n - H)) / n.
    """
    clips, positives = len(targets), targets.sum(axis=0)
    positives = positives[positives > 0]
    harmonic = float((1 / np.arange(1, clips + 1)).sum())
    others = (positives - 1) / max(1, clips - 1)
    return float((harmonic + others * (clips - harmonic)).mean() / clips)


def share_of_positives(targets: np.ndarray) -> float:
    """The mean share of positives over classes that have any, for bool targets (c, k).

    It is the mean average precision of a random ranking of endlessly many such clips.
    """
    shares = targets.mean(axis=0)
    return float(shares[shares > 0].mean())


def multi_hot(labels: Sequence[tuple[int, ...]], classes: int) -> np.ndarray:
    """Label lists as (clips, classes) bool."""
    hot = np.zeros((len(labels), classes), bool)
    for clip, ids in enumerate(labels):
        hot[clip, list(ids)] = True
    return hot


def _rank(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clips from the highest score down; those of the positives; the rank at which each one's tie ends."""
    order = np.argsort(-scores, kind="stable")
    descending = scores[order]
    tie_ends = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    ranks = np.flatnonzero(positive[order])
    return order, order[ranks], tie_ends[np.searchsorted(tie_ends, ranks)]


def _average_precision(
    order: np.ndarray, positives: np.ndarray, ends: np.ndarray, weights: np.ndarray
) -> float | None:
    """Sum over the positives of weight x precision at the end of their tie, over the sum of the weights.

    Regrouping the textbook sum by positives: recall rises by w / (sum of w) for each positive, and all of
    one tie see the same precision.
    """
    weight = weights[positives].astype(np.float64)
    total = weight.sum()
    if total == 0:
        return None
    retrieved = np.cumsum(weights[order], dtype=np.float64)[ends]
    found = np.cumsum(weight)[np.searchsorted(ends, ends, side="right") - 1]
    # A positive of weight 0 adds nothing; where all before it weigh 0 too, its precision would be 0 / 0.
    precision = np.divide(found, retrieved, out=np.zeros_like(found), where=retrieved > 0)
    return float((weight * precision).sum() / total)
