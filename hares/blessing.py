"""When a model is blessed: by a threshold, or by comparison with the latest blessed model.

A rule and two reports in, a verdict with its reasons out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BlessingConfig:
    """The rule. A model must pass every part that is set.

    Attributes:
        min_hares: lowest HARES score, as a fraction; None for no threshold.
        max_drop: how far HARES may fall below the latest blessed model's; None for no comparison.
        above_untrained: whether HARES must be above the same encoder's before training.
    """

    min_hares: float | None = None
    max_drop: float | None = 0.0
    above_untrained: bool = False

    def __post_init__(self) -> None:
        if self.min_hares is not None and not 0 <= self.min_hares <= 1:
            raise ValueError(f"blessing.min_hares: got {self.min_hares}; accepted is a fraction from 0 to 1")
        if self.max_drop is not None and not 0 <= self.max_drop <= 1:
            raise ValueError(f"blessing.max_drop: got {self.max_drop}; accepted is a fraction from 0 to 1")


def judge(
    rule: BlessingConfig, report: Mapping[str, Any], baseline: Mapping[str, Any] | None
) -> tuple[bool, list[str]]:
    """Whether a model is blessed, and the reasons either way.

    Args:
        rule: the rule.
        report: the model's `report.json`.
        baseline: the `report.json` of the latest blessed model, or None where there is none.

    Returns:
        (blessed, reasons). A report without a HARES score, because a task could not be scored, is judged by
        the mean of the tasks that were, and the reasons say so; one without any score is not blessed.
    """
    score, what = _score(report, None)
    if score is None:
        return False, ["no task could be scored"]
    reasons, blessed = [], True

    def require(holds: bool, text: str) -> None:
        nonlocal blessed
        blessed &= holds
        reasons.append(("passed: " if holds else "failed: ") + text)

    if rule.min_hares is not None:
        require(score >= rule.min_hares, f"{what} {score:.4f}, threshold {rule.min_hares:.4f}")
    if rule.above_untrained:
        untrained = [t["untrained"] for t in report["tasks"].values() if t.get("untrained") is not None]
        floor = sum(untrained) / len(untrained) if untrained else None
        require(
            floor is not None and score > floor,
            f"{what} {score:.4f}, untrained {floor:.4f}" if floor is not None else "no untrained scores",
        )
    if rule.max_drop is not None:
        if baseline is None:
            reasons.append("passed: no blessed model before this one")
        else:
            common = set(_values(report)) & set(_values(baseline))
            ours, theirs = (_score(r, common)[0] for r in (report, baseline))
            if ours is None or theirs is None:
                require(False, "no task in common with the latest blessed model")
            else:
                text = f"mean of {len(common)} tasks {ours:.4f}, latest blessed {theirs:.4f}"
                require(ours >= theirs - rule.max_drop, f"{text}, allowed drop {rule.max_drop:.4f}")
    return blessed, reasons or ["passed: no rule is set"]


def _values(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: t["value"] for name, t in report["tasks"].items() if t["value"] is not None}


def _score(report: Mapping[str, Any], tasks: set[str] | None) -> tuple[float | None, str]:
    values = {n: v for n, v in _values(report).items() if tasks is None or n in tasks}
    if not values:
        return None, ""
    complete = report.get("hares") is not None and tasks is None
    what = "HARES" if complete else f"mean of {len(values)} of {len(report['tasks'])} tasks"
    return sum(values.values()) / len(values), what
