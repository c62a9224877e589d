"""Kubeflow Pipelines' REST API v2beta1 on loopback: real sockets, things held in memory, failures on demand.

Bodies are checked against kfp_server_api's own message types: an unknown field or a value of the wrong type is a 400.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import kfp_server_api as api
import pytest

TOKEN = "a-token"
PIPELINE = """\
pipelineInfo: {name: hares-small}
schemaVersion: 2.1.0
root:
  dag:
    tasks:
      ingest: {taskInfo: {name: ingest}}
      trainer: {taskInfo: {name: trainer}}
  inputDefinitions:
    parameters:
      run_key: {parameterType: STRING, defaultValue: K}
---
platforms: {kubernetes: {}}
"""
_TYPES = {"experiments": "V2beta1Experiment", "runs": "V2beta1Run", "recurringruns": "V2beta1RecurringRun"}
_IDS = {"experiments": "experiment_id", "runs": "run_id", "recurringruns": "recurring_run_id"}
_LISTS = {"experiments": "experiments", "runs": "runs", "recurringruns": "recurringRuns"}


@dataclass
class Fault:
    """What happens to requests that match: a status, a delay, or a cut, before or after the work is done."""

    method: str
    kind: str
    times: int
    status: int = 0
    delay: float = 0.0
    after: bool = False
    cut: bool = False


# What a gateway answers to a caller that it does not know, by the request's headers: a status and its headers.
Gate = Callable[[Any], "tuple[int, dict[str, str]] | None"]


def bearer_gate(headers: Any) -> tuple[int, dict[str, str]] | None:
    """Kubeflow's own check of a token."""
    return None if headers.get("Authorization") == f"Bearer {TOKEN}" else (401, {})


class KfpServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.tls = tls
        self.gate: Gate = bearer_gate
        self.things: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _IDS}
        self.got: Counter[tuple[str, str]] = Counter()
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self.outcome = "RUNNING"
        self.release = "2.17.0"
        self.driver_fails = False

    @property
    def url(self) -> str:
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self.server_address[1]}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        """In the connection's own thread, so that one that fails in TLS keeps no other waiting."""
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            try:
                request.do_handshake()
            except ssl.SSLError:
                # The client has the alert if the rest of what it sends is read before the connection is closed.
                request.shutdown(socket.SHUT_WR)
                while request.recv(4096):
                    pass
                raise
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is what some of the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: KfpServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Says nothing on stderr."""

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        address = urlsplit(self.path)
        rest = address.path.removeprefix("/apis/v2beta1/")
        kind, _, name = rest.partition("/")
        with self.server.lock:
            self.server.got[method, kind] += 1
            fault = next(
                (f for f in self.server.faults if (f.method, f.kind) == (method, kind) and f.times), None
            )
            if fault:
                fault.times -= 1
        if fault and not fault.after:
            if fault.cut:
                self.close_connection = True
                return
            time.sleep(fault.delay)
            if fault.status:
                self._answer(fault.status, {"code": fault.status, "message": f"planted {fault.status}"})
                return
        if refused := self.server.gate(self.headers):
            self._answer(refused[0], {"message": "who are you?"}, refused[1])
            return
        with self.server.lock:
            status, content = self._work(method, kind, name, dict(parse_qsl(address.query)), body)
        if fault and fault.after:
            if fault.cut:
                self.close_connection = True
                return
            time.sleep(fault.delay)
            if fault.status:
                status, content = fault.status, {"message": f"planted {fault.status}"}
        self._answer(status, content)

    def _answer(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _work(
        self, method: str, kind: str, name: str, query: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        if (method, kind) == ("GET", "healthz"):  # backend/src/apiserver/main.go
            return 200, {"commit_sha": "unknown", "tag_name": self.server.release, "multi_user": False}
        things = self.server.things.get(kind)
        if things is None:
            return 404, {"message": f"no such path {self.path}"}
        if not name:
            return self._create(kind, body) if method == "POST" else self._list(kind, query)
        thing_id, _, verb = name.partition(":")
        if thing_id not in things:
            return 404, {"message": f"{kind} {thing_id} not found"}
        thing = things[thing_id]
        if method == "DELETE":
            del things[thing_id]
            return 200, {}
        if verb == "terminate":
            thing["state"] = "CANCELED"
        elif verb in ("enable", "disable"):
            thing["status"] = verb.upper() + "D"
        elif verb:
            return 404, {"message": f"no verb {verb}"}
        return 200, ({} if method == "POST" else self._shown(kind, thing))

    def _create(self, kind: str, body: bytes) -> tuple[int, dict[str, Any]]:
        content = json.loads(body)
        try:
            _check(content, _TYPES[kind])
        except (ValueError, TypeError) as error:
            return 400, {"message": str(error)}
        if kind != "experiments" and "root" not in content.get("pipeline_spec", {}).get(
            "pipeline_spec", content.get("pipeline_spec", {})
        ):
            return 400, {"message": "no pipeline in pipeline_spec"}
        if kind == "runs" and (bad := _refused_by_argo(content["pipeline_spec"])):
            return 500, {"code": 13, "message": f"Failed to validate workflow: {bad!r} is invalid"}
        if kind == "recurringruns":
            fields = content["trigger"]["cron_schedule"]["cron"].split()
            if len(fields) != 6:
                return 400, {"message": "cron takes six fields, seconds first"}
            if "7" in re.split("[,/-]", fields[5]):  # robfig/cron's bounds
                return 400, {"message": f"End of range (7) above maximum (6): {fields[5]}"}
        if kind == "recurringruns" and not 1 <= int(content["max_concurrency"]) <= 10:
            return 400, {"message": "max_concurrency is from 1 to 10"}
        number = sum(self.server.got.values())
        thing = {
            **content,
            _IDS[kind]: f"{kind}-{number}",
            "created_at": f"2026-01-01T00:00:{number % 60:02d}Z",
        }
        if kind == "recurringruns":
            thing["status"] = "ENABLED"
        if kind == "runs":
            thing["state"] = self.server.outcome
        self.server.things[kind][thing[_IDS[kind]]] = thing
        return 200, self._shown(kind, thing)

    def _list(self, kind: str, query: dict[str, str]) -> tuple[int, dict[str, Any]]:
        found = list(self.server.things[kind].values())
        for given in json.loads(query.get("filter", "{}")).get("predicates", []):
            # kfp's own client writes protobuf's JSON: operations by number, names in camel case.
            predicate = {"string_value" if key == "stringValue" else key: given[key] for key in given}
            predicate["operation"] = {1: "EQUALS"}.get(predicate["operation"], predicate["operation"])
            _check(predicate, "V2beta1Predicate")
            assert predicate["operation"] == "EQUALS"
            found = [thing for thing in found if thing.get(predicate["key"]) == predicate["string_value"]]
        if "experiment_id" in query:
            found = [thing for thing in found if thing["experiment_id"] == query["experiment_id"]]
        if query.get("sort_by") == "created_at desc":
            found.reverse()
        begin, size = int(query.get("page_token") or 0), int(query.get("page_size", 20))
        page: dict[str, Any] = {_LISTS[kind]: [self._shown(kind, t) for t in found[begin : begin + size]]}
        if begin + size < len(found):
            page["next_page_token"] = str(begin + size)
        return 200, page

    def _shown(self, kind: str, thing: dict[str, Any]) -> dict[str, Any]:
        if kind != "runs":
            return thing
        # One task ran, its driver beside it, and one is at work; no task says why it failed.
        before, after = "SUCCEEDED", thing["state"]
        if self.server.driver_fails:
            before, after = "FAILED", "RUNTIME_STATE_UNSPECIFIED"
        details = [
            {"display_name": "root-driver", "state": "SUCCEEDED"},
            {"display_name": "ingest-driver", "state": "SUCCEEDED"},
            {"display_name": "ingest", "state": "SUCCEEDED"},
            {"display_name": "trainer-driver", "state": before},
            {"display_name": "trainer", "state": after},
        ]
        return {**thing, "run_details": {"task_details": details}}


def _refused_by_argo(spec: dict[str, Any]) -> str:
    """The first task whose name Argo refuses, at which no run is created; a schedule's spec is not validated.

    backend/src/apiserver/resource/resource_manager.go, CreateRun; argo-workflows, workflow/validate/validate.go.
    """
    tasks = spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"]
    return next((name for name in tasks if not re.fullmatch("[a-zA-Z0-9][-a-zA-Z0-9]*", name)), "")


def _check(content: Any, type_name: str) -> None:
    """Raises ValueError or TypeError where the client's message type would not take the content."""
    message = getattr(api, type_name)
    unknown = set(content) - set(message.attribute_map.values())
    if unknown:
        raise ValueError(f"{type_name} has no field {sorted(unknown)}")
    kinds = {wire: message.openapi_types[name] for name, wire in message.attribute_map.items()}
    for name, value in content.items():
        if kinds[name].startswith("V2beta1") and isinstance(value, dict):
            _check(value, kinds[name])
        elif kinds[name] == "str" and not isinstance(value, str):
            raise TypeError(f"{type_name}.{name} is a string, not {value!r}")
        elif (
            kinds[name].startswith(("V2beta1", "RecurringRunMode"))
            and value not in getattr(api, kinds[name]).allowable_values
        ):
            raise ValueError(f"{type_name}.{name} cannot be {value!r}")
    message(**{name: content.get(wire) for name, wire in message.attribute_map.items()})


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[KfpServer]:
    server = KfpServer(tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HARES_CLUSTER_TOKEN", TOKEN)
    with serving() as server:
        yield server
