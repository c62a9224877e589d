"""What the local runner refuses before a step writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kits.three_steps import SilentObserver, three_steps
from pipeline.lineage.connection import store_address
from pipeline.lineage.record import RunFacts
from pipeline.local_runner import StepFailedError, run_locally

pytestmark = pytest.mark.slow

FACTS = RunFacts({}, "demo", "local", "key", {}, "")


def test_a_second_store_does_not_write_into_folders_of_the_first(tmp_path: Path) -> None:
    """Both stores number their executions from 1, and TFX names folders by these numbers."""
    folder = tmp_path / "w"
    run_locally(
        three_steps(folder, "p"), SilentObserver(), FACTS, store_address("", tmp_path / "first.sqlite")
    )
    made = {path: path.read_bytes() for path in folder.rglob("content")}
    with pytest.raises(StepFailedError, match="exists already: another metadata store"):
        run_locally(
            three_steps(folder, "p"), SilentObserver(), FACTS, store_address("", tmp_path / "second.sqlite")
        )
    assert len(made) == 3 and all(path.read_bytes() == content for path, content in made.items())
