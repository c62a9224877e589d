"""Running a study from the command line: a line a cell, then the table, the correlations and the claims."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click
from rich.status import Status

from cli.errors import CommandError, ExitCode
from cli.pipeline_run import RunRequest, at_work
from cli.terminal import Terminal, joined, say, styled

if TYPE_CHECKING:
    from hares.report.study import StudyCell
    from pipeline.grid import Cell
    from pipeline.local_runner import StepResult


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
        from cli.study_view import show_study

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
    """Shows a study: one line for every cell that has ended, and on a terminal what runs now."""

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
        """A long step says how far it is."""
        self._status.update(styled("", f"{self._title}: {node} {text}"))

    def finish(self, result: StepResult) -> None:
        """A step has ended."""
