"""The tutorials' commands, run as a reader runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kits.pages import follow


def test_score_your_encoder(tmp_path: Path) -> None:
    said = follow("tutorials/score_your_encoder.md", tmp_path)
    for name in ("mine", "floor"):
        assert json.loads((tmp_path / name / "report.json").read_text())["hares"] is not None
    assert (tmp_path / "both.html").is_file()
    assert " 0 found in " in said and " 0 shards" not in said.split("0 found in ")[0]
    assert "0 shards of embeddings computed" in said, "the third evaluation should find all embeddings"


@pytest.mark.tfx
@pytest.mark.full
def test_retrain_every_night(tmp_path: Path) -> None:
    said = follow("tutorials/retrain_every_night.md", tmp_path)
    assert any((tmp_path / "W" / "pushed").iterdir())
    assert "passed: no blessed model before this one" in said
    cached = [line.split()[1] for line in said.splitlines() if line.startswith("cached ")]
    assert {"ingest_pretraining_span_20261126", "ingest_birdsong"} <= set(cached) or "cached" in said
