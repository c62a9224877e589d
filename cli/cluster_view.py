"""The live view of a run on a cluster: a line for each step that begins or ends, and what runs now.

Elsewhere than on a terminal there are only the lines.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from kubeflow.service import ClusterRun, State

_MARK = {
    State.RUNNING: "[blue]runs     [/]",
    State.SUCCEEDED: "[green]done     [/]",
    State.SKIPPED: "[cyan]skipped  [/]",
    State.CANCELLED: "[yellow]cancelled[/]",
    State.FAILED: "[red]FAILED   [/]",
}


class ClusterView:
    """Shows how a run goes on. Use as a context manager around the wait."""

    def __init__(self, console: Console):
        self._console = console
        self._status = Status("waiting for the cluster", console=console)
        self._shown: dict[str, State] = {}

    def __enter__(self) -> ClusterView:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()

    def show(self, run: ClusterRun) -> None:
        """What has changed since the last time."""
        for step in run.steps:
            if step.state is State.PENDING or self._shown.get(step.name) is step.state:
                continue
            self._shown[step.name] = step.state
            self._console.print(
                f"  {_MARK[step.state]} {step.name:<28}", escape(step.message), soft_wrap=True
            )
        running = [step.name for step in run.steps if step.state is State.RUNNING]
        ended = sum(step.state.ended for step in run.steps)
        self._status.update(f"{ended}/{len(run.steps)} steps; now {', '.join(running) or 'waiting'}")
