"""The names of recorded properties: what is written is what is read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from components.properties import (
    INPUTS_OF_TASK,
    bound_keys,
    input_key,
    parse_key,
    score_key,
    task_key,
    task_of_input,
)
from hares.task import DOMAINS, task_names

PROJECT = Path(__file__).resolve().parents[2]
STORED = {  # as the stores of earlier versions have them
    "hares": ("hares", "hares/low", "hares/high"),
    "speech": ("domain/speech", "domain/speech/low", "domain/speech/high"),
    "esc50": ("esc50/score", "esc50/low", "esc50/high"),
}


@pytest.mark.parametrize("name", STORED)
def test_the_stored_names_stay(name: str) -> None:
    assert (score_key(name), *bound_keys(name)) == STORED[name]


@pytest.mark.parametrize("name", ("hares", *DOMAINS, *task_names()))
def test_a_score_is_read_by_the_name_it_was_written_under(name: str) -> None:
    assert parse_key(score_key(name)) == name
    assert [parse_key(key) for key in bound_keys(name)] == [None, None]


def test_other_properties_hold_no_score() -> None:
    assert [parse_key(key) for key in (task_key("esc50", "clips"), "protocol", "run_key")] == [None] * 3


@pytest.mark.parametrize("task", task_names())
def test_an_input_names_its_task(task: str) -> None:
    assert {task_of_input(input_key(what, task)) for what in INPUTS_OF_TASK} == {task}
    assert task_of_input("model") is None


def test_asking_about_lineage_imports_no_tfx() -> None:
    """Importing TFX takes seconds, and the lineage commands only need the names."""
    code = (
        "import sys, pipeline.lineage.targets; sys.exit('tfx' in sys.modules or 'tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True)
