"""What `hares submit`, `schedule` and `runs` ask of a cluster: one interface, a file for each kind of cluster.

An implementation speaks one API and turns its answers into these dataclasses and its errors into `ServiceError`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol


def check_shown_name(what: str, name: str) -> None:
    """Raises ValueError where a cluster would refuse a name that it shows: of a run, a schedule or an experiment."""
    if not 1 <= len(name) <= 128 or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"{what}: got {name!r}; accepted are 1 to 128 characters that can be printed, no blank at either end"
        )


class State(str, Enum):
    """How far a run or a step is, in one vocabulary for all clusters."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self not in (State.PENDING, State.RUNNING)


class Failure(str, Enum):
    """Kinds of failure, by what the user has to do about them."""

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INVALID = "invalid"
    BUSY = "busy"
    SERVER = "server"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"


class ServiceError(RuntimeError):
    """A cluster refused or did not answer; the message names the address, the cause and the remedy."""

    def __init__(self, failure: Failure, message: str):
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class StepState:
    """A step of a run: its name in the compiled file, how far it is, and the cluster's message if it failed."""

    name: str
    state: State
    message: str = ""


@dataclass(frozen=True)
class ClusterRun:
    """A run as the cluster knows it; `created` is ISO 8601 in UTC, `url` where a browser shows it, or ""."""

    run_id: str
    name: str
    state: State
    created: str
    steps: tuple[StepState, ...] = ()
    url: str = ""
    message: str = ""


@dataclass(frozen=True)
class Schedule:
    """A schedule as the cluster knows it; `cron` as it was given."""

    schedule_id: str
    name: str
    cron: str
    enabled: bool
    max_concurrent: int


class PipelineService(Protocol):
    """A cluster that runs compiled pipelines. Every method raises ServiceError."""

    def submit(self, compiled: Path, name: str, key: str, parameters: Mapping[str, Any]) -> ClusterRun:
        """Starts a run.

        Args:
            compiled: file that `hares compile` wrote for this kind of cluster.
            name: shown beside the run.
            key: idempotency key: a second submission with it gives the first one's run and starts none.
            parameters: values of the pipeline's parameters.
        """

    def run(self, run_id: str) -> ClusterRun:
        """A run with its steps."""

    def runs(self, limit: int) -> list[ClusterRun]:
        """The newest runs, newest first, without steps."""

    def cancel(self, run_id: str) -> None:
        """Asks the cluster to stop a run; one that has ended is left as it is."""

    def create_schedule(
        self, compiled: Path, name: str, cron: str, max_concurrent: int, parameters: Mapping[str, Any]
    ) -> Schedule:
        """Starts runs by the clock. Creating one that is there with the same content gives that one."""

    def schedules(self) -> list[Schedule]:
        """All schedules."""

    def set_enabled(self, schedule_id: str, enabled: bool) -> None:
        """Pauses or resumes a schedule."""

    def delete_schedule(self, schedule_id: str) -> None:
        """Removes a schedule; its runs stay."""
