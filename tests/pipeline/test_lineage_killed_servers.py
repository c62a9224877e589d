"""A store's server is killed with -9 while a run is at work, and started again on what it left.

The run ends with one error that names the store, or goes on; what was recorded before is there afterwards, as it was;
and the re-run does nothing again that the store knows to be done. Steps take no time here, so a kill some hundredths of
a second after one falls into what is recorded of it; TFX's launcher, ML Metadata and the servers are real.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.database_servers import KINDS, DatabaseServer, database_server
from kits.three_steps import STEPS, done, three_steps
from pipeline.lineage.connection import StoreAddress, StoreUnreachableError, store_address
from pipeline.lineage.record import RunFacts
from pipeline.local_runner import Outcome, StepResult, run_locally

pytestmark = pytest.mark.slow

PASSWORD = "canary-91ab"
FACTS = RunFacts({"training": {"steps": 1}}, "demo", "local", "key", {})
Act = Callable[[DatabaseServer], threading.Timer | None]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    with database_server(request.param, PASSWORD) as running:
        yield running


@pytest.fixture
def address(server: DatabaseServer) -> StoreAddress:
    return store_address(server.address(), Path())


class Killer:
    """An observer that acts while the step `train` is at work, and starts the server again when a step has failed."""

    def __init__(self, server: DatabaseServer, address: StoreAddress, act: Act | None):
        self.results: list[StepResult] = []
        self.recorded: dict[object, str] = {}
        self._server, self._address, self._act = server, address, act
        self._timer: threading.Timer | None = None

    def begin(self, nodes: list[str]) -> None:
        assert nodes == list(STEPS)

    def start(self, node: str) -> None:
        if node == "train" and self._act is not None:
            self.recorded = recorded(self._address.open())
        if self._timer is not None:  # a fast machine would be at the run's end before a late kill
            self._timer.join()

    def update(self, node: str, fraction: float, text: str) -> None:
        if node == "train" and self._act is not None:
            self._timer = self._act(self._server)

    def finish(self, result: StepResult) -> None:
        self.results.append(result)
        if result.outcome is Outcome.FAILED:
            start_again(self._server)


def kill_and_start(server: DatabaseServer) -> None:
    server.kill()
    server.start()


def kill_after(seconds: float) -> Act:
    """The kill comes while `train` is recorded or, where that was faster, before the next step begins."""

    def start_timer(server: DatabaseServer) -> threading.Timer:
        timer = threading.Timer(seconds, server.kill)
        timer.start()
        return timer

    return start_timer


def start_again(server: DatabaseServer) -> None:
    assert server.process is not None
    server.process.wait(timeout=60)  # the kill may be still to come
    server.start()


def recorded(store: MetadataStore) -> dict[object, str]:
    """All that a store holds. A run's own context is not in it: its end is still to be recorded."""
    executions = store.get_executions()
    return {
        **{("artifact", a.id): a.SerializeToString(deterministic=True).hex() for a in store.get_artifacts()},
        **{("execution", e.id): e.SerializeToString(deterministic=True).hex() for e in executions},
        **{
            ("context", c.id): c.SerializeToString(deterministic=True).hex()
            for c in store.get_contexts()
            if c.type != "pipeline_run"
        },
        **{
            (event.artifact_id, event.execution_id, event.type): event.SerializeToString(
                deterministic=True
            ).hex()
            for event in store.get_events_by_execution_ids([e.id for e in executions])
        },
    }


def complete_steps(store: MetadataStore, pipeline: str) -> set[str]:
    """Steps of a pipeline that the store has a complete execution of, by the raw API."""
    context = store.get_context_by_type_and_name("pipeline", pipeline)
    found = set()
    for execution in store.get_executions_by_context(context.id):
        if execution.last_known_state == pb.Execution.COMPLETE:
            nodes = [c.name for c in store.get_contexts_by_execution(execution.id) if c.type == "node"]
            found |= {name.removeprefix(f"{pipeline}.") for name in nodes}
    return found


def status_of_latest_run(store: MetadataStore) -> str:
    latest = max(store.get_contexts_by_type("pipeline_run"), key=lambda run: run.id)
    return latest.custom_properties["status"].string_value


