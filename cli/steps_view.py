"""The live view of a pipeline's steps: what runs, for how long, and what came from the cache.

On a terminal the running step shows a bar; elsewhere each step is one line when it starts to be long and one when
it has ended.
"""

from __future__ import annotations

import time

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from cli.terminal import Terminal, joined, styled
from pipeline.local_runner import Outcome, StepResult

_MARK = {
    Outcome.RAN: Text("done  ", "green"),
    Outcome.CACHED: Text("cached", "cyan"),
    Outcome.FAILED: Text("FAILED", "red"),
}
_QUIET_SECONDS = 15.0  # between two lines of a long step where there is no terminal to redraw


class StepsView:
    """Shows steps as they go. Use as a context manager around the run."""

    def __init__(self, console: Terminal):
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._total = self._done = 0
        self._spoke = 0.0

    def __enter__(self) -> StepsView:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def begin(self, nodes: list[str]) -> None:
        """The steps, in the order in which they will run."""
        self._total = len(nodes)

    def start(self, node: str) -> None:
        """A step starts."""
        self._task = self._progress.add_task(node, total=None, text="")
        self._spoke = time.monotonic()

    def update(self, node: str, fraction: float, text: str) -> None:
        """A long step says how far it is."""
        if self._task is not None:
            self._progress.update(self._task, total=1.0, completed=fraction, text=text)
        if not self._console.is_terminal and time.monotonic() - self._spoke > _QUIET_SECONDS:
            self._console.print(f"         {node:<28} {text}", soft_wrap=True)
            self._spoke = time.monotonic()

    def finish(self, result: StepResult) -> None:
        """A step has ended."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._done += 1
        self._console.print(
            joined(
                "  ", _MARK[result.outcome], f" {result.node:<28} {result.seconds:7.1f} s   ",
                styled("dim", f"{self._done}/{self._total}"),
            )
        )  # fmt: skip
