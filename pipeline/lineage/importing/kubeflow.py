"""Runs that Kubeflow Pipelines recorded, read from its ML Metadata server over gRPC.

What Kubeflow's driver and launcher write (kubeflow/pipelines, backend/src/v2/metadata/client.go):

| Kubeflow | our store |
|---|---|
| context `system.PipelineRun`, named by the run's id | context `pipeline_run` of that name |
| context `system.Pipeline` above it | context `pipeline` of its name |
| `system.ContainerExecution`, `system.ImporterExecution` | execution of the node `task_name`, `_` for `-` |
| its `inputs`, a structure | the properties of these names |
| `system.DAGExecution`, the graph itself | facts and settings, from the parameter `recorded` among its `inputs` |
| artifact, of the type that its schema's title names | artifact; title `tfx.Model` is type `Model`, ours keep theirs |
| event, with the step's name for the artifact | event INPUT or OUTPUT of that name |
| output `executor-logs`, which the launcher adds | nothing |

Every number is recorded as a double; integers become integers again. Paths in properties are those of a pod, where the
launcher puts a bucket's files; they become the bucket's addresses.

ML Metadata does not know whether a run has ended: the graph's own execution stays RUNNING, and a step that has not
begun leaves no trace. So a run has ended here when a step has failed, or when none is running and the last, the pusher,
is done. A pod that is killed leaves its execution RUNNING, and the run counts as running.

An artifact is identified by its type and address. What an importer brings in is the store's own artifact of that type
and address, if there is one: so a run is linked to the one that trained its first model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from google.protobuf import json_format
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import CURRENT_MODEL
from pipeline.lineage.importing.recorded import (
    NOT_RECORDED,
    ImportFailedError,
    NothingToImportError,
    RecordedArtifact,
    RecordedContext,
    RecordedEvent,
    RecordedExecution,
    RecordedRun,
    Value,
    json_object,
    properties_of_json,
    type_of_title,
)
from pipeline.lineage.record import COMPLETE, FAILED, RECORDED, RUN_TYPE, RUNNING, moment_text
from workarounds.ml_metadata import nodes

PIPELINE_RUN, PIPELINE = "system.PipelineRun", "system.Pipeline"
_GRAPH, _IMPORTER = "system.DAGExecution", "system.ImporterExecution"
_LOGS = "executor-logs"
_LAST = "pusher"
# Of an execution, beside its parameters.
_OF_POD = ("pod_name", "namespace", "image", "cached_execution_id")
_SESSION = "store_session_info"  # how Kubeflow's own pages reach the bucket
# Where the launcher puts a bucket's files in a pod (LocalPathForURI in component/launcher_v2.go).
_FOLDERS = {"/gcs/": "gs://", "/s3/": "s3://", "/minio/": "minio://"}
_PATHS = (CURRENT_MODEL, "report")
_DONE = ("COMPLETE", "CACHED")
# How the ids of our pipeline's nodes begin; a schedule's own step, "watch", is in no pipeline.
_KINDS = ("ingest", "base", "schema", "statistics", "transform", "trainer", "embed", "evaluator", "pusher")
_CARRIED = (*NOT_RECORDED, "code")


def list_runs(store: MetadataStore) -> list[str]:
    """Ids of all runs, the first one first."""
    contexts = nodes(store, "context", PIPELINE_RUN)
    return [c.name for c in sorted(contexts, key=lambda c: (c.create_time_since_epoch, c.id))]


def read_run(store: MetadataStore, run: str) -> RecordedRun:
    """Reads a run with its executions and artifacts.

    Args:
        store: Kubeflow's.
        run: the run's id.

    Raises:
        ImportFailedError: there is no such run.
        NothingToImportError: no step of it has begun, or none is of our pipeline: a Kubeflow has runs of other people's
            pipelines, and of the schedules that look for spans.
    """
    context = store.get_context_by_type_and_name(PIPELINE_RUN, run)
    if context is None:
        raise ImportFailedError(
            f"--run {run}: Kubeflow's ML Metadata has no {PIPELINE_RUN} of this name; give a run's id, as "
            "`hares runs list` shows it"
        )
    everything = store.get_executions_by_context(context.id)
    found = [e for e in everything if e.type != _GRAPH]
    executions = {e.id: _execution(e, run) for e in sorted(found, key=lambda e: e.id)}
    if not executions:
        raise NothingToImportError(f"--run {run}: no step of it has begun; import it later")
    carried, config = _carried(e for e in everything if e.name == f"run/{run}")
    if not carried and not any(e.node.partition("_")[0] in _KINDS for e in executions.values()):
        raise NothingToImportError(f"--run {run}: no step of it is one of this pipeline's")
    events = [e for e in store.get_events_by_execution_ids(list(executions)) if _name(e)[0] != _LOGS]
    imports = {
        event.artifact_id
        for event in events
        if event.type == pb.Event.OUTPUT and executions[event.execution_id].type_name == _IMPORTER
    }
    kept = store.get_artifacts_by_id(sorted({event.artifact_id for event in events}))
    artifacts = {a.id: _artifact(a, adopts=a.id in imports) for a in sorted(kept, key=lambda a: a.id)}
    pipelines = [c.name for c in store.get_parent_contexts_by_context(context.id) if c.type == PIPELINE]
    return RecordedRun(
        run=RecordedContext(f"kubeflow:{run}", RUN_TYPE, run, _of_run(context)),
        pipeline=pipelines[0] if pipelines else run,
        # Of two at one address, as an importer makes them again in each run, the last counts.
        artifacts=tuple({a.key: a for a in artifacts.values()}.values()),
        executions=tuple(executions.values()),
        events=tuple(
            RecordedEvent(
                executions[event.execution_id].key,
                artifacts[event.artifact_id].key,
                event.type == pb.Event.OUTPUT,
                *_name(event),
            )
            for event in events
            if event.artifact_id in artifacts
        ),
        facts={**carried, **_facts(context, found, executions.values())},
        config=config,
    )


def _carried(graphs: Iterable[pb.Execution]) -> tuple[dict[str, Value], dict[str, Any]]:
    """Facts and settings that the compiled file brought, from the parameters on the whole graph's execution."""
    facts: dict[str, Value] = {}
    config: dict[str, Any] = {}
    for graph in graphs:
        inputs = _plain(graph.custom_properties).get("inputs") or {}
        values = json_object(inputs.get(RECORDED))
        facts.update((name, values[name]) for name in _CARRIED if isinstance(values.get(name), str))
        if isinstance(values.get("config"), dict):
            config = values["config"]
    return facts, config


