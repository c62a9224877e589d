"""The scores in a terminal, as every command that scores an encoder prints them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from cli.fitted_table import FittedTable
from cli.terminal import styled


def score_table(report: Mapping[str, Any]) -> Table:
    """The twelve scores beside chance and, where it was scored, the untrained encoder; domain means and HARES.

    Tasks of the user's own follow, after the mean that they have no part in.
    """
    untrained = bool(report.get("untrained")) and report["untrained"]["partial_mean"]["scored_tasks"] > 0
    table = FittedTable()
    columns = [
        "task",
        "metric",
        "score",
        "chance",
        *(["untrained"] if untrained else []),
        "clips",
        "expected",
    ]
    for name in columns:
        table.add_column(name, justify="left" if name in ("task", "metric") else "right")

    def add(task: str, entry: Mapping[str, Any]) -> None:
        keys = ("value", "chance", "untrained") if untrained else ("value", "chance")
        expected = "-" if entry["expected_clips"] is None else str(entry["expected_clips"])
        numbers = [_percent(entry[key]) for key in keys]
        table.add_row(task, entry["metric"], *numbers, str(entry["clips"]), expected)

    for domain in report["domains"]:
        for task, entry in report["tasks"].items():
            if entry["domain"] == domain:
                add(task, entry)
        own = [_percent(report["untrained"]["domains"][domain])] if untrained else []
        table.add_row(
            styled("bold", domain), "mean", styled("bold", _percent(report["domains"][domain])), "", *own
        )
    own = [_percent(report["untrained"]["hares"])] if untrained else []
    total = styled("bold", _percent(report["hares"]))
    table.add_row(styled("bold", "HARES"), "mean", total, "", *own)
    for task, entry in report.get("own_tasks", {}).items():
        add(task, entry)
    return table


def layer_table(report: Mapping[str, Any]) -> Table:
    """The scores of each layer: a row each, a column for every task that some layer has a score of."""
    rows = report["layers"]
    tasks = [name for name in rows[0]["tasks"] if any(row["tasks"][name] is not None for row in rows)]
    table = FittedTable()
    for name in ("layer", *tasks, "mean", "HARES"):
        table.add_column(name, justify="left" if name == "layer" else "right")
    for row in rows:
        scores = (row["tasks"][name] for name in tasks)
        table.add_row(row["layer"], *map(_percent, (*scores, row["partial_mean"], row["hares"])))
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
