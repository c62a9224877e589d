"""The commands of the tutorials and of the README, run as a reader runs them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from kits.pages import blocks, follow, shell
from kits.pipeline_runs import SHORT

pytestmark = pytest.mark.slow


def test_score_your_encoder(tmp_path: Path) -> None:
    said = follow("tutorials/score_your_encoder.md", tmp_path)
    for name in ("mine", "floor"):
        assert json.loads((tmp_path / name / "report.json").read_text())["hares"] is not None
    assert (tmp_path / "both.html").is_file()
    assert re.search(r"^0 shards of embeddings computed", said, re.MULTILINE), (
        "the third evaluation finds all"
    )


@pytest.mark.slow
@pytest.mark.full
def test_retrain_every_night(tmp_path: Path) -> None:
    said = follow("tutorials/retrain_every_night.md", tmp_path)
    assert any((tmp_path / "W" / "pushed").iterdir())
    assert "passed: no blessed model before this one" in said
    words = [line.split() for line in said.splitlines()]
    cached = {line[1] for line in words if line[:1] == ["cached"]}
    assert {"ingest_pretraining_span_20261126", "ingest_birdsong"} <= cached


@pytest.mark.slow
@pytest.mark.full
def test_the_readme_s_three_commands(tmp_path: Path) -> None:
    """`make demo` is `hares demo` after the set-up; here it trains for seconds."""
    (block,) = [block.text for block in blocks("../README.md") if block.language == "sh"]
    demo, evaluate, trace = [line for line in block.splitlines() if not line.startswith("#")]
    assert demo == "make demo"
    shorter = " ".join(f"--set '{setting}'" for setting in (*SHORT, "compare_untrained=false"))
    assert "HARES " in shell(f"hares demo {shorter}", tmp_path)
    assert "HARES " in shell(evaluate.replace(".venv/bin/", ""), tmp_path)
    assert shell(trace.replace(".venv/bin/", ""), tmp_path).startswith("hares ")
