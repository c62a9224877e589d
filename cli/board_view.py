"""The leaderboard in a terminal, as JSON, and as a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from cli.errors import writing_to
from cli.fitted_table import FittedTable
from cli.terminal import Terminal, styled
from hares.atomic_files import write_atomically
from hares.report.board import render_board
from hares.report.summary import percent
from hares.task import DOMAINS


def write_board(board: Mapping[str, Any], path: Path) -> None:
    """Writes the page."""
    with writing_to(path, "--html"):
        write_atomically(path, render_board(board))


def show_board(board: Mapping[str, Any], as_json: bool) -> None:
    """Prints HARES and the domains of every row; the page and the JSON have the tasks too."""
    if as_json:
        click.echo(json.dumps(board, indent=1, allow_nan=False))
        return
    console = Terminal()
    for table in board["tables"]:
        console.print(styled("bold", table["title"]))
        if table["changed"]:
            changed = ", ".join(f"{key} {value}" for key, value in table["changed"].items())
            console.print(f"not comparable with the paper or with another table: {changed}", soft_wrap=True)
        shown = FittedTable()
        for name in ("rank", "encoder", "HARES", *DOMAINS, "marks"):
            shown.add_column(name, justify="left" if name in ("encoder", "marks") else "right")
        for row in table["rows"]:
            values = [row["scores"][name] for name in ("hares", *DOMAINS)]
            bounds = row["intervals"]["hares"]
            first = percent(values[0]) + (f" ({percent(bounds[0])}-{percent(bounds[1])})" if bounds else "")
            marks = "; ".join([f"paper: {row['file']}"] if row["paper"] else [row["file"], *row["marks"]])
            shown.add_row(
                str(row["rank"] or ""),
                row["encoder"],
                first,
                *map(percent, values[1:]),
                marks,
                style="dim" if row["paper"] else "",
            )
        console.print(shown)
        console.print()
