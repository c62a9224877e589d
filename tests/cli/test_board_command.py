"""`hares board`: what the terminal, the JSON and the page say is what the reports hold."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.commands.board import command
from cli.errors import CommandError, ExitCode
from hares.protocol import load_protocol
from hares.report import percent, write_report
from hares.report.bundle import bundle_bytes
from kits.scored_tasks import scored_run


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("board")
    for run in (scored_run("wren", 0.9), scored_run("fast", 0.8, load_protocol("quick"))):
        name = run.name.removesuffix(".zip")
        write_report(run.report, run.predictions, folder / name)
    (folder / "wren.zip").write_bytes(bundle_bytes(folder / "wren"))
    return folder


def invoke(*arguments: object) -> str:
    found = CliRunner().invoke(
        command, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False
    )
    return found.stdout


def test_bundles_and_folders_on_one_board(root: Path, tmp_path: Path) -> None:
    said = invoke(root / "wren.zip", root / "fast", "--html", tmp_path / "new" / "board.html")
    report = json.loads((root / "wren/report.json").read_text())
    low, high = report["intervals"]["hares"]
    (line,) = [line for line in said.splitlines() if "wren.zip" in line]
    assert f"{percent(report['hares'])} ({percent(low)}-{percent(high)})" in line and line.split()[:2] == [
        "1",
        "wren",
    ]
    assert said.index("The paper's protocol") < said.index("wren.zip") < said.index("Protocol quick")
    assert "not comparable with the paper or with another table: crops_per_clip 3" in said
    assert "wren.zip" in (tmp_path / "new" / "board.html").read_text()
    tables = json.loads(invoke(root / "wren.zip", root / "fast", "--json"))["tables"]
    assert [table["protocol"] for table in tables] == ["paper", "quick"]
    (row,) = [row for row in tables[0]["rows"] if not row["paper"]]
    assert row["scores"]["esc50"] == report["tasks"]["esc50"]["value"]


def test_a_damaged_bundle_keeps_the_board_from_being_made(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes((root / "wren.zip").read_bytes()[:900])
    with pytest.raises(CommandError, match=r"cut\.zip: not a whole zip archive") as raised:
        invoke(root / "fast", tmp_path / "cut.zip", "--html", tmp_path / "board.html")
    assert raised.value.code == ExitCode.DATA and not (tmp_path / "board.html").exists()
