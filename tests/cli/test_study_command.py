"""`hares presets` and `hares study`: what they print, and how they fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import study as view
from cli.commands.presets import command as presets
from cli.commands.study import command as study
from cli.errors import CommandError, ExitCode
from cli.terminal import Terminal
from models.encoder import load_encoder


def invoke(command, *arguments: str):
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)


@pytest.fixture(scope="module")
def listed() -> list[dict]:
    return json.loads(invoke(presets, "--json").stdout)


def test_presets_in_json_have_parameters_and_the_papers_scores(listed) -> None:
    by_name = {preset["name"]: preset for preset in listed}
    best = by_name["simclr_sf_nfnet_f0"]
    # Table 2: 63m parameters; 75.8, 77.2, 68.6, 74.6 and 37.8
    assert (
        best["parameters"] == load_encoder("sf_nfnet_f0").parameters and round(best["parameters"] / 1e6) == 63
    )
    assert best["tables"] == ["table2", "table3", "table4", "table9"]
    assert best["paper"] == {
        "table": "table9",
        "system": "SF NFNet-F0",
        "domains": {"environment": 75.8, "speech": 77.2, "music": 68.6},
        "hares": 74.6,
        "audioset": 37.8,
    }
    assert by_name["demo"]["paper"] is None and by_name["cola"]["paper"]["hares"] is None


def test_the_table_of_presets_has_a_line_for_each(listed) -> None:
    lines = invoke(presets).stdout.splitlines()
    for preset in listed:
        (line,) = [line for line in lines if line.split()[:1] == [preset["name"]]]
        assert preset["encoder"] in line and f"{preset['parameters'] / 1e6:.1f}m" in line
        if preset["paper"] and preset["paper"]["hares"] is not None:
            assert f"{preset['paper']['hares']:.1f}" in line.split()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--grid", "huge"], "neither a grid"),
        (
            ["--grid", "paper", "--set", "training.stepz=3"],
            "unknown setting training.stepz; did you mean training.steps",
        ),
        (["--grid", "paper", "--plugin", "nowhere.py"], "--plugin: plugin 'nowhere.py': not a Python file"),
    ],
)
def test_a_wrong_setting_is_exit_code_3_and_nothing_is_made(
    tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(CommandError) as raised:
        invoke(study, *options, "--workspace", str(tmp_path / "w"))
    assert raised.value.code == ExitCode.SETTINGS and message in str(raised.value)
    assert not (tmp_path / "w" / "metadata.sqlite").exists()


def test_a_study_in_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"difference": 0.062, "interval": [0.01, 0.12], "p_value": 0.02, "note": "", "paper": 0.064}
    nothing = {"difference": None, "interval": None, "p_value": None, "note": "no spread", "paper": None}
    mean = {"pairs": 1, "above": 1, "paper_above": 1, "paper_pairs": 1}
    names = ("environment", "speech", "music", "hares")
    console = Terminal(record=True, width=220)
    monkeypatch.setattr(view, "Terminal", lambda **options: console)
    view.show_study(
        {
            "cells": [
                {
                    "encoder": "resnet50", "objective": "simclr", "parameters": 23_500_000, "state": "done",
                    "scores": {**dict.fromkeys(names, 0.5), "hares": 0.678, "audioset": 0.362},
                    "intervals": {"hares": [0.66, 0.7]}, "scored_tasks": 12, "of_tasks": 12,
                    "paper": {**dict.fromkeys(names, 0.6), "audioset": 0.3},
                },
                {"encoder": "[red]", "objective": "simclr", "parameters": 0, "state": "failed", "scores": None},
            ],
            "correlations": [
                {"objective": "simclr", "with": "hares", "paper": None,
                 "found": {"pearson": 0.5, "interval": [-0.1, 0.9], "spearman": 0.4, "count": 8}}
            ],
            "claims": [
                {
                    "title": "SimCLR above classification", "mean": {name: {**row, **mean} for name in names},
                    "pairs": [{"first": "a", "second": "b", "scores": {**dict.fromkeys(names, row), "music": nothing}}],
                },
                {"title": "Slowfast above plain", "mean": {}, "pairs": []},
            ],
        }
    )  # fmt: skip
    said = console.export_text()
    assert "67.8 (66.0-70.0)" in said and "+0.50 (-0.10 to +0.90), 8" in said and "[red]" in said
    assert "+6.2 (+1.0 to +12.0)" in said and "1 of 1" in said and "no two cells of this study" in said
    assert "failed" in said
