"""A loopback server that speaks the REST API of Vertex's metadata service, for tests of the import.

Its answers are the JSON of Google's own message types. It pages as the service does, refuses requests without the
token, and can be told to fail: answers to give first, a connection to drop, a request to hold for ever.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from google.cloud.aiplatform_v1.types import (
    artifact,
    context,
    event,
    execution,
    lineage_subgraph,
    metadata_service,
)
from google.protobuf import json_format
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

TOKEN = "ya29.canary-token"
ROOT = "projects/123456789/locations/europe-west4/metadataStores/default"
BINDING = "vertex-ai-pipelines-artifact-argument-binding"
BEGIN = datetime(2026, 11, 20, 8, tzinfo=timezone.utc)
State, Live, Kind = execution.Execution.State, artifact.Artifact.State, event.Event.Type
Links = dict[str, str]


@dataclass
class Content:
    """What the service holds."""

    contexts: dict[str, context.Context] = field(default_factory=dict)
    executions: dict[str, execution.Execution] = field(default_factory=dict)
    artifacts: dict[str, artifact.Artifact] = field(default_factory=dict)
    events: list[event.Event] = field(default_factory=list)
    inside: dict[str, set[str]] = field(default_factory=dict)  # context to what it holds

    def run(self, name: str, number: int) -> str:
        """A run's contexts, and the execution that stands for the whole of it."""
        for key, title, shown, parents in (
            ("hares-context", "system.Pipeline", "hares", []),
            ("nightly", "system.Experiment", "nightly", []),
            (name, "system.PipelineRun", name, ["hares-context", "nightly"]),
        ):
            full = f"{ROOT}/contexts/{key}"
            self.contexts.setdefault(
                full,
                context.Context(
                    name=full, display_name=shown, schema_title=title, schema_version="0.0.1",
                    create_time=BEGIN + timedelta(days=number), labels={"revision": f"{number:040x}"},
                    parent_contexts=[f"{ROOT}/contexts/{p}" for p in parents],
                    metadata={"note": "nightly"} if title.endswith("Run") else {},
                ),
            )  # fmt: skip
        run = f"{ROOT}/contexts/{name}"
        self.inside[run] = set()
        self.step(run, f"{name}-dag", name, {}, {}, title="system.Run", minute=0)
        return run

    def artifact(self, key: str, title: str, **metadata: Any) -> str:
        full = f"{ROOT}/artifacts/{key}"
        self.artifacts[full] = artifact.Artifact(
            name=full, display_name=key, uri=f"gs://bucket/{key}", schema_title=title, state=Live.LIVE,
            metadata=metadata, create_time=BEGIN,
        )  # fmt: skip
        return full

    def step(
        self, run: str, key: str, node: str, inputs: Links, outputs: Links, state: Any = State.COMPLETE,
        title: str = "system.ContainerExecution", minute: int = 1, **parameters: Any,
    ) -> None:  # fmt: skip
        full = f"{ROOT}/executions/{key}"
        begin = self.contexts[run].create_time + timedelta(minutes=minute)
        binding = {
            **{f"input:{name}": [artifact_name] for name, artifact_name in inputs.items()},
            **{f"output:{name}": [artifact_name] for name, artifact_name in outputs.items()},
        }
        values = {f"input:{name}": value for name, value in parameters.items()}
        self.executions[full] = execution.Execution(
            name=full, display_name=node, schema_title=title, state=state, create_time=begin,
            update_time=begin + timedelta(seconds=30), metadata={**values, BINDING: binding},
        )  # fmt: skip
        for kind, links in ((Kind.INPUT, inputs), (Kind.OUTPUT, outputs)):
            for artifact_name in links.values():
                self.events.append(event.Event(artifact=artifact_name, execution=full, type_=kind))
                if kind == Kind.OUTPUT:
                    self.inside[run].add(artifact_name)
        self.inside[run].add(full)


