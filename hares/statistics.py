"""How sure a score is: bootstrap intervals, and a paired test of two encoders on the same clips.

Clips that share a speaker, recording or instrument are not independent, so whole groups are drawn with
replacement; a clip without a group is its own. A resample is a vector of multiplicities, one a group. The paper
gives no intervals; these are an addition.

The resamples give the standard error, and from it come

- the interval of a score: Wilson's, with the number of independent clips that would have that standard error.
  Plain percentiles of the resamples fail where they matter most: with 100 clips and a true accuracy of 98%
  they held the truth in 86% of simulations, with 20 clips and 95% in 65%, Wilson's in 95% and 97%; and for mAP
  they lie to one side of the score, as a positive drawn twice stands beside its own copy in the ranking
  (measured: 2.3 points for classes with 10 positives among 2000 clips).
- the paired test: both encoders are scored on each resample, and the difference is held against its standard
  error by Student's t with one degree of freedom less than there are groups.

A mean of tasks (a domain, HARES) adds up its tasks' resamples; tasks of one data set, whose clips are the same,
share their draws. Its degrees of freedom are Welch and Satterthwaite's, so that one task with few speakers does not
make the whole mean as unsure as itself.

Shapes: `n` resamples, `g` groups, `c` clips.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtr, stdtrit  # Student's t; `scipy.stats` takes half a second to import

from hares.task import Task

CONFIDENCE = 0.95
BLOCK_NUMBERS = 200_000  # multiplicities that are alive at once: bounds memory

Statistic = Callable[[np.ndarray], np.ndarray]
"""Scores (n,) as a function of multiplicities of groups (n, g); NaN where a resample leaves one undefined."""


@dataclass(frozen=True)
class Resampled:
    """A score, and what it was on resampled test sets.

    Attributes:
        score: on the clips themselves.
        values: (n,) on the resamples, NaN where undefined.
        groups: how many independent groups were drawn from; of a mean, the fewest of a task.
        degrees: degrees of freedom of the standard error.
    """

    score: float
    values: np.ndarray
    groups: int
    degrees: float

    @property
    def standard_error(self) -> float:
        """Standard deviation of the resamples, NaN where fewer than two are defined.

        The factor makes up for drawing from g groups that stand for many more.
        """
        defined = self.values[np.isfinite(self.values)]
        if defined.size < 2:
            return math.nan
        return float(defined.std(ddof=1)) * math.sqrt(self.groups / (self.groups - 1))


@dataclass(frozen=True)
class PairedDifference:
    """How much higher the first of two encoders scores on the same clips.

    Attributes:
        difference: first score minus second.
        low, high: 95% interval of the difference.
        p_value: two-sided; the chance of a difference as large were there none.
    """

    difference: float
    low: float
    high: float
    p_value: float

    def as_record(self) -> dict[str, Any]:
        """As reports hold it."""
        return {"difference": self.difference, "interval": [self.low, self.high], "p_value": self.p_value}


def draws_seed(task: Task, seed: int) -> int:
    """The seed of a task's resamples: one a data set, so that two tasks on the same clips draw them together."""
    key = hashlib.blake2b(f"{seed} {task.dataset}".encode(), digest_size=8)
    return int.from_bytes(key.digest(), "little")


