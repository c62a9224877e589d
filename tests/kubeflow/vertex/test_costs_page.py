"""The table of costs in docs/vertex.md says what the presets say."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.config import load_config

PAGE = Path(__file__).resolve().parents[3] / "docs" / "vertex.md"
ROW = re.compile(r"^\| `(\w+)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \| ([\d,.]+) / r \|$", re.MULTILINE)


def test_clips_and_hours_follow_from_the_presets() -> None:
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    assert {"demo", "small", "paper_simclr", "paper_classification"} <= {row[0] for row in rows}
    for preset, *figures in rows:
        steps, batch, clips, hours = (float(figure.replace(",", "")) for figure in figures)
        training = load_config(preset).training
        assert (steps, batch) == (training.steps, training.batch_size), preset
        assert clips == steps * batch, preset
        assert abs(hours - clips / 3600) <= 0.5, preset
