"""A server of files on loopback that keeps to RFC 9110 (sections 14, ranges, and 13.1.5, If-Range) or breaks it."""

from __future__ import annotations

import email.utils
import hashlib
import re
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from kits.certificates import Certificates


@dataclass
class Served:
    """A file on the server, and how it is handed out.

    Attributes:
        content: its bytes.
        etag: whether it has one; else, with `dated`, the time of its last change names its version.
        dated: whether it has a Last-Modified.
        ranges: whether parts of it are handed out.
        cuts: of each answer in turn, the bytes after which the connection is cut; answers after them are whole.
        stall: seconds for which an answer that is cut stays silent before.
        statuses: of each answer in turn, a status in place of the file.
        leads_to: an address to redirect to, "" for none.
        headers: more of them.
        says_length: whether the answer has a Content-Length.
        chunked: whether it has none and comes in chunks (RFC 9112, section 7.1).
        block: bytes sent at once, and `wait` seconds between them.
    """

    content: bytes = b""
    etag: bool = True
    dated: bool = False
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    stall: float = 0.0
    statuses: list[int] = field(default_factory=list)
    leads_to: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    says_length: bool = True
    chunked: bool = False
    block: int = 1 << 16
    wait: float = 0.0

    @property
    def names(self) -> dict[str, str]:
        """The headers that name this version."""
        named = {"ETag": f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'} if self.etag else {}
        dates = (
            {"Last-Modified": email.utils.formatdate(len(self.content), usegmt=True)} if self.dated else {}
        )
        return {**named, **dates}


@dataclass
class Server:
    """What is served, and what was asked for."""

    url: str
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ranges(self) -> list[str]:
        """The Range of each request, "" for none."""
        return [headers.get("Range", "") for _, headers in self.asked]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def do_GET(self) -> None:
        """Hands out a file, or what stands in its place."""
        served = self.server.told.files.get(self.path)
        self.server.told.asked.append((self.path, dict(self.headers)))
        self.close_connection = True
        if served is None or served.statuses or served.leads_to:
            status = 404 if served is None else 302 if served.leads_to else served.statuses.pop(0)
            self._head(status, {"Location": served.leads_to} if served and served.leads_to else {}, 0)
            return
        whole, begin, status = served.content, 0, 200
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        if asked and served.ranges and (condition is None or condition in served.names.values()):
            begin, status = int(asked[1]), 206
        headers = {"Content-Type": "application/octet-stream", **served.names, **served.headers}
        if status == 206 and begin >= len(whole):
            self._head(416, {**headers, "Content-Range": f"bytes */{len(whole)}"}, 0)
            return
        if status == 206:
            headers["Content-Range"] = f"bytes {begin}-{len(whole) - 1}/{len(whole)}"
        body = whole[begin:]
        if served.chunked:
            headers["Transfer-Encoding"] = "chunked"
        self._head(status, headers, len(body) if served.says_length and not served.chunked else None)
        cut = served.cuts.pop(0) if served.cuts else len(body)
        for at in range(0, min(cut, len(body)), served.block):
            block = body[at : min(at + served.block, cut)]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block) if served.chunked else block)
            time.sleep(served.wait)
        if served.chunked and cut >= len(body):
            self.wfile.write(b"0\r\n\r\n")
        if cut < len(body):
            self.wfile.flush()
            self.server.ended.wait(served.stall)

    def _head(self, status: int, headers: dict[str, str], length: int | None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    told: Server
    ended: threading.Event

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""


@contextmanager
def serving(
    host: str = "127.0.0.1", certificates: Certificates | None = None, **files: Served
) -> Iterator[Server]:
    """Serves files by their names, `a` as /a, with TLS if there are certificates; `files` of what it gives may grow."""
    http = _Http((host, 0), _Handler)
    http.ended = threading.Event()
    if certificates:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates.certificate, certificates.key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    url = f"{'https' if certificates else 'http'}://{host}:{http.server_address[1]}"
    http.told = Server(url, {f"/{name}": served for name, served in files.items()})
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield http.told
    finally:
        http.ended.set()
        http.shutdown()
        http.server_close()
        thread.join()
