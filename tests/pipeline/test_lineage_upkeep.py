"""`hares metadata check` on what crashes leave, and `migrate` of random stores, asked the same questions afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from cli.commands.metadata import command
from cli.errors import CommandError, ExitCode
from kits.lineage_stores import RUNNING, StoreWriter, memory_store, stores
from pipeline.gc import find_garbage
from pipeline.keeping import Keeping, other_stores
from pipeline.lineage.check import check, mend
from pipeline.lineage.connection import sqlite_config
from pipeline.lineage.graph import downstream, upstream
from pipeline.lineage.migrate import migrate
from pipeline.lineage.record import process_state, properties_of_facts, recorded_of, this_process
from pipeline.lineage.runs import find_run
from pipeline.workspace import Workspace


def ended_process() -> str:
    """A process of this machine that has ended, as a run records one."""
    script = "from pipeline.lineage.record import process_state, this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_processes_are_known_by_host_number_and_start() -> None:
    mine = this_process()
    host, pid, start = mine.split(" ")
    assert process_state(mine) == "live" and process_state(ended_process()) == "gone"
    assert process_state(f"{host} {pid} {int(start) + 1}") == "gone", (
        "the number was given to another process"
    )
    assert process_state(f"elsewhere.{host} {pid} {start}") == process_state("") == "unknown"


def test_what_a_crash_left_is_found_and_mended(tmp_path: Path) -> None:
    writer = StoreWriter()
    root = tmp_path / "artifacts"
    kept, lost = root / "trainer" / "model" / "1", root / "trainer" / "model" / "2"
    partial = root / "trainer" / "model" / "3"
    for folder in (kept, partial, root / "trainer" / ".system" / "4"):
        folder.mkdir(parents=True)
    writer.context("pipeline_run", "dead", status="running", process=ended_process())
    ids = [writer.artifact("Model", str(folder)) for folder in (kept, lost)]
    writer.artifact("PushedModel", str(root / "not pushed"), pushed=0)
    writer.artifact("Model", "/of/another/machine/artifacts/trainer/model/1")
    writer.artifact("Model", "gs://bucket/model")
    step = writer.step("dead", "trainer", [], [], RUNNING)
    workspace = Workspace(tmp_path)
    found = check(Keeping(workspace, writer.store))
    assert [(f.kind, f.what, f.can_mend) for f in found] == [
        ("run", "dead", True),
        ("execution", str(step), True),
        ("artifact", str(ids[1]), True),
        ("files", str(partial), True),
    ]
    # Looked at again: the run is known to have failed, so that none is at work any more.
    assert (
        len(mend(Keeping(workspace, writer.store), found)) == 4
        and check(Keeping(workspace, writer.store)) == []
    )
    assert find_run(writer.store, "dead").facts["status"] == "failed"
    assert writer.store.get_executions_by_id([step])[0].last_known_state == pb.Execution.FAILED
    assert not partial.exists() and kept.is_dir()
    (in_trash,) = workspace.trash.iterdir()
    assert (in_trash / partial.relative_to(tmp_path)).is_dir()
    assert [(g.kind, g.path) for g in find_garbage(Keeping(workspace, writer.store), 2e9)] == [
        ("trash", in_trash)
    ]


def test_a_run_that_may_be_alive_is_left_alone(tmp_path: Path) -> None:
    writer = StoreWriter()
    root = tmp_path / "artifacts"
    written = root / "trainer" / "model" / "9"
    written.mkdir(parents=True)
    writer.context("pipeline_run", "mine", status="running", process=this_process())
    writer.context("pipeline_run", "elsewhere", status="running", process="other.host 1 2")
    writer.step("mine", "trainer", [], [], RUNNING)
    far = writer.step("elsewhere", "trainer", [], [], RUNNING)
    old = writer.step("of an earlier version", "trainer", [], [], RUNNING)
    keeping = Keeping(Workspace(tmp_path), writer.store)
    found = check(keeping)
    assert {(f.kind, f.what) for f in found} == {
        ("run", "elsewhere"), ("execution", str(far)), ("execution", str(old)), ("files", str(written)),
    }  # fmt: skip
    assert mend(keeping, found) == [] and written.is_dir()
    assert find_garbage(keeping, 2e9) == []


def test_files_that_another_store_may_stand_for_are_left_alone(tmp_path: Path) -> None:
    """With the wrong --metadata every artifact of a workspace looks like what a crash left."""
    place = Workspace(tmp_path)
    theirs = place.root / "trainer" / "model" / "1"
    theirs.mkdir(parents=True)
    for address in ("mysql://hares@127.0.0.1:1/hares", str(place.store)):
        place.note_store(address)
    writer = StoreWriter()
    keeping = Keeping(place, writer.store, other_stores(place, str(place.store)))
    found = check(keeping)
    assert [(f.kind, f.can_mend) for f in found] == [("files", False)]
    assert "mysql://hares@127.0.0.1:1/hares" in found[0].detail
    assert mend(keeping, found) == [] and theirs.is_dir()
    assert find_garbage(keeping, 2e9) == []


def test_a_workspace_is_not_mended_under_a_run(tmp_path: Path) -> None:
    MetadataStore(sqlite_config(tmp_path / "metadata.sqlite")).get_artifacts()
    with Workspace(tmp_path).held():
        done = CliRunner().invoke(
            command, ["check", "--workspace", str(tmp_path), "--mend"], standalone_mode=False
        )
    assert isinstance(done.exception, CommandError) and done.exception.code is ExitCode.BUSY
    assert "in use by" in str(done.exception)


def identities(store: MetadataStore) -> dict[int, str]:
    """What an artifact is, whatever its id: URIs of the random stores are all different."""
    return {artifact.id: artifact.uri for artifact in store.get_artifacts()}


def answers(store: MetadataStore) -> dict[str, tuple[object, ...]]:
    names = identities(store)
    nodes = {
        execution.id: tuple(sorted(c.name for c in store.get_contexts_by_execution(execution.id)))
        for execution in store.get_executions()
    }
    return {
        uri: tuple(
            (sorted(names[i] for i in graph.artifacts), sorted(nodes[i] for i in graph.steps))
            for graph in (upstream(store, [artifact_id]), downstream(store, [artifact_id]))
        )
        for artifact_id, uri in names.items()
    }


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(stores())
def test_a_migrated_store_answers_as_the_first(writer: StoreWriter) -> None:
    target = memory_store()
    # Ids in use: what is copied gets others.
    other = StoreWriter(target)
    other.step("another", "node", [], [("out", other.artifact("Model", "/another"))])
    done = migrate(writer.store, target, "source")
    assert done.artifacts == len(writer.store.get_artifacts())
    assert done.executions == len(writer.store.get_executions())
    mine = answers(target)
    assert mine.pop("/another") and mine == answers(writer.store)
    again = migrate(writer.store, target, "source")
    assert (again.contexts, again.artifacts, again.executions, again.events) == (0, 0, 0, 0)
    assert len(target.get_artifacts()) == done.artifacts + 1


@pytest.mark.parametrize("packed", [True, False], ids=["facts", "earlier version"])
def test_ids_in_properties_are_mapped_and_a_cut_migration_goes_on(packed: bool) -> None:
    writer = StoreWriter()
    model = writer.artifact("Model", "/model")
    report = writer.artifact("components.ProbeReport", "/report")
    blessing = writer.artifact("ModelBlessing", "/blessing", current_model_id=model)
    facts = {"status": "complete", "end": "x", "report_id": str(report)}
    writer.context("pipeline_run", "run1", **(properties_of_facts(facts) if packed else facts))
    writer.step("run1", "evaluator", [("model", model)], [("report", report), ("blessing", blessing)])
    target = memory_store()
    StoreWriter(target).artifact("Model", "/another")

    class Cut(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise Cut

    whole = target.put_lineage_subgraph
    target.put_lineage_subgraph = fail
    with pytest.raises(Cut):
        migrate(writer.store, target, "source")
    target.put_lineage_subgraph = whole
    done = migrate(writer.store, target, "source")
    assert (done.artifacts, done.executions, done.events) == (0, 1, 3)
    by_uri = {artifact.uri: artifact for artifact in target.get_artifacts()}
    assert by_uri["/blessing"].custom_properties["current_model_id"].int_value == by_uri["/model"].id != model
    run = target.get_context_by_type_and_name("pipeline_run", "run1")
    assert recorded_of(run) == {**facts, "report_id": str(by_uri["/report"].id)} != facts
    assert {a.uri for a in target.get_artifacts_by_context(run.id)} == {"/model", "/report", "/blessing"}