def two_runs() -> Content:
    """Two runs of one pipeline: the second takes ingestion from the cache and has the first as its baseline."""
    content = Content()
    examples = content.artifact(
        "examples", "tfx.Examples", manifest="gs://bucket/manifest", span=3, content_digest="d0"
    )
    manifest = content.artifact("manifest", "components.AudioManifest", used=7, rejected=1, span="3")
    baseline: Links = {}
    for number in (1, 2):
        run = content.run(f"hares-2026112{number}", number)
        cached = State.COMPLETE if number == 1 else State.CACHED
        content.step(
            run, f"ingest{number}", "ingest_esc50", {}, {"examples": examples, "manifest": manifest}, cached
        )
        model = content.artifact(
            f"model{number}", "tfx.Model", encoder="sf_nfnet_f0", objective="simclr", steps=1000 * number, seed=0,
            step_hours=2.5, weights_digest=f"w{number}",
        )  # fmt: skip
        content.step(
            run, f"train{number}", "trainer", {"examples": examples}, {"model": model}, minute=2,
            custom_config=json.dumps({"training": {"steps": 1000 * number}, "frontend": {"mel_bins": 80},
                                      "num_classes": 0, "code_digest": f"c{number}"}),
        )  # fmt: skip
        embeddings = content.artifact(f"embeddings{number}", "components.Embeddings", task="esc50")
        content.step(
            run, f"embed{number}", "embed_esc50", {"model": model, "examples": examples},
            {"embeddings": embeddings}, minute=3, task="esc50", code_digest="e",
        )  # fmt: skip
        report = content.artifact(
            f"report{number}", "components.ProbeReport", **{
                "esc50/score": 0.5 * number, "esc50/low": 0.45 * number, "esc50/clips": 2000, "hares": 0.25 * number,
                "domain/environment": 0.5 * number, "encoder": "sf_nfnet_f0",
            },
        )  # fmt: skip
        blessing = content.artifact(
            f"blessing{number}", "tfx.ModelBlessing", blessed=1, reasons="better than chance; better than before",
            current_model=f"/gcs/bucket/model{number}", current_model_id="4611686018427387904", report=f"gs://bucket/report{number}",
        )  # fmt: skip
        content.step(
            run, f"evaluate{number}", "evaluator", {"model": model, "embeddings_esc50": embeddings, **baseline},
            {"report": report, "blessing": blessing}, minute=4, baseline="gs://bucket/report1" if baseline else "",
            protocol=json.dumps({"max_steps": 100}), run_key=f"k{number}",
        )  # fmt: skip
        baseline = {"baseline": report}
    return content


