import pytest

from hares.blessing import BlessingConfig, judge


def report(*values: float | None, untrained: float = 0.2) -> dict:
    tasks = {f"t{i}": {"value": v, "untrained": untrained} for i, v in enumerate(values)}
    complete = all(v is not None for v in values)
    return {"tasks": tasks, "hares": sum(values) / len(values) if complete else None}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "ours", "baseline", "blessed", "reason"),
    [
        (BlessingConfig(min_hares=0.5), report(0.5, 0.5), None, True, "no blessed model before"),
        (BlessingConfig(min_hares=0.5), report(0.5, 0.4), None, False, "failed: HARES 0.4500, threshold 0.5"),
        (BlessingConfig(), report(0.5, 0.5), report(0.5, 0.6), False, "0.5000, latest blessed 0.5500"),
        (BlessingConfig(max_drop=0.1), report(0.5, 0.5), report(0.5, 0.6), True, "allowed drop 0.1"),
        # Only the tasks both have are compared.
        (BlessingConfig(), report(0.5, None), report(0.4, 0.9), True, "mean of 1 tasks 0.5000"),
        (BlessingConfig(above_untrained=True), report(0.2, 0.2), None, False, "untrained 0.2000"),
        (BlessingConfig(), report(None), None, False, "no task could be scored"),
        (BlessingConfig(max_drop=None), report(0.1), report(0.9), True, "no rule is set"),
    ],
)
def test_verdict_and_reason(rule, ours, baseline, blessed, reason) -> None:
    verdict, reasons = judge(rule, ours, baseline)
    assert verdict is blessed
    assert any(reason in r for r in reasons), reasons


def test_a_threshold_in_percent_is_refused() -> None:
    with pytest.raises(ValueError, match=r"min_hares: got 50; accepted is a fraction"):
        BlessingConfig(min_hares=50)
