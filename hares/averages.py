"""Means of tasks: a domain's score, HARES, their intervals, and their difference from another encoder's (paper 2.1).

HARES is the unweighted mean of the twelve scores, a domain's score the mean of its tasks. If a task is missing the
mean is null: a mean of fewer tasks is another number. `partial_mean` is the mean of the tasks that have a score, under
a name that cannot be mistaken for either. All values are fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from hares.statistics import Resampled, difference_of, interval, mean_of, paired_difference
from hares.task import DOMAINS, Task

T = TypeVar("T")


def means(tasks: Sequence[Task], values: Mapping[str, float]) -> dict[str, Any]:
    """Domain means and HARES, null where a task has no score, and the partial means of the others."""
    partial = _by_mean(tasks, lambda names: _mean([values[name] for name in names if name in values]))
    return {
        **_by_mean(tasks, lambda names: _mean([values[name] for name in names]), needed=values),
        "partial_mean": {
            **partial["domains"],
            "hares": partial["hares"],
            "scored_tasks": sum(task.name in values for task in tasks),
            "of_tasks": len(tasks),
        },
    }


def mean_intervals(tasks: Sequence[Task], resampled: Mapping[str, Resampled]) -> dict[str, Any]:
    """95% intervals of the domain means and of HARES, null where a task has none."""

    def bounds(names: Sequence[str]) -> list[float] | None:
        found = interval(mean_of([resampled[name] for name in names]))
        return list(found) if found else None

    return _by_mean(tasks, bounds, needed=resampled)


def mean_differences(
    tasks: Sequence[Task], resampled: Mapping[str, Resampled], others: Mapping[str, Resampled]
) -> dict[str, Any]:
    """How much higher `resampled` scores than `others` on the same clips, for each domain and HARES.

    As `difference`; null where either lacks a task.
    """
    apart = {name: difference_of(own, others[name]) for name, own in resampled.items() if name in others}
    return _by_mean(tasks, lambda names: _test(mean_of([apart[name] for name in names])), needed=apart)


def difference(first: Resampled | None, second: Resampled | None) -> dict[str, Any] | None:
    """First score minus second with its paired 95% interval and p-value; None where either was not resampled."""
    return _test(difference_of(first, second)) if first and second else None


def _test(apart: Resampled) -> dict[str, Any] | None:
    found = paired_difference(apart)
    return found.as_record() if found else None


def _by_mean(
    tasks: Sequence[Task], of: Callable[[Sequence[str]], T | None], needed: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """`of` the task names of each domain, and of all; null without names, or if `needed` lacks one."""

    def found(names: Sequence[str]) -> T | None:
        absent = not names or (needed is not None and any(name not in needed for name in names))
        return None if absent else of(names)

    members = {domain: [task.name for task in tasks if task.domain == domain] for domain in DOMAINS}
    return {
        "domains": {domain: found(names) for domain, names in members.items()},
        "hares": found([task.name for task in tasks]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