@dataclass
class Service:
    """The running server.

    Attributes:
        url: its address.
        content: what it holds.
        page: it answers with at most so many of a list.
        graph_limit: a run with more nodes has no lineage in one answer.
        first: answers to give before any other: a status, or (status, seconds of Retry-After).
        drop_after: requests after which every connection is dropped without an answer; -1 for none.
        hold_after: as `drop_after`, but nothing is ever answered, and `held` is set.
        requests: paths that were asked for.
    """

    url: str
    content: Content
    page: int = 3
    graph_limit: int = 1000
    first: list[int | tuple[int, int]] = field(default_factory=list)
    drop_after: int = -1
    hold_after: int = -1
    token: str = TOKEN
    requests: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serving(content: Content) -> Iterator[Service]:
    """The server, on a port of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            service.requests.append(self.path)
            if 0 <= service.hold_after < len(service.requests):
                service.held.set()
                service.release.wait(60)
                self.close_connection = True
                return
            if 0 <= service.drop_after < len(service.requests):
                self.close_connection = True
                return
            headers: dict[str, str] = {}
            if service.first:
                told = service.first.pop(0)
                status, after = told if isinstance(told, tuple) else (told, None)
                body = problem(status, "TOLD_TO")
                headers = {} if after is None else {"Retry-After": str(after)}
            elif self.headers.get("Authorization") != f"Bearer {service.token}":
                status, body = 401, problem(401, "UNAUTHENTICATED")
            else:
                status, body = answer(service, self.path)
            data = body.encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service = Service(f"http://127.0.0.1:{server.server_port}", content)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield service
    finally:
        service.release.set()
        server.shutdown()
        server.server_close()


def answer(service: Service, path: str) -> tuple[int, str]:
    parts = urlsplit(path)
    name = unquote(parts.path).removeprefix("/v1/").replace("projects/my-project/", "projects/123456789/")
    query = {key: values[0] for key, values in parse_qs(parts.query).items()}
    content = service.content
    name, _, verb = name.partition(":")
    if verb == "queryContextLineageSubgraph":
        inside = content.inside[name]
        if len(inside) > service.graph_limit:
            return 400, problem(400, "FAILED_PRECONDITION")
        return 200, written(subgraph(content, inside))
    if verb == "queryExecutionInputsAndOutputs":
        return 200, written(subgraph(content, {name}))
    kind = name.rpartition("/")[2]
    if kind in ("contexts", "executions", "artifacts"):
        return 200, written(listed(service, kind, query))
    for nodes in (content.contexts, content.executions, content.artifacts):
        if name in nodes:
            return 200, written(nodes[name])
    return 404, problem(404, "NOT_FOUND")


def listed(service: Service, kind: str, query: dict[str, str]) -> Any:
    content, wanted = service.content, query["filter"]
    nodes: list[Any] = sorted(getattr(content, kind).values(), key=lambda node: node.name, reverse=True)
    inside = re.fullmatch(r'in_context\("(.*)"\)', wanted)
    title = re.fullmatch(r'schema_title="(.*)"', wanted)
    assert inside or title, wanted
    nodes = [
        n for n in nodes if (n.name in content.inside[inside[1]] if inside else n.schema_title == title[1])
    ]  # type: ignore[index]
    begin = int(query.get("pageToken", "page-0").removeprefix("page-"))
    end = begin + min(service.page, int(query["pageSize"]))
    response = {
        "contexts": metadata_service.ListContextsResponse,
        "executions": metadata_service.ListExecutionsResponse,
        "artifacts": metadata_service.ListArtifactsResponse,
    }[kind]
    return response(**{kind: nodes[begin:end]}, next_page_token=f"page-{end}" if end < len(nodes) else "")


def subgraph(content: Content, inside: set[str]) -> Any:
    """As the service: nodes of the context, and the events of its executions."""
    return lineage_subgraph.LineageSubgraph(
        artifacts=[a for name, a in content.artifacts.items() if name in inside],
        executions=[e for name, e in content.executions.items() if name in inside],
        events=[e for e in content.events if e.execution in inside],
    )


def written(message: Any) -> str:
    """A message in the JSON of the REST API."""
    text: str = type(message).to_json(
        message,
        use_integers_for_enums=False,
        including_default_value_fields=False,
        preserving_proto_field_name=False,
    )
    return text


def problem(code: int, status: str) -> str:
    return json.dumps({"error": {"code": code, "message": f"told {status}\nmore", "status": status}})


def assert_whole(store: MetadataStore, content: Content, *runs: str) -> None:
    """The store against the server's own content, node by node, through the raw API."""
    inside = {name for run in runs for name in content.inside[f"{ROOT}/contexts/{run}"]}
    events = [e for e in content.events if e.execution in inside]
    inside |= {e.artifact for e in events}
    artifacts = {a.external_id: a for a in store.get_artifacts()}
    executions = {e.external_id: e for e in store.get_executions()}
    assert set(artifacts) == inside & set(content.artifacts) and len(artifacts) == len(store.get_artifacts())
    assert set(executions) == inside & set(content.executions) and len(executions) == len(
        store.get_executions()
    )
    for name, ours in artifacts.items():
        theirs = content.artifacts[name]
        assert ours.uri == theirs.uri and ours.state == pb.Artifact.LIVE
        assert ours.type == theirs.schema_title.removeprefix("tfx.")
        assert_properties(ours, theirs, skip={"current_model_id"})
    for name, ours in executions.items():
        theirs = content.executions[name]
        assert ours.type == theirs.schema_title
        assert pb.Execution.State.Name(ours.last_known_state) == State(theirs.state).name
        assert_properties(ours, theirs, skip={BINDING})
    names = {a.id: key for key, a in artifacts.items()}
    steps = {e.id: key for key, e in executions.items()}
    written = [
        (names[e.artifact_id], steps[e.execution_id], pb.Event.Type.Name(e.type), e.path.steps[0].key)
        for e in store.get_events_by_execution_ids([e.id for e in executions.values()])
    ]
    wanted = []
    for e in events:
        binding = struct(content.executions[e.execution])[BINDING]
        side = e.type_.name
        (key,) = [k for k, v in binding.items() if v == [e.artifact] and k.startswith(side.lower())]
        wanted.append((e.artifact, e.execution, side, key.partition(":")[2]))
    assert sorted(written) == sorted(wanted)
    for run in runs:
        context = store.get_context_by_type_and_name("pipeline_run", run)
        above = {(c.type, c.name) for c in store.get_parent_contexts_by_context(context.id)}
        assert above == {("pipeline", "hares"), ("system.Experiment", "nightly")}
        members = {n.external_id for n in store.get_executions_by_context(context.id)}
        members |= {n.external_id for n in store.get_artifacts_by_context(context.id)}
        assert members == content.inside[f"{ROOT}/contexts/{run}"]


def struct(node: Any) -> dict[str, Any]:
    return dict(json_format.MessageToDict(type(node).pb(node).metadata))


def assert_properties(ours: Any, theirs: Any, skip: set[str]) -> None:
    for name, value in struct(theirs).items():
        if name not in skip:
            written = ours.custom_properties[name.removeprefix("input:")]
            assert getattr(written, written.WhichOneof("value")) == value, name
