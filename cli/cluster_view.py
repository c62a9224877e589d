"""The live view of a run on a cluster: a line for each step that starts or ends, and on a terminal what runs now."""

from __future__ import annotations

from rich.status import Status
from rich.text import Text

from cli.terminal import Terminal, joined, styled
from kubeflow.clusters import ClusterRun, State

_MARK = {
    State.RUNNING: Text("runs     ", "blue"),
    State.SUCCEEDED: Text("done     ", "green"),
    State.SKIPPED: Text("skipped  ", "cyan"),
    State.CANCELLED: Text("cancelled", "yellow"),
    State.FAILED: Text("FAILED   ", "red"),
}


class ClusterView:
    """Shows a run's progress. Use as a context manager around the wait."""

    def __init__(self, console: Terminal):
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
        """Prints what has changed since the last call."""
        for step in run.steps:
            if step.state is State.PENDING or self._shown.get(step.name) is step.state:
                continue
            self._shown[step.name] = step.state
            self._console.print(
                joined("  ", _MARK[step.state], f" {step.name:<28} {step.message}"), soft_wrap=True
            )
        running = [step.name for step in run.steps if step.state is State.RUNNING]
        ended = sum(step.state.ended for step in run.steps)
        self._status.update(
            styled("", f"{ended}/{len(run.steps)} steps; now {', '.join(running) or 'waiting'}")
        )
