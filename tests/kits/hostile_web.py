"""Web servers of strangers: every name leads to one that writes down what it is given, with TLS and without."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kits.certificates import make_certificates

# Whatever a client may ask for; the certificate is good for all of them, so that nothing but the client holds it back.
NAMES = (
    "evilgcr.io", "evil.example", "gcr.io", "eu.gcr.io", "europe-docker.pkg.dev", "pkg.dev", "gcr.io.evil.example",
    "evil.example.gcr.io", "xpkg.dev", "pkg.dev.evil.example", "evilgoogleapis.com", "googleapis.com.evil.example",
    "europe-west4-aiplatform.googleapis.com", "kfp.example",
)  # fmt: skip
Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True)
class Asked:
    """A request: the host that the client believes it speaks to, and what it brought."""

    encrypted: bool
    host: str
    path: str
    authorization: str

    @property
    def origin(self) -> str:
        return f"{'https' if self.encrypted else 'http'}://{self.host}"


@dataclass
class Strangers:
    """What was asked, and how it is answered."""

    ca: Path
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer] = lambda asked: (404, {}, b"{}")
    ports: dict[int, int] = field(default_factory=dict)

    def brought(self, secret: str) -> set[str]:
        """Where a secret arrived."""
        return {asked.origin for asked in self.asked if secret in asked.authorization}


def redirect(to: str, status: int = 302) -> Answer:
    return status, {"Location": to}, b""


def in_json(content: Any, **headers: str) -> Answer:
    return 200, {"Content-Type": "application/json", **headers}, json.dumps(content).encode()


@contextmanager
def strangers(folder: Path) -> Iterator[Strangers]:
    made = make_certificates(folder, *NAMES)
    seen = Strangers(made.ca)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    servers = []
    for port, encrypted in ((443, True), (80, False)):

        class Handler(BaseHTTPRequestHandler):
            tls = encrypted

            def one(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                host, given = self.headers.get("Host", ""), self.headers.get("Authorization", "")
                asked = Asked(self.tls, host, self.path, given)
                seen.asked.append(asked)
                status, headers, body = seen.answer(asked)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = one

            def log_message(self, format: str, *args: object) -> None:
                """Says nothing on stderr."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if encrypted:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        seen.ports[port] = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
    try:
        yield seen
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


@pytest.fixture(name="web")
def web_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Strangers]:
    """Names of `NAMES` lead to the strangers by their usual ports; no other name leads anywhere."""
    folder = tmp_path / "strangers"
    folder.mkdir()
    with strangers(folder) as seen:
        real = socket.getaddrinfo

        def resolved(host: Any, port: Any, *rest: Any, **named: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name in ("127.0.0.1", "::1", "localhost"):
                return real(host, port, *rest, **named)
            if name not in NAMES or int(port) not in seen.ports:
                raise socket.gaierror(socket.EAI_NONAME, f"{name}:{port} is nobody's")
            return real("127.0.0.1", seen.ports[int(port)], *rest, **named)

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, str(seen.ca))
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield seen