def _execution(execution: pb.Execution, run: str) -> RecordedExecution:
    given = _plain(execution.custom_properties)
    inputs = given.get("inputs") or {}
    node = str(given.get("task_name") or given.get("display_name") or execution.id).replace("-", "_")
    about = {name: given[name] for name in _OF_POD if given.get(name)}
    return RecordedExecution(
        key=f"kubeflow:{run}/{node}/{execution.id}",
        type_name=execution.type,
        node=node,
        state=pb.Execution.State.Name(execution.last_known_state),
        properties=properties_of_json({**about, **inputs}),
    )


def _artifact(artifact: pb.Artifact, adopts: bool) -> RecordedArtifact:
    values = _plain(artifact.custom_properties)
    values.pop(_SESSION, None)
    for name in _PATHS:
        if isinstance(path := values.get(name), str):
            values[name] = _address(path)
    kind = type_of_title(artifact.type)
    return RecordedArtifact(
        key=f"kubeflow:{kind}:{artifact.uri}",
        type_name=kind,
        uri=artifact.uri,
        live=artifact.state != pb.Artifact.PENDING,
        properties=properties_of_json(values),
        adopts=adopts,
    )


def _address(path: str) -> str:
    for folder, beginning in _FOLDERS.items():
        if path.startswith(folder):
            return beginning + path.removeprefix(folder)
    return path


def _of_run(context: pb.Context) -> dict[str, Value]:
    values = _plain(context.custom_properties)
    return properties_of_json(
        {name: values[name] for name in ("namespace", "pipeline_root") if values.get(name)}
    )


def _facts(
    context: pb.Context, found: Iterable[pb.Execution], steps: Iterable[RecordedExecution]
) -> dict[str, Value]:
    start = moment_text(_moment(context.create_time_since_epoch))
    facts: dict[str, Value] = {"target": "kubeflow", "start": start}
    states: dict[str, str] = {}
    for step in steps:  # by their ids: of a step that Kubeflow began again the last attempt counts
        states[step.node] = step.state
    failed = "FAILED" in states.values()
    if not failed and (states.get(_LAST) not in _DONE or not all(s in _DONE for s in states.values())):
        return {**facts, "status": RUNNING}
    end = moment_text(max(_moment(e.last_update_time_since_epoch) for e in found))
    return {**facts, "status": FAILED if failed else COMPLETE, "end": end}


def _plain(properties: Mapping[str, pb.Value]) -> dict[str, Any]:
    """Properties as plain values; a list or structure is inside another, under `list` or `struct`."""
    plain: dict[str, Any] = {}
    for name, value in properties.items():
        if value.WhichOneof("value") == "struct_value":
            inside = json_format.MessageToDict(value.struct_value)
            only = next(iter(inside)) if len(inside) == 1 else ""
            plain[name] = inside[only] if only in ("list", "struct") and name != "inputs" else inside
        else:
            plain[name] = getattr(value, value.WhichOneof("value") or "string_value")
    return plain


def _name(event: pb.Event) -> tuple[str, int]:
    """The step's name for an artifact; its place in a list is not recorded."""
    return (event.path.steps[0].key if event.path.steps else ""), 0


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=timezone.utc)
