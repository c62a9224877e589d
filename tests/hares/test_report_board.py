"""The leaderboard: which rows share a table, who has a rank, and what is marked."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest

from hares.benchmark import CorpusSummary
from hares.protocol import ProtocolSettings, load_protocol
from hares.report.board import build_board, render_board
from hares.report.paper import paper_column
from kits.scored_tasks import scored_run

PAPER = ProtocolSettings()
HOSTILE = "<script>document.title='x'</script>\"'--> &"
LEAK = {
    "verdict": "leak", "clips_checked": 9, "contents_checked": 9, "shared_clips": 3, "shared_groups": 0,
    "groups_promised": True, "shared_by_design": "", "groups_by_design": 0, "examples": [],
}  # fmt: skip


def rows(table):
    return {row["encoder"]: row for row in table["rows"] if not row["paper"]}


def test_protocols_are_never_in_one_table():
    changed = replace(PAPER, max_steps=100)  # it calls itself "paper"
    board = build_board(
        [
            scored_run("q", 0.9, load_protocol("quick")),
            scored_run("p", 0.3),
            scored_run("c", 0.95, changed),
            scored_run("s", 0.4, replace(PAPER, seed=3)),
        ]
    )
    assert [list(rows(table)) for table in board["tables"]] == [["s", "p"], ["c"], ["q"]]
    assert [table["title"] for table in board["tables"]] == [
        "The paper's protocol", "Protocol paper", "Protocol quick",
    ]  # fmt: skip
    assert board["tables"][1]["changed"] == {"max_steps": 100}
    assert [any(row["paper"] for row in table["rows"]) for table in board["tables"]] == [True, False, False]
    assert all(rows(table)[name]["rank"] == 1 for table, name in zip(board["tables"], "scq", strict=True))
    page = render_board(board)
    assert page.count("Not the paper's protocol: these scores are comparable with no other table") == 2
    assert "max_steps 100." in page


def test_ranks_are_of_the_complete_and_ties_share_one():
    board = build_board(
        [
            scored_run("low", 0.2),
            scored_run("twin", 0.6),
            scored_run("high", 0.9),
            scored_run("part", 1.0, tasks=["esc50", "tut18"]),
            scored_run("twin 2", 0.6),
        ]
    )
    (table,) = board["tables"]
    assert {name: row["rank"] for name, row in rows(table).items()} == {
        "high": 1, "twin": 2, "twin 2": 2, "low": 4, "part": None,
    }  # fmt: skip
    part = rows(table)["part"]
    assert part["marks"][0] == "10 of 12 tasks missing" and part["scores"]["hares"] is None
    assert "mean of 2 of 12: 100.0" in render_board(board)
    values = [row["scores"]["hares"] for row in table["rows"]]
    known = [value for value in values if value is not None]
    assert known == sorted(known, reverse=True) and values[len(known) :] == [None] * (
        len(values) - len(known)
    )


def test_the_papers_rows_are_the_papers():
    (table,) = build_board([scored_run("mine", 0.5)])["tables"]
    papers = [row for row in table["rows"] if row["paper"]]
    assert all(row["rank"] is None for row in papers)
    best = [row for row in papers if row["encoder"] == "SF NFNet-F0" and row["scores"]["hares"] == 0.746]
    assert len(best) == 1, "tables 4 and 9 print the same row"
    column = paper_column("table9", "SF NFNet-F0")
    assert best[0]["scores"]["esc50"] == round(column["tasks"]["esc50"] / 100, 6)
    for encoder, table_name in (
        ("ViT-Base", "table7"),
        ("SF NFNet-F0", "table8"),
        ("Bidir-CPC (LS)", "table2"),
    ):
        expected = round(paper_column(table_name, encoder)["hares"] / 100, 6)
        assert expected in [row["scores"]["hares"] for row in papers if row["encoder"] == encoder]


def test_what_sets_a_score_apart_is_marked():
    corpora = {
        "tut18": CorpusSummary(60, {}, False, (), 60, 60),
        "esc50": CorpusSummary(60, {}, True, (), 60, 60, LEAK),
        "audioset": CorpusSummary(60, {"absent": 20}, True, (), 60, 40),
    }
    board = build_board(
        [
            scored_run("a", 0.5),
            scored_run("b", 0.5, corpora=corpora),
            scored_run("c", 0.5),
            scored_run("d", 0.5, clips=40),
        ]
    )
    found = rows(board["tables"][0])
    assert found["b"]["marks"] == [
        "leakage: esc50",
        "clips missing: audioset",
        "split not the paper's: tut18",
    ]
    assert found["b"]["of_column"] == {
        "tut18": "split not the paper's", "audioset": "40 of 60 clips",
        "esc50": "clips or groups on both sides of the split",
    }  # fmt: skip
    assert found["a"]["official"] and not found["b"]["official"] and found["b"]["complete"]
    assert found["a"]["of_column"] == found["c"]["of_column"] == {}
    assert set(found["d"]["of_column"].values()) == {"other test clips than most rows"}
    page = render_board(board)
    assert "40 of 60 clips" in page and "leakage: esc50" in page


def test_the_page_is_whole_and_escapes(tmp_path):
    page = render_board(build_board([scored_run(HOSTILE, 0.5)]))
    assert HOSTILE not in page and "&lt;script&gt;document.title" in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    assert "http" not in script and not re.findall(r"(?:src|href)=", page)


def test_the_board_is_json():
    board = build_board([scored_run("a", 0.5, tasks=["esc50"])])
    assert json.loads(json.dumps(board, allow_nan=False)) == board


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_order_of_the_files_decides_nothing(order):
    runs = [scored_run("a", 0.5), scored_run("b", 0.7), scored_run("c", 0.6, load_protocol("quick"))]
    assert render_board(build_board([runs[place] for place in order])) == render_board(build_board(runs))
