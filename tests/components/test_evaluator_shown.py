"""What clusters' pages are given of an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("tfx")

from components.artifacts import ReportPage, ScoreMetrics
from components.evaluator.shown import show_page, show_scores


def test_every_score_is_a_number_and_what_was_not_scored_is_none(tmp_path: Path) -> None:
    metrics = ScoreMetrics()
    metrics.uri = str(tmp_path / "metrics")
    report = {
        "tasks": {"esc50": {"value": 0.25}, "tut18": {"value": None}, "birdsong": {"value": 0.0}},
        "domains": {"environment": 0.125, "music": None},
        "hares": None,
    }
    show_scores(metrics, report)
    found = {name: value.double_value for name, value in metrics.mlmd_artifact.custom_properties.items()}
    assert found == {"esc50": 0.25, "birdsong": 0.0, "domain_environment": 0.125}
    assert json.loads((tmp_path / "metrics" / "scores.json").read_text()) == found


@pytest.mark.parametrize("local", [True, False])
def test_the_page_is_in_the_runners_folder_or_else_the_address_itself(tmp_path: Path, local: bool) -> None:
    report = tmp_path / "report"
    report.mkdir()
    (report / "report.html").write_text("<html>all</html>")
    page = ReportPage()
    page.uri = str(tmp_path / "outputs" / "page")
    if local:
        Path(page.uri).mkdir(parents=True)
    show_page(page, str(report))
    file = Path(page.uri) / "report.html" if local else Path(page.uri)
    assert file.read_text() == "<html>all</html>"
    assert [p.name for p in file.parent.iterdir()] == [file.name]
