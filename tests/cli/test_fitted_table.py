"""Tables at the widths of terminals: no figure is cut, no word is split."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from cli.commands.corpus import _show
from cli.fitted_table import FittedTable
from hares.corpus import SlotCheck, TaskCheck

WIDTHS = (40, 60, 80, 100, 200)


def printed(table: FittedTable, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_every_word_is_whole(width: int) -> None:
    table = FittedTable()
    rows = [
        (
            "fluent_speech_commands",
            "23132",
            "test:3793 train:23132 validation:3118",
            "6/6 14/14 4/4",
            "official",
        ),
        ("[bold]voxceleb1[/]", "153516", "train:138361 validation:6904 test:8251", "1251/1251", "own"),
    ]
    for name in ("task", "files", "splits", "classes", "split"):
        table.add_column(name, justify="right" if name == "files" else "left")
    for row in rows:
        table.add_row(*row)
    text = printed(table, width)
    assert max(len(line) for line in text.splitlines()) <= width
    words = re.sub("[,…]", "", text).split()
    for row in rows:
        for cell in row:
            assert set(re.sub(r"\[.*?\]", "", cell).split()) <= set(words), cell
    assert "…" not in text


@pytest.mark.parametrize("width", WIDTHS)
def test_a_corpus_check_shows_every_count(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a terminal of this width (rich takes it from COLUMNS)."""
    rejected = {"absent": 20371, "outside_corpus": 12, "undecodable": 408, "unlisted": 15}
    splits = {"test": 20371, "train": 1912134}
    check = TaskCheck(
        *("audioset", True, "audioset", 2084320, 1932505, splits),
        slots=(SlotCheck("tags", 527, 526),),
        hours=5331.25,
        rejected=rejected,
    )
    broken = TaskCheck("nsynth_pitch", True, "nsynth", 305979, error="nsynth_pitch: examples.json is cut off")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    _show((check, broken))
    words = set(re.sub("[,]", "", capsys.readouterr().out).split())
    counts = {f"{name}:{count}" for name, count in (*rejected.items(), *splits.items())}
    assert counts | {"2084320", "1932505", "526/527", "5331.250", "305979"} <= words
    assert {"examples.json", "cut"} <= words
