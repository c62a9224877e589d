"""`hares lineage page`: writing the page, or serving it on this machine."""

from __future__ import annotations

import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, claim_file, writing_to

if TYPE_CHECKING:
    from pipeline.lineage.connection import StoreAddress
    from pipeline.lineage.page.data import PageLimits


def write_page(address: StoreAddress, output: Path, limits: PageLimits) -> None:
    """Writes the page and says how large it is.

    Raises:
        CommandError: no store there, its server does not answer, or the file cannot be written.
    """
    from hares.atomic_files import write_atomically

    claim_file(output, "--output")
    text = _page(address, limits)
    with writing_to(output, "--output"):
        write_atomically(output, text.encode("utf-8", "backslashreplace"))
    click.echo(f"wrote {output} ({len(text) / 1e6:.1f} MB)")


def serve_page(address: StoreAddress, port: int, limits: PageLimits) -> None:
    """Serves the page on loopback until interrupted; the store is read at every load.

    Raises:
        CommandError: as `write_page`, before anything is served, or the port is taken.
    """
    _page(address, limits)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/":
                self.send_error(404)
                return
            try:
                status, body = 200, _page(address, limits)
            except CommandError as error:
                status, body = 503, str(error)
            content = body.encode("utf-8", "backslashreplace")
            kind = "text/html" if status == 200 else "text/plain"
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """A page view is no news."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise CommandError(
            f"--port {port}: {error.strerror}; give another, or 0", ExitCode.SETTINGS
        ) from error
    with server:
        click.echo(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)")
        server.serve_forever()


def _page(address: StoreAddress, limits: PageLimits) -> str:
    from cli.lineage_view import answering
    from pipeline.lineage.page.data import page_data
    from pipeline.lineage.page.render import render_lineage_page

    now = datetime.datetime.now().astimezone().isoformat(timespec="minutes")
    with answering(address) as store:
        data = page_data(store, limits)
    return render_lineage_page(data, address.shown, now)