def group_ids(groups: Sequence[str]) -> np.ndarray:
    """A number for each clip's group, (c,) int64, from 0 up; "" is a group of its own."""
    numbers: dict[tuple[str, int], int] = {}
    keys = [(group, -1) if group else ("", clip) for clip, group in enumerate(groups)]
    return np.asarray([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def grouped_mean(values: np.ndarray, weights: np.ndarray, ids: np.ndarray) -> Statistic:
    """The weighted mean of `values` (c,) as a statistic of the groups `ids` (c,)."""
    total = np.bincount(ids, weights=values * weights)
    weight = np.bincount(ids, weights=weights)
    return lambda counts: (counts @ total) / (counts @ weight)


def resample(statistic: Statistic, groups: int, resamples: int, seed: int) -> Resampled | None:
    """Scores resampled test sets.

    Args:
        statistic: the score, in [0, 1].
        groups: g.
        resamples: n.
        seed: of the draws; the same seed and g give the same draws.

    Returns:
        None with fewer than two groups: nothing can be resampled.
    """
    if groups < 2:
        return None
    random = np.random.Generator(np.random.Philox(key=seed))
    values = []
    block = max(1, BLOCK_NUMBERS // groups)
    for first in range(0, resamples, block):
        count = min(block, resamples - first)
        drawn = random.integers(0, groups, (count, groups))
        drawn += np.arange(count)[:, np.newaxis] * groups
        counts = np.bincount(drawn.ravel(), minlength=count * groups).reshape(count, groups)
        values.append(statistic(counts.astype(np.float64)))
    return Resampled(
        float(statistic(np.ones((1, groups)))[0]), np.concatenate(values), groups, float(groups - 1)
    )


def mean_of(parts: Sequence[Resampled]) -> Resampled:
    """The unweighted mean of several tasks' scores, resample by resample (all have as many)."""
    return Resampled(
        score=float(np.mean([part.score for part in parts])),
        values=np.mean([part.values for part in parts], axis=0),
        groups=min(part.groups for part in parts),
        degrees=_welch_satterthwaite(parts),
    )


def difference_of(first: Resampled, second: Resampled) -> Resampled:
    """First score minus second, resample by resample.

    Raises:
        ValueError: the resamples are not the same; the difference would not be paired.
    """
    if first.groups != second.groups or first.values.shape != second.values.shape:
        raise ValueError(
            f"{first.values.size} resamples of {first.groups} groups and {second.values.size} of "
            f"{second.groups} are not paired. Were both encoders scored on the same clips?"
        )
    values = first.values - second.values
    return Resampled(first.score - second.score, values, first.groups, first.degrees)


def interval(resampled: Resampled) -> tuple[float, float] | None:
    """The 95% interval of a score in [0, 1]; None where its standard error is undefined."""
    error = resampled.standard_error
    if not math.isfinite(error):
        return None
    score = min(1.0, max(0.0, resampled.score))
    spread = score * (1 - score)
    # No spread: every group is all right or all wrong, and only their number says how sure that is.
    clips = spread / error**2 if error > 1e-9 and spread > 0 else float(resampled.groups)
    quantile = _quantile(resampled.degrees)
    shrink = 1 + quantile**2 / clips
    middle = (score + quantile**2 / (2 * clips)) / shrink
    half = quantile / shrink * math.sqrt(spread / clips + quantile**2 / (4 * clips**2))
    # Where the score is 0 or 1 its bound is exact, but for rounding.
    return max(0.0, min(score, middle - half)), min(1.0, max(score, middle + half))


def paired_difference(difference: Resampled) -> PairedDifference | None:
    """The paired test of a difference, or of the mean of several (`difference_of`, `mean_of`).

    Returns:
        None where the standard error is undefined.
    """
    error = difference.standard_error
    if not math.isfinite(error):
        return None
    half = _quantile(difference.degrees) * error
    if error > 1e-12:
        p_value = 2 * float(stdtr(difference.degrees, -abs(difference.score) / error))
    else:  # no clip, or every clip, tells the two apart
        p_value = 1.0 if abs(difference.score) < 1e-12 else 2.0 ** (1 - difference.groups)
    return PairedDifference(difference.score, difference.score - half, difference.score + half, p_value)


def _quantile(degrees: float) -> float:
    """Student's t that leaves half of what is outside the interval above it, to twelve digits.

    SciPy before 1.14 gives ten; one step of Newton's gives the rest, so that intervals are the same with any version.
    """
    tail, step = (1 - CONFIDENCE) / 2, 1e-4
    first = float(stdtrit(degrees, tail))
    slope = float(stdtr(degrees, first + step) - stdtr(degrees, first - step)) / (2 * step)
    return -float(f"{first - (float(stdtr(degrees, first)) - tail) / slope:.12g}")


def _welch_satterthwaite(parts: Sequence[Resampled]) -> float:
    variances = [part.standard_error**2 for part in parts]
    total = sum(variances)
    if not total > 0:  # no spread at all, or an undefined one: no sum to weigh
        return min(part.degrees for part in parts)
    return total**2 / sum(v**2 / part.degrees for v, part in zip(variances, parts, strict=True))
