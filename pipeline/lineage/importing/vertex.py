"""Runs that Vertex AI Pipelines recorded, read from Vertex's metadata service over its REST API.

| Vertex | our store |
|---|---|
| context `system.PipelineRun` | context `pipeline_run`, named by the context's id, which is the pipeline job's |
| context `system.Pipeline` above it | context `pipeline` of its display name; other contexts above it as they are |
| execution | execution of type `schemaTitle` of the node `displayName`; `input:NAME` becomes property `NAME` |
| artifact | artifact; `schemaTitle` `tfx.Model` is type `Model`, ours keep theirs |
| event | event INPUT or OUTPUT, named by the execution's record of which artifact is which argument |
| `metadata` | custom properties |
| `labels` | custom properties `label/NAME` |

Executions and artifacts are listed by the run, page by page. The events come with the run's lineage, or execution by
execution if the run is too large for that (more than 1000 nodes). Artifacts that events name but the run does not list,
such as inputs from earlier runs, are fetched one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from google.cloud.aiplatform_v1.types import artifact as artifact_type
from google.cloud.aiplatform_v1.types import context as context_type
from google.cloud.aiplatform_v1.types import event as event_type
from google.cloud.aiplatform_v1.types import execution as execution_type
from google.cloud.aiplatform_v1.types import lineage_subgraph, metadata_service
from google.protobuf import json_format

from pipeline.lineage.importing.recorded import (
    ImportFailedError,
    RecordedArtifact,
    RecordedContext,
    RecordedEvent,
    RecordedExecution,
    RecordedRun,
    Value,
    properties_of_json,
    type_of_title,
)
from pipeline.lineage.importing.rest import PreconditionError, RestClient
from pipeline.lineage.record import COMPLETE, FAILED, RUN_TYPE, RUNNING, moment_text

T = TypeVar("T")
PIPELINE_RUN, PIPELINE = "system.PipelineRun", "system.Pipeline"
_INPUT = "input:"  # before the names of parameters in an execution's metadata
_BINDING = "vertex-ai-pipelines-artifact-argument-binding"  # {"input:KEY" or "output:KEY": [artifact names]}
_REVISION = "revision"  # label of a run that was compiled with the code of a git revision
_PAGE = 100
_STATES = {
    execution_type.Execution.State.NEW: "NEW",
    execution_type.Execution.State.RUNNING: "RUNNING",
    execution_type.Execution.State.COMPLETE: "COMPLETE",
    execution_type.Execution.State.FAILED: "FAILED",
    execution_type.Execution.State.CACHED: "CACHED",
    execution_type.Execution.State.CANCELLED: "CANCELED",
}


@dataclass(frozen=True)
class VertexStore:
    """A metadata store of Vertex."""

    project: str
    region: str
    store: str = "default"

    @property
    def name(self) -> str:
        """Its resource name."""
        return f"projects/{self.project}/locations/{self.region}/metadataStores/{self.store}"

    @property
    def endpoint(self) -> str:
        """Where Google serves its region."""
        return f"https://{self.region}-aiplatform.googleapis.com"


def vertex_store(text: str) -> VertexStore:
    """The store that PROJECT/REGION or PROJECT/REGION/METADATA_STORE names.

    Raises:
        ImportFailedError: not such a text.
    """
    parts = text.split("/")
    if len(parts) not in (2, 3) or not all(parts) or set(text) & set(" ?#%\\\"'"):
        raise ImportFailedError(
            f"--vertex {text}: expected PROJECT/REGION or PROJECT/REGION/METADATA_STORE, as in my-project/europe-west4"
        )
    return VertexStore(*parts)


def list_runs(client: RestClient, store: VertexStore) -> list[str]:
    """Ids of all runs, the first one first."""
    found = [
        (_moment(context.create_time), _last(context.name))
        for context in _pages(
            client, f"{store.name}/contexts", f'schema_title="{PIPELINE_RUN}"',
            metadata_service.ListContextsResponse, "contexts",
        )
    ]  # fmt: skip
    return [name for _, name in sorted(found)]


def read_run(client: RestClient, store: VertexStore, run: str) -> RecordedRun:
    """Reads a run with its executions and artifacts.

    Args:
        client: of the service.
        store: where to look.
        run: the run's id, or the resource name of its context or pipeline job.

    Raises:
        ImportFailedError: no such run, or no answer.
    """
    name = _last(run)
    context = _get(client, f"{store.name}/contexts/{name}", context_type.Context)
    if context.schema_title != PIPELINE_RUN:
        raise ImportFailedError(
            f"{context.name}: it is a {context.schema_title or 'context'}, not a {PIPELINE_RUN}; "
            "give the id of a pipeline job"
        )
    above = _above(client, context)
    pipelines = [c for c in above if c.schema_title == PIPELINE]
    pipeline = _title(pipelines[0]) if pipelines else name
    inside = f'in_context("{context.name}")'
    # The service's names hold the project's number, even when it was asked by its id.
    root = context.name.rpartition("/contexts/")[0]
    executions = {
        e.name: e
        for e in _pages(
            client, f"{root}/executions", inside, metadata_service.ListExecutionsResponse, "executions"
        )
    }
    artifacts = {
        a.name: a
        for a in _pages(
            client, f"{root}/artifacts", inside, metadata_service.ListArtifactsResponse, "artifacts"
        )
    }
    events = [e for e in _events(client, context.name, list(executions)) if e.execution in executions]
    for key in sorted({e.artifact for e in events} - set(artifacts)):
        artifacts[key] = _get(client, key, artifact_type.Artifact)
    bindings = {key: _bindings(e) for key, e in executions.items()}
    return RecordedRun(
        run=_context(context, RUN_TYPE, name),
        pipeline=pipeline,
        others=tuple(
            _context(c, "pipeline" if c.schema_title == PIPELINE else c.schema_title, _title(c))
            for c in above
        ),
        artifacts=tuple(_artifact(artifacts[key]) for key in sorted(artifacts)),
        executions=tuple(
            _execution(e) for e in sorted(executions.values(), key=lambda e: (_moment(e.create_time), e.name))
        ),
        events=tuple(_event(e, bindings[e.execution]) for e in events),
        facts=_facts(context, list(executions.values())),
    )


def _above(client: RestClient, context: context_type.Context) -> list[context_type.Context]:
    """All contexts above one, each once."""
    found: dict[str, context_type.Context] = {}
    pending = list(context.parent_contexts)
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = _get(client, name, context_type.Context)
            pending += found[name].parent_contexts
    return [found[name] for name in sorted(found)]


def _events(client: RestClient, context: str, executions: list[str]) -> list[event_type.Event]:
    try:
        graph = _get(client, f"{context}:queryContextLineageSubgraph", lineage_subgraph.LineageSubgraph)
        return list(graph.events)
    except PreconditionError:
        found: list[event_type.Event] = []
        for name in sorted(executions):
            path = f"{name}:queryExecutionInputsAndOutputs"
            found += _get(client, path, lineage_subgraph.LineageSubgraph).events
        return found


def _context(context: context_type.Context, type_name: str, name: str) -> RecordedContext:
    # A pipeline's context is the store's own of that name, wherever the pipeline runs.
    shared = context.schema_title == PIPELINE
    return RecordedContext(
        key=context.name,
        type_name=type_name,
        name=name,
        properties={} if shared else _properties(context, _plain(context, "metadata")),
        parents=tuple(context.parent_contexts),
    )


def _execution(execution: execution_type.Execution) -> RecordedExecution:
    values = {
        name.removeprefix(_INPUT): value
        for name, value in _plain(execution, "metadata").items()
        if name != _BINDING
    }
    return RecordedExecution(
        key=execution.name,
        type_name=execution.schema_title or "system.Execution",
        node=_title(execution),
        state=_STATES.get(execution.state, "UNKNOWN"),
        properties=_properties(execution, values),
    )


def _artifact(artifact: artifact_type.Artifact) -> RecordedArtifact:
    return RecordedArtifact(
        key=artifact.name,
        type_name=type_of_title(artifact.schema_title) or "system.Artifact",
        uri=artifact.uri,
        live=artifact.state != artifact_type.Artifact.State.PENDING,
        properties=_properties(artifact, _plain(artifact, "metadata")),
    )


def _event(event: event_type.Event, bindings: Mapping[tuple[bool, str], tuple[str, int]]) -> RecordedEvent:
    output = event.type_ == event_type.Event.Type.OUTPUT
    name, index = bindings.get((output, event.artifact), ("", 0))
    return RecordedEvent(event.execution, event.artifact, output, name, index)


def _bindings(execution: execution_type.Execution) -> dict[tuple[bool, str], tuple[str, int]]:
    """Maps (is an output, artifact) to the step's name for it and its index there."""
    found: dict[tuple[bool, str], tuple[str, int]] = {}
    recorded = _plain(execution, "metadata").get(_BINDING, {})
    for argument, names in recorded.items() if isinstance(recorded, dict) else ():
        side, _, key = argument.partition(":")
        for index, name in enumerate(names):
            found[side == "output", name] = (key, index)
    return found


