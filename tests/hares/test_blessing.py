"""The verdict: thresholds, and the paired comparison with the latest blessed model."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from hares.blessing import BlessingConfig, Comparison, compare, judge
from hares.predictions import Predictions
from hares.report.runs import Run, differences
from hares.statistics import PairedDifference
from hares.task import load_task

UNPAIRED = BlessingConfig(not_worse=False)
CLIPS = 200


def report(*values: float | None, untrained: float = 0.2, **others: object) -> dict:
    tasks = {f"t{i}": {"value": v, "untrained": untrained} for i, v in enumerate(values)}
    complete = all(v is not None for v in values)
    return {"tasks": tasks, "hares": sum(values) / len(values) if complete else None, **others}  # type: ignore[arg-type]


def verdict(rule, ours, baseline):
    return judge(rule, ours, compare(ours, {}, baseline, {}) if baseline else None)


@pytest.mark.parametrize(
    ("rule", "ours", "baseline", "blessed", "reason"),
    [
        (BlessingConfig(min_hares=0.5), report(0.5, 0.5), None, True, "no blessed model before"),
        (BlessingConfig(min_hares=0.5), report(0.5, 0.4), None, False, "failed: HARES 0.4500, threshold 0.5"),
        (BlessingConfig(max_drop=0.0), report(0.5, 0.5), report(0.5, 0.6), False, "latest blessed 0.5500"),
        (BlessingConfig(0.6), report(0.5), report(0.4), False, "threshold 0.6000"),
        (BlessingConfig(not_worse=False, max_drop=0.1), report(0.5), report(0.6), True, "drop 0.1"),
        # Only the tasks both have are compared.
        (BlessingConfig(), report(0.5, None), report(0.4, 0.9), True, "mean of 1 tasks 0.5000"),
        (BlessingConfig(above_untrained=True), report(0.2, 0.2), None, False, "untrained 0.2000"),
        (BlessingConfig(), report(None), None, False, "no task could be scored"),
        (BlessingConfig(), report(0.5), report(None), False, "no task in common"),
        (UNPAIRED, report(0.1), report(0.9), True, "no rule is set"),
    ],
)
def test_verdict_and_reason(rule, ours, baseline, blessed, reason) -> None:
    found, reasons = verdict(rule, ours, baseline)
    assert found is blessed
    assert any(reason in r for r in reasons), reasons


def test_above_untrained_compares_the_same_tasks() -> None:
    """Untrained, t1 is easy: the mean over t0 alone must not be held against that over both, nor the other way."""
    rule = BlessingConfig(not_worse=False, above_untrained=True)
    missing = report(0.3, None)
    missing["tasks"]["t1"]["untrained"] = 0.9
    found, (reason,) = judge(rule, missing, None)
    assert found and "mean of 1 of 2 tasks 0.3000, untrained 0.2000" in reason
    easy = report(0.1, 0.9)
    easy["tasks"]["t1"]["untrained"] = None
    assert judge(rule, easy, None)[0] is False, "t0 became worse"
    assert judge(rule, report(0.3, untrained=None), None)[0] is False  # type: ignore[arg-type]


def test_an_interval_that_touches_the_margin_does_not_lie_wholly_above_it() -> None:
    rule = BlessingConfig(not_worse=False, margin=0.25)
    for low, blessed in ((-0.25, False), (np.nextafter(-0.25, 0), True)):
        paired = PairedDifference(0.0, low, 0.1, 0.5)
        assert judge(rule, report(0.5), Comparison("HARES", 0.5, 0.5, paired, ""))[0] is blessed
    assert not verdict(rule, report(0.5), report(0.75))[0] and verdict(rule, report(0.625), report(0.75))[0]


def test_without_stored_answers_the_scores_are_compared_and_the_reason_says_so() -> None:
    better, worse = report(0.5, 0.6), report(0.5, 0.5)
    for ours, theirs, blessed in ((better, worse, True), (worse, better, False)):
        found, (reason,) = verdict(BlessingConfig(), ours, theirs)
        assert found is blessed
        assert "t0: no answers of the latest blessed model" in reason
        assert reason.endswith("scores compared as they are")
    assert not verdict(BlessingConfig(not_worse=False, margin=0.04), worse, better)[0]
    assert verdict(BlessingConfig(not_worse=False, margin=0.06), worse, better)[0]


def test_another_protocol_is_named() -> None:
    quick, full = ({"protocol": {"settings": {"max_steps": steps}}} for steps in (100, 5000))
    assert "different protocols" in verdict(BlessingConfig(), report(0.5, **quick), report(0.5, **full))[1][0]
    assert "protocols" not in verdict(BlessingConfig(), report(0.5, **quick), report(0.5, **quick))[1][0]


# Two tasks with 200 clips of two classes each, told apart by which clips are right.
def answers(task_name: str, right: np.ndarray, names: str = "clip") -> Predictions:
    task = load_task(task_name)
    scores = np.zeros((1, CLIPS, task.num_classes), np.float32)
    scores[0, np.arange(CLIPS), np.where(right, 0, 1)] = 1
    ids = tuple(f"{names}{i}" for i in range(CLIPS))
    return Predictions("accuracy", task.slots, ids, ("",) * CLIPS, ((0,),) * CLIPS, scores, np.ones(CLIPS))


def scored(**right: np.ndarray):
    given = {name: answers(name, values) for name, values in right.items()}
    tasks = {
        name: {"value": found.score(), "domain": load_task(name).domain} for name, found in given.items()
    }
    hares = float(np.mean([entry["value"] for entry in tasks.values()]))
    return {
        "tasks": tasks,
        "hares": hares,
        "domains": dict.fromkeys(("environment", "speech", "music")),
    }, given


BASE = np.arange(CLIPS) % 2 == 0  # 100 of 200 right


def flipped(lost: int, won: int) -> np.ndarray:
    """`BASE` with some right answers lost and some wrong ones won."""
    right = BASE.copy()
    right[np.flatnonzero(BASE)[:lost]] = False
    right[np.flatnonzero(~BASE)[:won]] = True
    return right


def paired(ours, theirs):
    return compare(ours[0], ours[1], theirs[0], theirs[1])


@pytest.mark.parametrize(
    ("lost", "won", "not_worse", "within_5_points"),
    [
        (0, 0, True, True),  # the same answers
        (20, 0, False, False),  # 10 points down, and nothing gained: clearly worse
        (22, 18, True, False),  # 2 points down among 40 that changed: could be chance, nor is -5 ruled out
        (4, 3, True, True),
        (0, 20, True, True),
    ],
)
def test_the_paired_interval_decides(lost, won, not_worse, within_5_points) -> None:
    base = scored(tut18=BASE, birdsong=BASE)
    ours = scored(tut18=flipped(lost, won), birdsong=flipped(lost, won))
    comparison = paired(ours, base)
    assert comparison.what == "HARES" and comparison.note == ""
    assert judge(BlessingConfig(), ours[0], comparison)[0] is not_worse
    margin = BlessingConfig(not_worse=False, margin=0.05)
    assert judge(margin, ours[0], comparison)[0] is within_5_points
    # Of n independent clips, a paired difference has this standard error; a mean of two such tasks 1/sqrt(2) of it.
    difference = (won - lost) / CLIPS
    error = np.sqrt(((won + lost) / CLIPS - difference**2) / CLIPS / 2)
    half = scipy.stats.norm.isf(0.025) * error
    assert comparison.paired.difference == pytest.approx(difference)
    assert comparison.paired.low == pytest.approx(difference - half, abs=0.15 * half + 1e-12)
    assert comparison.paired.high == pytest.approx(difference + half, abs=0.15 * half + 1e-12)


def test_the_interval_is_the_one_that_hares_report_shows() -> None:
    base, ours = scored(tut18=BASE, birdsong=BASE), scored(tut18=flipped(9, 2), birdsong=flipped(3, 5))
    ((*_, shown),) = differences([Run("old", *base, {}), Run("new", *ours, {})])
    assert shown.name == "HARES" and paired(ours, base).paired == shown.paired


def test_other_test_clips_cannot_be_paired() -> None:
    base, ours = scored(tut18=BASE, birdsong=BASE), scored(tut18=flipped(20, 0), birdsong=flipped(0, 30))
    base[1]["tut18"] = answers("tut18", BASE, names="other")
    found, (reason,) = judge(BlessingConfig(), ours[0], paired(ours, base))
    assert found and "tut18: not the same clips" in reason and "compared as they are" in reason


@pytest.mark.parametrize("name", ["min_hares", "margin", "max_drop"])
def test_a_threshold_in_percent_is_refused(name) -> None:
    with pytest.raises(ValueError, match=rf"{name}: got 50; accepted is a fraction"):
        BlessingConfig(**{name: 50})
