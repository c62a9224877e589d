"""A study on the command line: a line for each cell, then its scores, correlations and claims beside the paper's."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.status import Status
from rich.table import Table

from cli.errors import CommandError, ExitCode
from cli.fitted_table import FittedTable
from cli.pipeline_run import RunRequest, at_work
from cli.terminal import Terminal, joined, say, styled
from hares.report.summary import percent
from hares.task import DOMAINS

if TYPE_CHECKING:
    from hares.report.study import StudyCell
    from pipeline.grid import Cell
    from pipeline.local_runner import StepResult


_PIPED_WIDTH = 220
_SCORES = (*DOMAINS, "hares", "audioset")
_SHORT = {
    "environment": "Env.",
    "speech": "Speech",
    "music": "Music",
    "hares": "HARES",
    "audioset": "AudioSet",
}


def study_and_show(request: RunRequest) -> None:
    """Runs a study and prints what it says.

    Raises:
        CommandError: with an exit code for each kind of failure; a cell that failed is one.
    """
    began = time.monotonic()
    with at_work("study", request) as work:
        from pipeline.grid import load_grid

        grid = load_grid(request.name, request.assignments, request.plugins)
        work.console.print(joined("study ", styled("bold", grid.name), f": {len(grid.cells)} cells"))
        from pipeline.study import run_study

        with work.console.status("") as status:
            outcome = run_study(
                grid, request.corpus, request.placements, request.workspace, _View(work.console, status),
                work.address, work.interruption,
            )  # fmt: skip
    if request.as_json:
        click.echo(json.dumps(outcome.content, indent=1, allow_nan=False))
    else:
        show_study(outcome.content)
        for what, path in (
            ("study", outcome.folder / "study.json"),
            ("page", outcome.folder / "study.html"),
            ("store", work.address.shown),
            ("log", work.log),
        ):
            say(f"{what:<7}{path}")
        click.echo(f"{len(outcome.content['cells'])} cells in {time.monotonic() - began:.0f} s")
    if outcome.failed:
        raise CommandError(
            f"{len(outcome.failed)} of {len(outcome.content['cells'])} cells failed: {', '.join(outcome.failed)}. "
            f"The same command tries them again; the whole log is in {work.log}",
            ExitCode.STEP,
        )


class _View:
    """Shows a study: a line for each finished cell, and on a terminal what runs now."""

    def __init__(self, console: Terminal, status: Status):
        self._console = console
        self._status = status

    def begin(self, cell: Cell, number: int, of: int) -> _Steps:
        """A cell runs."""
        return _Steps(self._status, f"cell {number} of {of}, {cell.name}")

    def finish(self, cell: StudyCell, reused: bool) -> None:
        """A cell has ended."""
        if cell.run is None:
            text = f"FAILED {cell.name}: {cell.error}"
        else:
            hares = cell.run.report["hares"]
            score = f"HARES {100 * hares:.1f}" if hares is not None else "not all tasks scored"
            text = f"{'kept' if reused else 'done'}   {cell.name}  {score}  {cell.seconds or 0:.0f} s"
        self._console.print(text, soft_wrap=True)


class _Steps:
    """Shows the steps of a cell in the status line."""

    def __init__(self, status: Status, title: str):
        self._status = status
        self._title = title

    def begin(self, nodes: list[str]) -> None:
        """The steps, in the order in which they will run."""

    def start(self, node: str) -> None:
        """A step starts."""
        self._status.update(styled("", f"{self._title}: {node}"))

    def update(self, node: str, fraction: float, text: str) -> None:
        """A long step reports its progress."""
        self._status.update(styled("", f"{self._title}: {node} {text}"))

    def finish(self, result: StepResult) -> None:
        """A step has ended."""


def show_study(study: Mapping[str, Any]) -> None:
    """Prints everything."""
    console = Terminal(width=_PIPED_WIDTH)
    console.print(_scores(study["cells"]))
    console.print()
    of = styled("bold", "AudioSet's correlation")
    console.print(joined(of, " over encoders: Pearson, its 95% interval, and how many encoders"))
    console.print(_correlations(study["correlations"]))
    for claim in study["claims"]:
        console.print()
        console.print(joined(styled("bold", f"{claim['title']}?"), " Points, on the same test clips"))
        console.print(_claim(claim) if claim["pairs"] else "no two cells of this study speak to it")


def _scores(cells: list[Mapping[str, Any]]) -> Table:
    table = _table(
        "encoder", "objective", "parameters", *_SHORT.values(), *(f"paper's {t}" for t in _SHORT.values())
    )
    for cell in cells:
        start = (cell["encoder"], cell["objective"], f"{cell['parameters'] / 1e6:.1f}m")
        if cell["scores"] is None:
            table.add_row(*start, styled("red", "failed") if cell["state"] == "failed" else "not run yet")
            continue
        own = [percent(cell["scores"][name]) for name in _SCORES]
        bounds = cell["intervals"]["hares"]
        if bounds:
            own[_SCORES.index("hares")] += f" ({percent(bounds[0])}-{percent(bounds[1])})"
        elif cell["scores"]["hares"] is None:
            own[_SCORES.index("hares")] = f"{cell['scored_tasks']} of {cell['of_tasks']} tasks"
        paper = [percent(cell["paper"][name]) if cell["paper"] else "–" for name in _SCORES]
        table.add_row(*start, *own, *paper)
    return table


def _correlations(rows: list[Mapping[str, Any]]) -> Table:
    table = _table("objective", "AudioSet with", "this study", "Spearman", "paper's numbers")
    for row in rows:
        spearman = f"{row['found']['spearman']:+.2f}" if row["found"] else "–"
        table.add_row(
            row["objective"], _SHORT[row["with"]], _pearson(row["found"]), spearman, _pearson(row["paper"])
        )
    return table


def _pearson(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    bounds = found["interval"]
    interval = f" ({bounds[0]:+.2f} to {bounds[1]:+.2f})" if bounds else ""
    return f"{found['pearson']:+.2f}{interval}, {found['count']}"


def _claim(claim: Mapping[str, Any]) -> Table:
    titles = [_SHORT[name] for name in claim["mean"]]
    table = _table("pair", *titles, "paper's")
    for pair in claim["pairs"]:
        rows = pair["scores"].values()
        title = f"{pair['second']} - {pair['first']}"
        table.add_row(title, *map(_difference, rows), _papers(rows))
    rows = claim["mean"].values()
    table.add_row("mean", *map(_difference, rows), _papers(rows), style="bold")
    above = " ".join(f"{row['paper_above']} of {row['paper_pairs']}," for row in rows).rstrip(",")
    table.add_row("above in", *(f"{row['above']} of {row['pairs']}" for row in rows), above)
    return table


def _papers(rows: Iterable[Mapping[str, Any]]) -> str:
    return " ".join(_points(row["paper"]) for row in rows)


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return "–"
    low, high = row["interval"]
    return f"{_points(row['difference'])} ({_points(low)} to {_points(high)})"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _table(*columns: str) -> Table:
    table = FittedTable()
    for name in columns:
        left = name in ("encoder", "objective", "pair", "AudioSet with")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    return table
