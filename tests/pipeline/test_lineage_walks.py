"""trace and impact against a second walk over the raw ML Metadata API, on 200 random stores."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.lineage_stores import StoreWriter, stores
from pipeline.lineage.graph import Origin, downstream, in_order, origins, upstream
from pipeline.lineage.impact import impact_of_artifact
from pipeline.lineage.targets import LineageTarget
from pipeline.lineage.trace import trace


def artifact_ids(store: MetadataStore) -> list[int]:
    return sorted(artifact.id for artifact in store.get_artifacts())


def made_by(store: MetadataStore, artifact_id: int) -> Iterator[int]:
    """One event at a time, with no thought of speed: whoever wrote the artifact and was not a copy of another."""
    for event in store.get_events_by_artifact_ids([artifact_id]):
        if event.type == pb.Event.OUTPUT:
            (execution,) = store.get_executions_by_id([event.execution_id])
            if execution.last_known_state != pb.Execution.CACHED:
                yield execution.id


def walk_back(store: MetadataStore, artifact_id: int, steps: set[int], artifacts: set[int]) -> None:
    if artifact_id in artifacts:
        return
    artifacts.add(artifact_id)
    for execution_id in made_by(store, artifact_id):
        steps.add(execution_id)
        for event in store.get_events_by_execution_ids([execution_id]):
            if event.type == pb.Event.INPUT:
                walk_back(store, event.artifact_id, steps, artifacts)


def walk_on(store: MetadataStore, artifact_id: int, steps: set[int], artifacts: set[int]) -> None:
    if artifact_id in artifacts:
        return
    artifacts.add(artifact_id)
    for event in store.get_events_by_artifact_ids([artifact_id]):
        if event.type == pb.Event.INPUT:
            steps.add(event.execution_id)
            for other in store.get_events_by_execution_ids([event.execution_id]):
                if other.type == pb.Event.OUTPUT:
                    walk_on(store, other.artifact_id, steps, artifacts)


def runs_of(store: MetadataStore, execution_id: int) -> set[str]:
    return {c.name for c in store.get_contexts_by_execution(execution_id) if c.type == "pipeline_run"}


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(stores(), st.data())
def test_walks_agree_with_the_raw_api(writer: StoreWriter, data: st.DataObject) -> None:
    store = writer.store
    start = data.draw(st.sampled_from(artifact_ids(store)))
    steps: set[int] = set()
    artifacts: set[int] = set()
    walk_back(store, start, steps, artifacts)
    graph = upstream(store, [start])
    assert set(graph.steps) == steps and set(graph.artifacts) == artifacts

    (artifact,) = store.get_artifacts_by_id([start])
    found = trace(store, LineageTarget(artifact))
    assert {traced.step.id for traced in found.steps} == steps
    for traced in found.steps:
        assert runs_of(store, traced.step.id) == {traced.run_id}
    beside = {
        e.artifact_id for e in store.get_events_by_execution_ids(sorted(steps)) if e.type == pb.Event.OUTPUT
    }
    kinds = {a.id: a.type for a in store.get_artifacts()}
    assert {m.id for m in found.manifests} == {
        i for i in artifacts | beside if kinds[i] == "components.AudioManifest"
    }

    steps, artifacts = set(), set()
    walk_on(store, start, steps, artifacts)
    graph = downstream(store, [start])
    assert set(graph.steps) == steps and set(graph.artifacts) == artifacts
    impact = impact_of_artifact(store, start)
    assert set(impact.graph.artifacts) == artifacts
    assert set(impact.runs) == {run for step in steps for run in runs_of(store, step)}
    for i in artifacts:
        makers = {run for step in made_by(store, i) for run in runs_of(store, step)}
        assert impact.made_in.get(i, "") in (makers or {""})


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(stores())
def test_steps_come_after_those_they_read_from(writer: StoreWriter) -> None:
    graph = upstream(writer.store, artifact_ids(writer.store))
    seen: set[int] = set()
    made = {link.artifact_id for step in graph.steps.values() for link in step.outputs}
    ordered = in_order(graph)
    assert {step.id for step in ordered} == set(graph.steps) and len(ordered) == len(graph.steps)
    for step in ordered:
        assert {link.artifact_id for link in step.inputs} & made <= seen
        seen |= {link.artifact_id for link in step.outputs}


def test_more_starts_than_ml_metadata_answers_for_at_a_time() -> None:
    writer = StoreWriter()
    source = writer.artifact("Examples", "/e")
    ids = [writer.step(f"run{i}", "embed", [("examples", source)], [], named=bool(i % 2)) for i in range(130)]
    executions = writer.store.get_executions_by_id(ids)
    assert origins(writer.store, executions) == {
        i: Origin("embed", (f"run{number}",)) for number, i in enumerate(ids)
    }
    assert len(impact_of_artifact(writer.store, source).runs) == 130
