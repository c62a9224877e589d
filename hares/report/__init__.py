"""The report of a run: report.json for machines, report.html for people, and every answer clip by clip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hares.arrays import write_atomically
from hares.predictions import Predictions, encode_predictions
from hares.report.page import render_page
from hares.report.summary import SummaryRow, percent, summary_rows

__all__ = ["SummaryRow", "percent", "summary_rows", "write_report"]


def write_report(report: Mapping[str, Any], predictions: Mapping[str, Predictions], directory: Path) -> None:
    """Writes `report.json`, `report.html` and `predictions/<task>.npz` below `directory`.

    Each file appears complete or not at all, `report.json` last: where it is, all is.

    Args:
        report: made by `hares.scoring.build_report`.
        predictions: by task name, of the tasks that were scored.
        directory: made where it does not exist.

    Raises:
        ValueError: the report holds a number that JSON cannot (NaN or infinite).
    """
    content = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    for name, answers in sorted(predictions.items()):
        write_atomically(directory / "predictions" / f"{name}.npz", encode_predictions(answers))
    write_atomically(directory / "report.html", render_page(report, predictions).encode("utf-8"))
    write_atomically(directory / "report.json", content.encode("utf-8"))
