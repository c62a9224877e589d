"""A proxy in front of a server of buckets: it counts requests, delays them, and does what networks and services do.

It hands on every byte as it is, with the Host that the client signed.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ERROR = b'<?xml version="1.0"?><Error><Code>%s</Code><Message>said by the proxy</Message></Error>'  # S3's


@dataclass(frozen=True)
class Fault:
    """What a request meets instead of its answer.

    Attributes:
        status: of an answer of the proxy's own; 0 for the server's.
        body: of that answer.
        headers: of that answer.
        cut: bytes of the server's body after which the connection ends; -1 for all of it.
        pause: seconds between two thousand bytes of the body.
    """

    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    cut: int = -1
    pause: float = 0.0


@dataclass
class Proxy:
    """What the proxy does, and has seen.

    Attributes:
        port: of the server behind it.
        latency: seconds before each answer.
        fault: for a request's method and path, its fault; None for none.
        seen: methods and paths of all requests.
    """

    port: int
    latency: float = 0.0
    fault: Callable[[str, str], Fault | None] = lambda method, path: None
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """A proxy to a port of this machine, for the time of the block."""
    state = Proxy(port)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None: ...

        def _answer(self) -> None:
            state.seen.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            time.sleep(state.latency)
            fault = state.fault(self.command, self.path) or Fault()
            if fault.status:
                self.send_response(fault.status)
                for name, value in (*fault.headers, ("Content-Length", str(len(fault.body)))):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(fault.body)
                return
            with suppress(OSError, http.client.HTTPException):
                self._hand_on(body, fault)
                return
            self.close_connection = True

        def _hand_on(self, body: bytes, fault: Fault) -> None:
            behind = http.client.HTTPConnection("127.0.0.1", state.port, timeout=60)
            behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                behind.putheader(name, value)
            behind.endheaders(body)
            answer = behind.getresponse()
            content = answer.read()
            self.send_response_only(answer.status, answer.reason)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                    self.send_header(name, value)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            behind.close()
            if 0 <= fault.cut < len(content):
                self.wfile.write(content[: fault.cut])
                self.close_connection = True
                return
            for first in range(0, len(content), 1_000) if fault.pause else ():
                self.wfile.write(content[first : first + 1_000])
                self.wfile.flush()
                time.sleep(fault.pause)
            if not fault.pause and self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None: ...  # a client that has gone

    server = Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
