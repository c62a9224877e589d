"""`hares report`: what the terminal and the JSON say is what the reports hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from cli.commands.report import command
from cli.errors import CommandError, ExitCode
from hares.benchmark import build_report
from hares.protocol import ProtocolSettings
from hares.report import percent, write_report
from hares.report.paper import paper_column
from hares.scoring import TaskScore
from hares.statistics import draws_seed
from hares.task import load_task, task_names
from kits.scored_tasks import answers

SETTINGS = ProtocolSettings(bootstrap_resamples=100)


def scored(task, share, seed):
    predictions = answers(task, share, seed=seed)
    return TaskScore(
        task=task, value=predictions.score(), chance=0.5,
        resampled=predictions.resampled(100, draws_seed(task, 0)), seed_scores=tuple(predictions.seed_scores()),
        clips=60, train_clips=60, classes_trained=2, classes=task.num_classes, deviations=(), details={},
        predictions=predictions, reason="",
    )  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    tasks = [load_task(name) for name in task_names()]
    # The first is a workspace, whose latest execution counts, and not the last by name.
    homes = {"w/artifacts/evaluator/report/9": 0.3, "w/artifacts/evaluator/report/30": 0.9, "other": 0.6}
    for number, (home, share) in enumerate(homes.items()):
        scores = {task.name: scored(task, share, number) for task in tasks}
        report = build_report(tasks, scores, {}, {}, SETTINGS, {"name": home})
        write_report(report, {name: score.predictions for name, score in scores.items()}, root / home)
    return root


def invoke(*arguments):
    return CliRunner().invoke(
        command, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False
    )


def report_of(folder):
    return json.loads((folder / "report.json").read_text())


def test_runs_side_by_side_in_the_terminal(folders):
    said = invoke(folders / "w", folders / "other").stdout
    first, second = report_of(folders / "w/artifacts/evaluator/report/30"), report_of(folders / "other")
    for name, entry in first["tasks"].items():
        (line,) = [x for x in said.splitlines() if x.startswith(f"{name} ") and "(" in x]
        assert percent(entry["value"]) in line and percent(second["tasks"][name]["value"]) in line
        assert percent(entry["paper"]["sf_nfnet_f0_simclr"]) in line
        low, high = entry["interval"]
        assert f"({percent(low)}-{percent(high)})" in line
    assert "other minus w" in said and percent(first["hares"]) in said
    for table, system in (("table4", "Bidir-CPC"), ("table7", "ViT-Base"), ("table9", "SF NFNet-F0")):
        printed = f"{paper_column(table, system)['hares']:.1f}"
        assert any(x.startswith(system) and x.endswith(printed) for x in said.splitlines())


def test_json_differences_are_the_reports(folders):
    found = json.loads(invoke(folders / "w", folders / "other", "--json").stdout)
    first, second = report_of(folders / "w/artifacts/evaluator/report/30"), report_of(folders / "other")
    assert [run["hares"] for run in found["runs"]] == [first["hares"], second["hares"]]
    rows = {row["name"]: row for row in found["differences"][0]["rows"]}
    for name in task_names():
        expected = second["tasks"][name]["value"] - first["tasks"][name]["value"]
        assert rows[name]["difference"] == pytest.approx(expected)
    assert rows["HARES"]["difference"] == pytest.approx(second["hares"] - first["hares"])
    assert rows["HARES"]["interval"][1] < 0 and rows["HARES"]["p_value"] < 0.001
    # Twelve tasks together are surer than any one.
    width = lambda row: row["interval"][1] - row["interval"][0]  # noqa: E731
    assert width(rows["HARES"]) < min(width(rows[name]) for name in task_names())


def test_a_page_of_both(folders, tmp_path):
    done = invoke(folders / "w", folders / "other", "--html", tmp_path / "new" / "both.html")
    page = (tmp_path / "new" / "both.html").read_text()
    assert "other against w" in page and str(tmp_path / "new" / "both.html") in done.stdout


def test_other_clips_are_not_paired(folders, tmp_path):
    tasks = [load_task(name) for name in task_names()]
    scores = {"tut18": scored(load_task("tut18"), 0.5, 3)}
    shuffled = replace(scores["tut18"].predictions, clip_ids=tuple(f"new{i}" for i in range(60)))
    write_report(build_report(tasks, scores, {}, {}, SETTINGS, {}), {"tut18": shuffled}, tmp_path / "new")
    rows = json.loads(invoke(folders / "other", tmp_path / "new", "--json").stdout)["differences"][0]["rows"]
    notes = {row["name"]: row["note"] for row in rows}
    assert notes["tut18"] == "not the same clips"
    assert notes["esc50"] == "no answers of new"
    assert all(row["difference"] is None for row in rows)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "neither a report.json in it"),
        ("{", "not JSON"),
        ('{"tasks": {}}', "Is this a report of HARES"),
    ],
)
def test_what_is_no_report_is_said_so(tmp_path, content, message):
    if content is not None:
        (tmp_path / "report.json").write_text(content)
    with pytest.raises(CommandError, match=message) as raised:
        invoke(tmp_path)
    assert raised.value.code == ExitCode.DATA


def test_one_run_twice_is_refused(folders):
    with pytest.raises(CommandError, match="given twice"):
        invoke(folders / "other", folders / "other")


def test_a_bundle_is_taken_wherever_a_run_is(folders, tmp_path):
    said = invoke(folders / "w", "--bundle", tmp_path / "new" / "w.zip").stdout
    content = (tmp_path / "new" / "w.zip").read_bytes()
    assert f"sha256 {hashlib.sha256(content).hexdigest()}" in said
    both = json.loads(invoke(tmp_path / "new" / "w.zip", folders / "other", "--json").stdout)
    plain = json.loads(invoke(folders / "w", folders / "other", "--json").stdout)
    for found in (both, plain):
        found["runs"][0].pop("name"), found["differences"][0].pop("against")
    assert both == plain and both["differences"][0]["rows"][-1]["difference"] is not None


def test_a_damaged_bundle_ends_with_one_line(folders, tmp_path):
    invoke(folders / "other", "--bundle", tmp_path / "b.zip")
    (tmp_path / "b.zip").write_bytes((tmp_path / "b.zip").read_bytes()[:-1])
    with pytest.raises(CommandError, match=r"b\.zip: not a whole zip archive") as raised:
        invoke(tmp_path / "b.zip")
    assert raised.value.code == ExitCode.DATA


def test_what_cannot_be_bundled(folders, tmp_path):
    invoke(folders / "other", "--bundle", tmp_path / "b.zip")
    for runs in ([folders / "w", folders / "other"], [tmp_path / "b.zip"]):
        with pytest.raises(CommandError, match="--bundle takes one run") as raised:
            invoke(*runs, "--bundle", tmp_path / "c.zip")
        assert raised.value.code == ExitCode.SETTINGS and not (tmp_path / "c.zip").exists()
