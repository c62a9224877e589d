"""A server on loopback that speaks Vertex AI's public REST API v1, for pipelineJobs, schedules, customJobs and models.

Every body is parsed by Google's own message types, unknown fields are refused, and requests are counted. Custom jobs
are really run, as subprocesses. Failures are planted with `plant`, before or after a request is carried out.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format, timestamp_pb2

from kits.vertex_messages import (
    Refused,
    as_dict,
    check_job,
    check_labels,
    masked,
    parsed,
    passes,
    start_replicas,
)

NUMBER = "123456789"  # answers name the project by its number, as Vertex does
PARENT = f"projects/{NUMBER}/locations/europe-west4"
_PATH = re.compile(r"/v1/projects/(hares-test|\d+)/locations/europe-west4/(.+)")
_ENDED = {
    types.JobState.JOB_STATE_SUCCEEDED,
    types.JobState.JOB_STATE_FAILED,
    types.JobState.JOB_STATE_CANCELLED,
}
RUN_ENDED = {
    types.PipelineState.PIPELINE_STATE_SUCCEEDED,
    types.PipelineState.PIPELINE_STATE_FAILED,
    types.PipelineState.PIPELINE_STATE_CANCELLED,
}


@dataclass
class Fault:
    """A planted failure of the next `times` requests whose "METHOD path" matches."""

    pattern: re.Pattern[str]
    does: int | str  # a status code, "delay", "cut", or "garbage"
    after: bool  # whether the request is carried out before it fails
    times: int


@dataclass
class VertexServer:
    """What the server holds, and what it was asked."""

    token: str = "secret"
    url: str = ""
    requests: list[str] = field(default_factory=list)
    stored: dict[str, dict[str, Any]] = field(default_factory=lambda: {c: {} for c in _COLLECTIONS})
    processes: dict[str, list[subprocess.Popen[bytes]]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    released: threading.Event = field(default_factory=threading.Event)
    operations: dict[str, dict[str, Any]] = field(default_factory=dict)
    page_size: int = 2  # pages are short, so that reading on is tried
    clock: int = 0
    fail_operations: str = ""  # the message with which uploads end that were accepted
    on_create: Callable[[], None] = lambda: None  # what happens at the same moment as a custom job's creation

    def plant(self, pattern: str, does: int | str, after: bool = False, times: int = 1) -> None:
        """Lets requests fail; `pattern` is searched in "POST pipelineJobs"."""
        self.faults.append(Fault(re.compile(pattern), does, after, times))

    def count(self, pattern: str) -> int:
        """How many requests came that match."""
        return sum(bool(re.search(pattern, request)) for request in self.requests)

    def fault(self, request: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times and fault.pattern.search(request):
                    fault.times -= 1
                    return fault
        return None

    def tick(self) -> timestamp_pb2.Timestamp:
        """Time goes on a minute with each thing created, so that the order of creation shows."""
        self.clock += 1
        return timestamp_pb2.Timestamp(seconds=1_700_000_000 + 60 * self.clock)

    # What follows is carried out with `lock` held.

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        match = re.fullmatch(r"(\w+)(?:/([\w.@-]+))?(?:/operations/(\w+))?(?::(\w+))?", path)
        if not match:
            raise Refused(404, "NOT_FOUND", f"no such path: {path}")
        collection, name, operation, verb = match.groups()
        if operation:
            return self.operations[operation]
        handler = getattr(self, f"{verb or method.lower()}_{collection}", None)
        if handler is None and not verb and method == "GET" and collection in _COLLECTIONS:
            return self.get(collection, name) if name else self.list(collection, query)
        if handler is None:
            raise Refused(404, "NOT_FOUND", f"no such method: {method} {path}")
        return handler(name, query, body)

    def get(self, collection: str, name: str) -> Any:
        if name not in self.stored[collection]:
            raise Refused(404, "NOT_FOUND", f"{PARENT}/{collection}/{name} is not found.")
        return self.stored[collection][name]

    def list(self, collection: str, query: dict[str, str]) -> Any:
        items = list(self.stored[collection].values())
        if query.get("orderBy", "create_time desc") != "create_time desc":
            raise Refused(400, "INVALID_ARGUMENT", f"order_by {query['orderBy']}")
        items.sort(key=lambda item: item.create_time, reverse=True)
        items = [item for item in items if passes(item, query.get("filter", ""))]
        if "readMask" in query:
            items = [masked(item, query["readMask"]) for item in items]
        return self.page(collection, items, query)

    def page(self, collection: str, items: list[Any], query: dict[str, str]) -> Any:
        start = int(query.get("pageToken") or 0)
        size = min(int(query.get("pageSize") or self.page_size), self.page_size)
        answer: dict[str, Any] = {collection: [as_dict(item) for item in items[start : start + size]]}
        if start + size < len(items):
            answer["nextPageToken"] = str(start + size)
        return answer

    def post_pipelineJobs(self, _: Any, query: dict[str, str], body: Any) -> Any:
        job = parsed(types.PipelineJob, body)
        name = query.get("pipelineJobId", f"run-{self.clock}")
        if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", name):
            raise Refused(400, "INVALID_ARGUMENT", f"pipeline_job_id {name}")
        if name in self.stored["pipelineJobs"]:
            raise Refused(409, "ALREADY_EXISTS", f"{name} already exists")
        check_job(job)
        job.name, job.create_time = f"{PARENT}/pipelineJobs/{name}", self.tick()
        job.state = types.PipelineState.PIPELINE_STATE_RUNNING
        self.stored["pipelineJobs"][name] = job
        return job

    def cancel_pipelineJobs(self, name: str, _: Any, body: Any) -> Any:
        job = self.get("pipelineJobs", name)
        if job.state in RUN_ENDED:
            raise Refused(400, "FAILED_PRECONDITION", f"{name} has ended")
        job.state = types.PipelineState.PIPELINE_STATE_CANCELLED
        return {}

    def post_schedules(self, _: Any, query: dict[str, str], body: Any) -> Any:
        schedule = parsed(types.Schedule, body)
        if not schedule.display_name or not re.fullmatch(r"(TZ=\S+ )?(\S+ ){4}\S+", schedule.cron):
            raise Refused(400, "INVALID_ARGUMENT", f"display_name or cron: {schedule.cron}")
        if schedule.max_concurrent_run_count < 1:
            raise Refused(400, "INVALID_ARGUMENT", "max_concurrent_run_count must be positive")
        check_job(schedule.create_pipeline_job_request.pipeline_job)
        if not schedule.create_pipeline_job_request.parent:
            raise Refused(400, "INVALID_ARGUMENT", "create_pipeline_job_request.parent")
        schedule.create_time = self.tick()
        schedule.name = f"{PARENT}/schedules/{9000 + self.clock}"
        schedule.state = types.Schedule.State.ACTIVE
        self.stored["schedules"][str(9000 + self.clock)] = schedule
        return schedule

    def pause_schedules(self, name: str, _: Any, body: Any) -> Any:
        return self._switch(name, types.Schedule.State.ACTIVE, types.Schedule.State.PAUSED)

    def resume_schedules(self, name: str, _: Any, body: Any) -> Any:
        return self._switch(name, types.Schedule.State.PAUSED, types.Schedule.State.ACTIVE)

    def _switch(self, name: str, before: Any, then: Any) -> Any:
        schedule = self.get("schedules", name)
        if schedule.state != before:
            raise Refused(400, "FAILED_PRECONDITION", f"schedule is {schedule.state.name}")
        schedule.state = then
        return {}

    def delete_schedules(self, name: str, _: Any, body: Any) -> Any:
        self.get("schedules", name)
        del self.stored["schedules"][name]
        return {"name": f"{PARENT}/schedules/{name}/operations/1", "done": True}

    def post_customJobs(self, _: Any, query: dict[str, str], body: Any) -> Any:
        job = parsed(types.CustomJob, body)
        pools = job.job_spec.worker_pool_specs
        check_labels(job.labels)
        if not job.display_name or not pools or pools[0].replica_count != 1:
            raise Refused(400, "INVALID_ARGUMENT", "display_name, and a first worker pool of one replica")
        if any(not p.machine_spec.machine_type or not p.container_spec.image_uri for p in pools):
            raise Refused(400, "INVALID_ARGUMENT", "machine_type and image_uri are required")
        job.create_time = self.tick()
        name = str(7000 + self.clock)
        job.name = f"{PARENT}/customJobs/{name}"
        job.state = types.JobState.JOB_STATE_RUNNING
        self.stored["customJobs"][name] = job
        self.processes[name] = start_replicas(job)
        threading.Thread(target=self._watch, args=(name,), daemon=True).start()
        self.on_create()
        return job

    def cancel_customJobs(self, name: str, _: Any, body: Any) -> Any:
        job = self.get("customJobs", name)
        if job.state in _ENDED:
            raise Refused(400, "FAILED_PRECONDITION", f"{name} has ended")
        job.state = types.JobState.JOB_STATE_CANCELLING
        for process in self.processes[name]:
            process.kill()
        return {}

    def _watch(self, name: str) -> None:
        codes = [process.wait() for process in self.processes[name]]
        with self.lock:
            job = self.stored["customJobs"][name]
            if job.state == types.JobState.JOB_STATE_CANCELLING:
                job.state = types.JobState.JOB_STATE_CANCELLED
            elif any(codes):
                job.state = types.JobState.JOB_STATE_FAILED
                job.error.message = f"replica exited with {next(filter(None, codes))}"
            else:
                job.state = types.JobState.JOB_STATE_SUCCEEDED

    def upload_models(self, _: Any, query: dict[str, str], body: Any) -> Any:
        request = types.UploadModelRequest.wrap(
            json_format.ParseDict(body, types.UploadModelRequest.pb(types.UploadModelRequest()))
        )
        model, parent = request.model, request.parent_model.rsplit("/", 1)[-1]
        check_labels(model.labels)
        if not model.display_name or not model.container_spec.image_uri or not model.artifact_uri:
            raise Refused(
                400, "INVALID_ARGUMENT", "display_name, container_spec and artifact_uri are required"
            )
        if parent and request.model_id:
            raise Refused(400, "INVALID_ARGUMENT", "model_id with parent_model")
        if parent and parent not in self.stored["models"]:
            raise Refused(404, "NOT_FOUND", f"parent_model {parent}")
        name = parent or request.model_id
        if not parent and name in self.stored["models"]:
            raise Refused(409, "ALREADY_EXISTS", f"{name} already exists")
        operation = {"name": f"{PARENT}/models/{name}/operations/{self.clock}", "done": True}
        if self.fail_operations:
            self.operations[str(self.clock)] = {
                **operation,
                "error": {"code": 3, "message": self.fail_operations},
            }
            return {"name": operation["name"]}
        versions = self.stored["models"].setdefault(name, [])
        model.version_id, model.version_create_time = str(len(versions) + 1), self.tick()
        model.name = f"{PARENT}/models/{name}"
        aliases = list(model.version_aliases) + ([] if versions else ["default"])
        model.version_aliases = []
        versions.append(model)
        self._alias(versions, model, aliases)
        self.operations[operation["name"].rsplit("/", 1)[-1]] = {
            **operation,
            "response": {
                "@type": "type.googleapis.com/google.cloud.aiplatform.v1.UploadModelResponse",
                "model": model.name,
                "modelVersionId": model.version_id,
            },
        }
        return {"name": operation["name"]}

    def listVersions_models(self, name: str, query: dict[str, str], body: Any) -> Any:
        return self.page("models", self.get("models", name), query)

    def mergeVersionAliases_models(self, name: str, _: Any, body: Any) -> Any:
        name, version = name.split("@")
        versions = self.get("models", name)
        model = next(v for v in versions if v.version_id == version)
        self._alias(versions, model, body["versionAliases"])
        return model

    def _alias(self, versions: list[Any], model: Any, aliases: list[str]) -> None:
        for alias in aliases:
            if not re.fullmatch(r"[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]", alias):
                raise Refused(400, "INVALID_ARGUMENT", f"version alias {alias}")
            for version in versions:  # an alias names one version
                version.version_aliases = [a for a in version.version_aliases if a != alias]
            model.version_aliases = [*model.version_aliases, alias]


_COLLECTIONS = ("pipelineJobs", "schedules", "customJobs", "models")
_QUERY = {"pageSize", "pageToken", "filter", "orderBy", "readMask", "pipelineJobId", "$alt"}


@contextmanager
def serving() -> Iterator[VertexServer]:
    """The server, listening on a free port."""
    state = VertexServer()
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    http.daemon_threads = True
    state.url = f"http://127.0.0.1:{http.server_address[1]}"
    threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield state
    finally:
        state.released.set()
        for process in (p for processes in state.processes.values() for p in processes):
            process.kill()
            process.wait()
        http.shutdown()
        http.server_close()


def _handler(state: VertexServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else every answer waits 40 ms for an acknowledgement

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            url = urlsplit(self.path)
            match = _PATH.fullmatch(url.path)
            request = f"{self.command} {match.group(2) if match else url.path}"
            with state.lock:
                state.requests.append(request)
            fault = state.fault(request)
            try:
                if fault and not fault.after:
                    return self.fail(fault)
                answer = self.carry_out(match, dict(parse_qsl(url.query)), body)
                if fault:
                    return self.fail(fault)
                self.send(200, answer)
            except Refused as error:
                self.send(error.code, _error(error.code, error.status, str(error)))
            except (json_format.ParseError, ValueError) as error:
                self.send(400, _error(400, "INVALID_ARGUMENT", str(error)))

        def carry_out(self, match: re.Match[str] | None, query: dict[str, str], body: bytes) -> Any:
            if self.headers.get("Authorization") != f"Bearer {state.token}":
                raise Refused(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
            if not match or set(query) - _QUERY:
                raise Refused(400, "INVALID_ARGUMENT", f"path or query: {self.path}")
            with state.lock:
                answer = state.answer(self.command, match.group(2), query, json.loads(body or b"{}"))
                return answer if isinstance(answer, dict) else as_dict(answer)

        def fail(self, fault: Fault) -> None:
            if fault.does == "delay":
                state.released.wait(30)
            if fault.does in ("cut", "delay"):
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif fault.does == "garbage":
                self.send_text(200, b"<html>")
            else:
                self.send(int(fault.does), _error(int(fault.does), "PLANTED", f"planted {fault.does}"))

        def send(self, code: int, answer: Any) -> None:
            self.send_text(code, json.dumps(answer).encode())

        def send_text(self, code: int, text: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None: ...

    return Handler


def _error(code: int, status: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message}}


def until(true: Callable[[], Any], seconds: float = 20.0) -> None:
    """Waits for something that another thread or process does."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
