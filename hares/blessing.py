"""When a model is blessed: by a threshold, and by comparison with the latest blessed model on the same clips.

A rule, a report and a comparison in, a verdict with its reasons out. The comparison is paired: both models' stored
answers are scored on the same bootstrap resamples, and the 95% interval of the difference of their HARES scores
(`hares.statistics`) decides, so that a model is not refused for a difference that other test clips could have reversed.

"Not worse" means "not shown to be worse". With few test clips little can be shown, and small losses may add up from run
to run. `margin` asks for the opposite proof, that the loss is smaller than a margin; `max_drop` bounds the loss itself,
whatever its interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hares.predictions import Predictions, paired_means, resampled_answers, why_not_paired
from hares.statistics import PairedDifference


@dataclass(frozen=True)
class BlessingConfig:
    """The rule. A model must pass every part that is set.

    Attributes:
        min_hares: lowest HARES score, as a fraction; None for no threshold.
        not_worse: whether to compare with the latest blessed model: refused where the 95% paired interval of the
            difference lies wholly below 0.
        margin: the stricter comparison: the interval must lie wholly above `-margin`, so that a loss of more than
            `margin` is ruled out; None for none.
        max_drop: how far the score itself may fall below the latest blessed model's; None for no limit.
        above_untrained: whether HARES must be above the same encoder's before training, over the tasks that both
            were scored on.
    """

    min_hares: float | None = None
    not_worse: bool = True
    margin: float | None = None
    max_drop: float | None = None
    above_untrained: bool = False

    def __post_init__(self) -> None:
        for name in ("min_hares", "margin", "max_drop"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"blessing.{name}: got {value}; accepted is a fraction from 0 to 1")


@dataclass(frozen=True)
class Comparison:
    """A model beside the latest blessed one.

    Attributes:
        what: the score that is compared, for people: HARES, or the mean of the tasks that both have.
        ours, theirs: the scores; None where the two have no task in common.
        paired: ours minus theirs on the same clips; None where the clips' answers cannot be paired.
        note: why they cannot, and what else makes the two unlike; "" where nothing does.
    """

    what: str
    ours: float | None
    theirs: float | None
    paired: PairedDifference | None
    note: str


def compare(
    report: Mapping[str, Any],
    answers: Mapping[str, Predictions],
    baseline: Mapping[str, Any],
    baseline_answers: Mapping[str, Predictions],
) -> Comparison:
    """Sets a model beside the latest blessed one, over the tasks that both were scored on.

    Args:
        report: the model's `report.json`.
        answers: its predictions, by task name.
        baseline: the latest blessed model's `report.json`.
        baseline_answers: what is stored of its predictions.
    """
    ours, theirs = _values(report), _values(baseline)
    common = sorted(set(ours) & set(theirs))
    if not common:
        return Comparison("", None, None, None, "")
    whole = all(r.get("hares") is not None and set(_values(r)) == set(common) for r in (report, baseline))
    what = "HARES" if whole else f"mean of {len(common)} tasks"
    scores = [float(np.mean([values[name] for name in common])) for values in (ours, theirs)]
    notes = []
    if _protocol(report) != _protocol(baseline):
        notes.append("the two were scored by different protocols")
    own = resampled_answers("this model", {name: answers[name] for name in common if name in answers})
    others = {name: baseline_answers[name] for name in common if name in baseline_answers}
    latest = resampled_answers("the latest blessed model", others)
    why = {name: why_not_paired(name, latest, own) for name in common}
    unpaired = [f"{name}: {reason}" for name, reason in why.items() if reason]
    paired = None if unpaired else paired_means(common, own, latest)
    if unpaired:
        notes.append(f"no paired interval ({'; '.join(unpaired)})")
    elif paired is None:
        notes.append("no paired interval (its standard error is undefined)")
    return Comparison(what, scores[0], scores[1], paired, "; ".join(notes))


def judge(
    rule: BlessingConfig, report: Mapping[str, Any], comparison: Comparison | None
) -> tuple[bool, list[str]]:
    """Whether a model is blessed, and the reasons either way.

    Args:
        rule: the rule.
        report: the model's `report.json`.
        comparison: with the latest blessed model, or None where there is none.

    Returns:
        (blessed, reasons). A report without a HARES score, because a task could not be scored, is judged by
        the mean of the tasks that were, and the reasons say so; one without any score is not blessed.
    """
    values = _values(report)
    if not values:
        return False, ["no task could be scored"]
    score = float(np.mean(list(values.values())))
    complete = report.get("hares") is not None
    what = "HARES" if complete else f"mean of {len(values)} of {len(report['tasks'])} tasks"
    verdicts: list[tuple[bool, str]] = []
    if rule.min_hares is not None:
        verdicts.append((score >= rule.min_hares, f"{what} {score:.4f}, threshold {rule.min_hares:.4f}"))
    if rule.above_untrained:
        verdicts.append(_above_untrained(report))
    if rule.not_worse or rule.margin is not None or rule.max_drop is not None:
        verdicts += _compared(rule, comparison)
    reasons = [("passed: " if holds else "failed: ") + text for holds, text in verdicts]
    return all(holds for holds, _ in verdicts), reasons or ["passed: no rule is set"]


def _above_untrained(report: Mapping[str, Any]) -> tuple[bool, str]:
    """Both means are over the tasks that both encoders were scored on: other tasks are of another difficulty."""
    pairs = [(t["value"], t["untrained"]) for t in report["tasks"].values()
             if t["value"] is not None and t.get("untrained") is not None]  # fmt: skip
    if not pairs:
        return False, "no task has a score of the untrained encoder as well"
    score, floor = (float(np.mean(values)) for values in zip(*pairs, strict=True))
    whole = report.get("hares") is not None and len(pairs) == len(report["tasks"])
    what = "HARES" if whole else f"mean of {len(pairs)} of {len(report['tasks'])} tasks"
    return score > floor, f"{what} {score:.4f}, untrained {floor:.4f}"


def _compared(rule: BlessingConfig, comparison: Comparison | None) -> list[tuple[bool, str]]:
    if comparison is None:
        return [(True, "no blessed model before this one")]
    ours, theirs, paired = comparison.ours, comparison.theirs, comparison.paired
    if ours is None or theirs is None:
        return [(False, "no task in common with the latest blessed model")]
    scores = f"{comparison.what} {ours:.4f}, latest blessed {theirs:.4f}"
    if paired:
        scores += f", difference {paired.difference:+.4f} [{paired.low:+.4f}, {paired.high:+.4f}]"
    if comparison.note:
        scores += f" ({comparison.note})"
    verdicts = []
    if rule.not_worse:
        if paired:
            verdicts.append((paired.high >= 0, f"{scores}: refused if wholly below 0"))
        else:
            verdicts.append((ours >= theirs, f"{scores}: scores compared as they are"))
    if rule.margin is not None:
        floor = -rule.margin
        if paired:
            verdicts.append((paired.low > floor, f"{scores}: must lie wholly above {floor:+.4f}"))
        else:
            verdicts.append((ours - theirs > floor, f"{scores}: scores compared as they are, {floor:+.4f}"))
    if rule.max_drop is not None:
        verdicts.append((ours >= theirs - rule.max_drop, f"{scores}: allowed drop {rule.max_drop:.4f}"))
    return verdicts


def _values(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: t["value"] for name, t in report["tasks"].items() if t["value"] is not None}


def _protocol(report: Mapping[str, Any]) -> object:
    return report.get("protocol", {}).get("settings")
