"""Runs found by name, score, encoder, span and date: the store's filters against a plain loop."""

from __future__ import annotations

import operator
from datetime import datetime, timedelta, timezone

import pytest

from kits.lineage_stores import StoreWriter
from pipeline.lineage.record import moment_text
from pipeline.lineage.runs import RunFilter, find_run, list_runs, parse_moment, run_before

SCORES = [0.1, 0.25, 0.5, 0.50001, 0.75, 1.0]


@pytest.fixture(scope="module")
def writer() -> StoreWriter:
    writer = StoreWriter()
    for number, score in enumerate(SCORES):
        facts = {
            "status": "complete",
            "start": moment_text(datetime(2026, 1, number + 1, 12, tzinfo=timezone.utc)),
            "end": "x",
            "encoder": ("a", "b")[number % 2],
            "span": str(number // 2),
        }
        scores = {"score/hares": score, **({"score/esc50": 1 - score} if number else {})}
        writer.context("pipeline_run", f"2026-01-0{number + 1}", **facts, **scores)
    writer.context("pipeline", "not a run", **{"score/hares": 0.9})
    return writer


def names(writer: StoreWriter, **wanted: object) -> list[str]:
    return [run.run_id for run in list_runs(writer.store, RunFilter(**wanted))]  # type: ignore[arg-type]


@pytest.mark.parametrize("sign", [">", ">=", "<", "<=", "="])
@pytest.mark.parametrize("bound", ["0.5", "50%"])
def test_scores_are_compared_as_numbers(writer: StoreWriter, sign: str, bound: str) -> None:
    compare = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq}[
        sign
    ]
    expected = [f"2026-01-0{i + 1}" for i, score in enumerate(SCORES) if compare(score, 0.5)]
    assert names(writer, scores=(f"hares {sign} {bound}",)) == expected[::-1]


def test_all_conditions_hold_together(writer: StoreWriter) -> None:
    assert names(writer, scores=("hares>0.2", "esc50>0.2"), encoder="b") == ["2026-01-04", "2026-01-02"]
    assert names(writer, span="1") == ["2026-01-04", "2026-01-03"]
    assert names(writer, encoder="c") == [] and names(writer, status="failed") == []


def test_dates(writer: StoreWriter) -> None:
    noon = datetime(2026, 1, 3, 12, tzinfo=timezone.utc)
    assert names(writer, since=noon) == ["2026-01-06", "2026-01-05", "2026-01-04", "2026-01-03"]
    assert names(writer, until=noon) == ["2026-01-02", "2026-01-01"], "begun before, and not at"
    elsewhere = noon.astimezone(timezone(timedelta(hours=-9)))
    assert names(writer, since=elsewhere, until=noon + timedelta(days=1)) == ["2026-01-03"]
    now = datetime.now(timezone.utc)
    assert abs(parse_moment("2d") - (now - timedelta(days=2))) < timedelta(minutes=1)
    assert parse_moment("2026-01-02T03:04").timetuple()[:5] == (2026, 1, 2, 3, 4)
    with pytest.raises(ValueError, match="'soon' is no date"):
        parse_moment("soon")


def test_a_condition_that_cannot_be_read_is_refused(writer: StoreWriter) -> None:
    with pytest.raises(ValueError, match="--score 'hares'"):
        names(writer, scores=("hares",))
    with pytest.raises(ValueError, match="--score"):
        names(writer, scores=("a`b>1",))


def test_a_run_by_name_beginning_and_place(writer: StoreWriter) -> None:
    store = writer.store
    assert find_run(store, "latest").run_id == "2026-01-06"
    assert find_run(store, "previous").run_id == "2026-01-05"
    assert find_run(store, "2026-01-03").run_id == "2026-01-03"
    with pytest.raises(LookupError, match="several runs begin so"):
        find_run(store, "2026-01")
    for wrong in ("2027", "2026-01-0_", "%"):
        with pytest.raises(LookupError, match="there is no such run"):
            find_run(store, wrong)


def test_the_run_before_is_one_of_the_same_pipeline(writer: StoreWriter) -> None:
    """TFX's cache has the pipeline in its key: what another pipeline did is no reason of this one's."""
    of = {"2026-01-01": "p", "2026-01-02": "q'", "2026-01-03": "q'", "2026-01-04": "p"}
    for run, pipeline in of.items():
        writer.step(run, "trainer", [], [], pipeline=pipeline)
    before = {name: run_before(writer.store, find_run(writer.store, name)) for name in (*of, "2026-01-05")}
    assert {name: run and run.run_id for name, run in before.items()} == {
        "2026-01-01": None, "2026-01-02": None, "2026-01-03": "2026-01-02", "2026-01-04": "2026-01-01",
        "2026-01-05": None,
    }  # fmt: skip


def test_a_run_of_an_earlier_version_shows_what_its_artifacts_say() -> None:
    writer = StoreWriter()
    report = writer.artifact("components.ProbeReport", hares=0.4, encoder="e")
    writer.step("run1", "evaluator", [], [("report", report)])
    run = find_run(writer.store, "run1")
    assert run.scores == {"hares": 0.4} and run.facts == {} and run.blessed is None


def test_quotes_backslashes_and_wildcards_are_letters() -> None:
    writer = StoreWriter()
    for number, name in enumerate(("50%_", "it's", 'a "b"', r"C:\audio")):
        writer.context("pipeline_run", f"{number} {name}", status="complete", end="x", encoder=name)
        assert names(writer, encoder=name) == [f"{number} {name}"]
        assert find_run(writer.store, f"{number} {name[:2]}").run_id == f"{number} {name}"