def _facts(context: context_type.Context, executions: list[execution_type.Execution]) -> dict[str, Value]:
    """The run's outcome, judging by its executions: it ends with the last of them."""
    states = execution_type.Execution.State
    facts: dict[str, Value] = {"target": "vertex", "start": moment_text(_moment(context.create_time))}
    if _REVISION in context.labels:
        facts["git_revision"] = context.labels[_REVISION]
    if not executions or any(e.state in (states.NEW, states.RUNNING) for e in executions):
        return {**facts, "status": RUNNING}
    good = all(e.state in (states.COMPLETE, states.CACHED) for e in executions)
    end = moment_text(max(_moment(e.update_time) for e in executions))
    return {**facts, "status": COMPLETE if good else FAILED, "end": end}


def _properties(node: Any, metadata: Mapping[str, Any]) -> dict[str, Value]:
    """Metadata and labels of a node, its name at Vertex, and when it was made."""
    values = properties_of_json(metadata)
    values.update((f"label/{key}", value) for key, value in node.labels.items())
    values["resource_name"] = node.name
    for name, text in (("display_name", node.display_name), ("description", node.description)):
        if text:
            values[name] = text
    values["created"] = moment_text(_moment(node.create_time))
    return values


def _plain(node: Any, field: str) -> dict[str, Any]:
    """A Struct as plain values."""
    message = type(node).pb(node)
    return dict(json_format.MessageToDict(getattr(message, field))) if message.HasField(field) else {}


def _moment(time: datetime | None) -> datetime:
    """A time of the service; a missing one is the earliest possible."""
    return datetime.fromtimestamp(time.timestamp() if time else 0, tz=timezone.utc)


def _title(node: Any) -> str:
    return str(node.display_name or _last(node.name))


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def _get(client: RestClient, path: str, kind: type[T]) -> T:
    return _parse(kind, client.get(path), path)


def _pages(client: RestClient, path: str, wanted: str, kind: Any, field: str) -> Iterator[Any]:
    token = ""
    while True:
        query: dict[str, str | int] = {"filter": wanted, "pageSize": _PAGE}
        if token:
            query["pageToken"] = token
        page = _parse(kind, client.get(path, query), path)
        yield from getattr(page, field)
        token = page.next_page_token
        if not token:
            return


def _parse(kind: Any, body: bytes, path: str) -> Any:
    try:
        return kind.from_json(body.decode(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise ImportFailedError(
            f"{path}: the answer is no {kind.__name__} ({reason}); is --endpoint Vertex's metadata service?"
        ) from error