def disturbed_run(
    folder: Path, pipeline: str, server: DatabaseServer, address: StoreAddress, act: Act
) -> tuple[Killer, StoreUnreachableError | None]:
    """A run with an act in its middle, and the error it ended with; the server runs afterwards, nothing is lost."""
    killer, caught = Killer(server, address, act), None
    try:
        run_locally(three_steps(folder, pipeline), killer, FACTS, address)
    except StoreUnreachableError as error:
        caught = error
        if killer.results[-1].outcome is not Outcome.FAILED:  # lost between two steps, or after the last
            start_again(server)
    assert killer.recorded.items() <= recorded(address.open()).items()
    return killer, caught


def rerun_does_what_was_not_done(
    folder: Path, pipeline: str, server: DatabaseServer, address: StoreAddress
) -> None:
    known, before = complete_steps(address.open(), pipeline), done(folder)
    again = Killer(server, address, None)
    run_locally(three_steps(folder, pipeline), again, FACTS, address)
    outcomes = {result.node: result.outcome for result in again.results}
    assert outcomes == {step: Outcome.CACHED if step in known else Outcome.RAN for step in STEPS}
    assert done(folder) == [*before, *(step for step in STEPS if step not in known)]
    assert complete_steps(address.open(), pipeline) == set(STEPS)


def assert_one_clear_error(error: StoreUnreachableError | None, address: StoreAddress) -> None:
    assert error is not None and str(error).startswith(
        f"{address.shown}: the metadata store does not answer any more"
    )
    assert "the same command goes on after the last step that ended" in str(error)
    assert PASSWORD not in str(error) and "\n" not in str(error)
    assert error.__cause__ is None, "a cause would be printed with all that the library says"


def test_killed_while_a_step_computes_the_run_ends_and_the_next_one_goes_on(
    server: DatabaseServer, address: StoreAddress, tmp_path: Path
) -> None:
    killer, error = disturbed_run(tmp_path, "killed", server, address, DatabaseServer.kill)
    assert_one_clear_error(error, address)
    assert [(r.node, r.outcome.value) for r in killer.results] == [("ingest", "ran"), ("train", "failed")]
    assert complete_steps(address.open(), "killed") == {"ingest"}
    assert status_of_latest_run(address.open()) == "failed", "it was back when the run's end came"
    rerun_does_what_was_not_done(tmp_path, "killed", server, address)
    assert done(tmp_path) == ["ingest", "train", "train", "score"]


@pytest.mark.parametrize(
    "server", ["mariadb", pytest.param("postgresql", marks=pytest.mark.full)], indirect=True
)
def test_back_before_the_step_ends_the_run_goes_on(
    server: DatabaseServer, address: StoreAddress, tmp_path: Path
) -> None:
    killer, error = disturbed_run(tmp_path, "back", server, address, kill_and_start)
    assert error is None and [result.outcome for result in killer.results] == [Outcome.RAN] * 3
    rerun_does_what_was_not_done(tmp_path, "back", server, address)
    assert done(tmp_path) == list(STEPS)


@pytest.mark.parametrize(
    "seconds",
    [0.05, *(pytest.param(s, marks=pytest.mark.full) for s in (0.0, 0.01, 0.02, 0.08, 0.12, 0.2, 0.3, 0.5))],
)
def test_killed_while_a_step_is_recorded_it_is_recorded_whole_or_not_at_all(
    server: DatabaseServer, address: StoreAddress, tmp_path: Path, seconds: float
) -> None:
    """Where in the publishing of `train`, or right after it, the kill falls is for the machine to say."""
    pipeline = f"recorded{seconds}"
    _, error = disturbed_run(tmp_path, pipeline, server, address, kill_after(seconds))
    assert_one_clear_error(error, address)
    store = address.open()
    for execution in store.get_executions():
        events = store.get_events_by_execution_ids([execution.id])
        outputs = [e for e in events if e.type == pb.Event.OUTPUT]
        complete = execution.last_known_state in (pb.Execution.COMPLETE, pb.Execution.CACHED)
        assert len(outputs) == int(complete), "an execution and what it made are recorded at once"
    rerun_does_what_was_not_done(tmp_path, pipeline, server, address)
