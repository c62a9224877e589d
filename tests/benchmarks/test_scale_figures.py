"""What the benchmarks of scale, soak and overhead make of their measurements, by hand-made ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import linregress

from benchmarks import scale
from benchmarks.overhead import Clocks
from benchmarks.scale_tables import _audioset, _cost, _memory, fitted, slopes
from benchmarks.soak import slope


def _row(processor: float, peak: float = 100.0) -> dict[str, float]:
    return {"processor": processor, "wall": 2 * processor, "peak_mib": peak, "before_mib": 80.0}


ROWS = {
    1_000: {"steps": {"ingest_a": _row(3.0), "evaluator": _row(1.0)}, "bytes": {}},
    10_000: {"steps": {"ingest_a": _row(12.0, 110.0), "evaluator": _row(1.0)}, "bytes": {}},
    100_000: {"steps": {"ingest_a": _row(192.0, 125.0), "evaluator": _row(1.0)}, "bytes": {}},
}


def test_slopes_are_of_each_piece() -> None:
    assert slopes([3.0, 12.0, 192.0], [1_000, 10_000, 100_000]) == [0.001, 0.002]


def test_a_line_is_found_with_what_it_costs_without_a_clip() -> None:
    line = fitted([3.0, 12.0, 102.0], [1_000, 10_000, 100_000])
    assert (line.fixed, line.slope) == pytest.approx((2.0, 0.001))
    assert line.deviations == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)


def test_each_size_counts_alike_for_a_line() -> None:
    """No other line has a smaller sum of squared shares, however much larger one of the costs is."""
    costs, sizes = np.asarray([3.0, 12.0, 192.0]), np.asarray([1_000, 10_000, 100_000])
    line = fitted(list(costs), list(sizes))

    def squares(fixed: float, slope: float) -> float:
        return float((((costs - fixed - slope * sizes) / costs) ** 2).sum())

    least = squares(line.fixed, line.slope)
    assert least == pytest.approx(sum(share**2 for share in line.deviations))
    for more, steeper in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.01), (1.0, 0.99)):
        assert squares(more * line.fixed, steeper * line.slope) > least


def test_a_bend_shows_in_the_table_of_costs() -> None:
    table = _cost(ROWS, sorted(ROWS))
    line = next(line for line in table.splitlines() if "| ingest_a" in line)
    assert line == "| ingest_a | 3.0 | 12.0 | 192.0 | 6.0 | 24.0 | 384.0 | 1.5 | 1.303 | +31% |"
    assert "Farther from their lines than 15%: ingest_a (+5%, -22%, +31%)." in table
    assert "| evaluator | 1.0 | 1.0 | 1.0 | 2.0 | 2.0 | 2.0 | 1.0 | 0.000 | +0% |" in table


def test_growing_memory_shows_with_the_part_that_is_the_steps_own() -> None:
    line = next(line for line in _memory(ROWS, sorted(ROWS)).splitlines() if "ingest_a" in line)
    assert line == "| ingest_a | 100 | 110 | 125 | 1.25 | 20 30 45 |"


def test_workers_share_a_beam_step_but_not_what_it_starts_with() -> None:
    rows = {1_000: ROWS[1_000], 10_000: ROWS[10_000]}
    line = next(line for line in _audioset(rows, sorted(rows)).splitlines() if "ingest_a" in line)
    shared, fixed = 0.001 * 10 * 1_900_000 / 3600, 2.0 / 3600
    expected = [fixed + shared, *(fixed + shared / workers for workers in (1, 8, 32, 128))]
    assert line == f"| ingest_a | {' | '.join(f'{hours:.2f}' for hours in expected)} |"


def test_the_slope_of_a_soak_and_its_error_are_those_of_least_squares() -> None:
    values = np.random.default_rng(0).standard_normal(18) + 0.3 * np.arange(18)
    expected = linregress(np.arange(18), values)
    assert slope(list(values)) == pytest.approx((expected.slope, expected.stderr))


def test_a_clock_does_not_count_what_is_inside_another(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([(0.0, 0.0), (1.0, 0.5), (3.0, 1.0), (7.0, 2.0), (15.0, 4.0)])
    monkeypatch.setattr(Clocks, "_now", staticmethod(lambda: next(ticks)))
    clocks = Clocks()
    with clocks.part("outer"), clocks.part("inner"):
        pass
    assert dict(clocks.seconds) == {"outer": [2.0 + 8.0, 0.5 + 2.0], "inner": [4.0, 1.0]}


def test_a_step_measured_again_finds_its_store_and_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a workspace that a killed call left in the middle, with its own store aside."""
    workspace = tmp_path / "run"
    files = {
        "metadata.sqlite": "after",
        "checkpoints/1": "weights",
        "artifacts/trainer/model/6/graph": "first",
    }
    files |= {"logs/trainer.sqlite": "before", "artifacts/schema/schema/3/text": "schema"}
    for name, text in files.items():
        (workspace / name).parent.mkdir(parents=True, exist_ok=True)
        (workspace / name).write_text(text)
    (workspace / "before-again").mkdir()
    (workspace / "metadata.sqlite").rename(workspace / "before-again" / "metadata.sqlite")
    (workspace / "metadata.sqlite").write_text("half")

    def step(name: str, corpus: Path, place: Path, clips: int) -> dict[str, float]:
        assert (place / "metadata.sqlite").read_text() == "before"
        assert not (place / "checkpoints").exists() and not (place / "artifacts/trainer").exists()
        for made in ("checkpoints/2", "artifacts/trainer/model/6/graph"):
            (place / made).parent.mkdir(parents=True)
            (place / made).write_text("second")
        return _row(1.0)

    monkeypatch.setattr(scale, "measure", step)
    assert scale.measure_again("trainer", tmp_path, workspace, 10) == _row(1.0)
    found = {str(p.relative_to(workspace)): p.read_text() for p in workspace.rglob("*") if p.is_file()}
    assert found == files
