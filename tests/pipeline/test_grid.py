"""Grids: what they name, and what is wrong with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hares.report.paper import PaperRow
from pipeline.config import load_config
from pipeline.grid import grid_names, load_grid, paper_row
from pipeline.preset import load_preset
from pipeline.settings import SettingError

pytestmark = pytest.mark.slow


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return str(path)


def test_cells_are_encoders_by_objectives_then_presets(tmp_path: Path) -> None:
    grid = load_grid(
        write(
            tmp_path,
            "name: mine\nbase: demo\nsettings: {training: {steps: 7, warmup_steps: 1}}\ncells:\n"
            "- {encoders: [sf_nfnet_tiny, sf_nfnet_f0], objectives: [classification, simclr],"
            " settings: {training: {batch_size: 5}}}\n- {presets: [paper_simclr]}\n",
        ),
        ["training.seed=3"],
    )
    assert [cell.name for cell in grid.cells] == [
        "classification_sf_nfnet_tiny",
        "simclr_sf_nfnet_tiny",
        "classification_sf_nfnet_f0",
        "simclr_sf_nfnet_f0",
        "paper_simclr",
    ]
    trainings = [cell.config.training for cell in grid.cells]
    assert {(t.steps, t.seed) for t in trainings} == {(7, 3)}
    assert [t.batch_size for t in trainings] == [5, 5, 5, 5, 4096]
    assert {cell.config.name for cell in grid.cells} == {"mine"}  # one pipeline shares one cache
    assert [cell.preset for cell in grid.cells] == ["demo"] * 4 + ["paper_simclr"]
    # A tiny sibling stands beside the row of the encoder it is small of.
    assert [cell.row.table for cell in grid.cells] == ["table8", "table9", "table8", "table9", "table9"]


def test_what_the_paper_has_no_row_for() -> None:
    assert paper_row(load_config("demo", ["training.encoder=sf_nfnet_large"])) is None
    librispeech = load_preset("bidir_cpc_librispeech").config()
    assert paper_row(librispeech) == PaperRow("table2", "Bidir-CPC (LS)")
    audioset = load_preset("bidir_cpc").config()
    tiny = replace(audioset, training=replace(audioset.training, encoder="bidir_cpc_tiny"))
    assert paper_row(tiny).system == "Bidir-CPC"


CELLS = "cells: [{presets: [demo]}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not YAML"),
        ("3", "expected a grid"),
        (f"name: x\nbasis: demo\n{CELLS}", "unknown key 'basis'; accepted are base, cells, name, settings"),
        (CELLS, "a grid has a `name`"),
        ("name: x\ncells: []", "at least one group"),
        ("name: x\ncells: [demo]", r"cells\[0\]: got 'demo'; expected encoders"),
        ("name: x\ncells: [{presets: [nosuch]}]", "unknown preset 'nosuch'; `hares presets` lists them"),
        ("name: x\ncells: [{presets: [demo], encoders: [a]}]", "either presets, or encoders"),
        ("name: x\ncells: [{encoders: [a], objectives: [simclr]}]", "need a preset as `base`, got None"),
        ("name: x\nbase: demo\ncells: [{encoders: [a]}]", "objectives is None; expected a list of names"),
        ("name: x\ncells: [{presets: [demo, demo]}]", "demo is named twice"),
        (f"name: x\nsettings: {{stepz: 1}}\n{CELLS}", "unknown setting stepz"),
        (f"name: x\nsettings: {{training: {{steps: 0}}}}\n{CELLS}", "steps=0 is not accepted"),
        (
            "name: x\nbase: demo\ncells: [{encoders: [a], objectives: [simclr]}]",
            "simclr_a: unknown encoder 'a'",
        ),
        (
            "name: x\nbase: demo\ncells: [{encoders: [sf_nfnet_tiny], objectives: [a]}]",
            "unknown objective 'a'",
        ),
        ("name: !!python/object/apply:os.system [ls]\n", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        load_grid(write(tmp_path, text))


def test_no_such_grid() -> None:
    with pytest.raises(SettingError, match=r"neither a grid \(paper, tiny\) nor an existing file"):
        load_grid("huge")


def test_our_grids() -> None:
    assert grid_names() == ("paper", "tiny")
    paper = load_grid("paper")
    assert len(paper.cells) == 21 and all("table2" in (c.row.table, *c.row.also) for c in paper.cells)
    assert {c.config.protocol.name for c in paper.cells} == {"paper"}
    tiny = load_grid("tiny")
    assert all(cell.config.training.encoder.endswith("_tiny") for cell in tiny.cells)
    assert all(not cell.config.compare_untrained for cell in tiny.cells)
    assert all(cell.row is not None for cell in tiny.cells)
    objectives = [cell.config.training.objective for cell in tiny.cells]
    assert objectives.count("classification") == objectives.count("simclr") == 12
    assert set(objectives) == {"classification", "simclr", "byola", "cola", "cpc", "wav2vec2", "clmr"}
