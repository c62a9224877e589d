"""`hares lineage page`: writing the page, or serving it on this machine."""

from __future__ import annotations

import datetime
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, writing_to

if TYPE_CHECKING:
    from pipeline.lineage.connection import StoreAddress
    from pipeline.lineage.page.data import PageLimits

_OWN_NAMES = ("127.0.0.1", "localhost")
# No other page may frame, embed or read it, and no cache or link may carry its address.
_HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def write_page(address: StoreAddress, output: Path, limits: PageLimits) -> None:
    """Writes the page and says how large it is.

    Raises:
        CommandError: no store there, its server does not answer, or the file cannot be written.
    """
    from hares.atomic_files import write_atomically

    text = _page(address, limits)
    with writing_to(output, "--output"):
        write_atomically(output, text.encode("utf-8", "backslashreplace"))
    click.echo(f"wrote {output} ({len(text) / 1e6:.1f} MB)")


def serve_page(address: StoreAddress, port: int, limits: PageLimits) -> None:
    """Serves the page on loopback until interrupted; the store is read at every load.

    Every user of the machine can reach loopback, and so can any page in the user's browser, through a name that a
    stranger's server resolves to it. So the path holds a secret, and a request has to name the host as we do.

    Raises:
        CommandError: as `write_page`, before anything is served, or the port is taken.
    """
    _page(address, limits)
    path = f"/{secrets.token_urlsafe(24)}/"

    class Handler(BaseHTTPRequestHandler):
        server: ThreadingHTTPServer
        server_version, sys_version = "hares", ""
        timeout = 60  # of a client that sends nothing

        def do_GET(self) -> None:
            if not self._named_rightly():
                self._answer(421, "This server answers to its own address only.")
            elif not secrets.compare_digest(self.path.encode(), path.encode()):
                self._answer(404, "Not found: the address is the one that the command has printed.")
            else:
                try:
                    status, body = 200, _page(address, limits)
                except CommandError as error:
                    status, body = 503, str(error)
                self._answer(status, body)

        def _named_rightly(self) -> bool:
            """Whether the request has one host, and it is this server."""
            given = self.headers.get_all("Host") or []
            port = self.server.server_port
            own = {f"{name}:{port}" for name in _OWN_NAMES} | (set(_OWN_NAMES) if port == 80 else set())
            return len(given) == 1 and given[0].lower() in own

        def _answer(self, status: int, body: str) -> None:
            content = body.encode("utf-8", "backslashreplace")
            kind = "text/html" if status == 200 else "text/plain"
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Page views are not logged."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise CommandError(
            f"--port {port}: {error.strerror}; give another, or 0", ExitCode.SETTINGS
        ) from error
    with server:
        click.echo(f"http://127.0.0.1:{server.server_port}{path} (Ctrl-C ends it)")
        server.serve_forever()


def _page(address: StoreAddress, limits: PageLimits) -> str:
    from cli.lineage_view import answering
    from pipeline.lineage.page.data import page_data
    from pipeline.lineage.page.render import render_lineage_page

    now = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    with answering(address) as store:
        data = page_data(store, limits)
    return render_lineage_page(data, address.shown, now)
