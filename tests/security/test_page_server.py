"""`hares lineage page --serve` asked by a web page that knows the port, and by another user of the machine."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("ml_metadata")

from kits.lineage_stores import StoreWriter, create_store

PROJECT = Path(__file__).resolve().parents[2]
RUN = "run-of-the-user"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """Port and path of a page that is served."""
    folder = tmp_path_factory.mktemp("served")
    writer = StoreWriter(create_store(folder / "metadata.sqlite"))
    writer.context("pipeline_run", RUN, start="s", status="complete", **{"score/hares": 0.5})
    writer.step(RUN, "trainer", [], [("model", writer.artifact("Model", "/m", run=RUN, node="trainer"))])
    server = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "lineage", "page", "--serve", "--port", "0", "--workspace", str(folder)],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = urlsplit(server.stdout.readline().split()[0])
        assert address.port is not None
        yield address.port, address.path
    finally:
        server.terminate()
        server.wait(timeout=60)


def ask(
    port: int, path: str, *hosts: str, method: str = "GET", **headers: str
) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for host in hosts:
        connection.putheader("Host", host)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), {name.lower(): value for name, value in answer.getheaders()}


def test_the_user_sees_the_page_and_no_other_page_may_frame_or_read_it(served: tuple[int, str]) -> None:
    port, path = served
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}"):
        status, text, headers = ask(port, path, host, Origin="http://stranger.example")
        assert status == 200 and RUN in text
        assert not [name for name in headers if name.startswith("access-control-")]
        assert (
            headers["x-frame-options"] == "DENY"
            and "frame-ancestors 'none'" in headers["content-security-policy"]
        )
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "host",
    ["stranger.example", "stranger.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.stranger.example:{port}",
     "127.0.0.1.nip.io:{port}", "127.0.0.1:{port}.stranger.example", "stranger@127.0.0.1:{port}", "0.0.0.0:{port}",
     "[::1]:{port}", "127.1:{port}", ""],
)  # fmt: skip
def test_a_name_that_only_resolves_to_this_machine_is_refused(host: str, served: tuple[int, str]) -> None:
    port, path = served
    status, text, _ = ask(port, path, host.format(port=port))
    assert status == 421 and RUN not in text


def test_a_request_with_no_host_or_two_is_refused(served: tuple[int, str]) -> None:
    port, path = served
    for hosts in ((), (f"127.0.0.1:{port}", "stranger.example"), ("stranger.example", f"127.0.0.1:{port}")):
        status, text, _ = ask(port, path, *hosts)
        assert status == 421 and RUN not in text


def test_the_path_is_a_secret(served: tuple[int, str]) -> None:
    port, path = served
    token = path.strip("/")
    assert len(token) >= 32
    for wrong in ("/", "/index.html", "/etc/passwd", path.lower(), path[:-2] + "/", f"{path}x", f"/{token}",
                  f"{path}?", f"http://stranger.example{path}", f"/x/..{path}", "/%2e%2e/"):  # fmt: skip
        status, text, headers = ask(port, wrong, f"127.0.0.1:{port}")
        assert status == 404 and RUN not in text and token not in text, wrong
        assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("method", ["POST", "OPTIONS", "HEAD", "PUT", "TRACE", "CONNECT"])
def test_nothing_but_reading(method: str, served: tuple[int, str]) -> None:
    port, path = served
    status, text, headers = ask(port, path, f"127.0.0.1:{port}", method=method)
    assert status == 501 and RUN not in text
    assert not [name for name in headers if name.startswith("access-control-")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user")
def test_another_user_of_the_machine_does_not_see_it(served: tuple[int, str]) -> None:
    """Nor its address: it is in no process's arguments."""
    port, path = served
    script = (
        "exec 3<>/dev/tcp/127.0.0.1/$0; printf 'GET / HTTP/1.1\\r\\nHost: 127.0.0.1:%s\\r\\n\\r\\n' $0 >&3; "
        "head -n 1 <&3; cat /proc/*/cmdline | tr '\\0' ' '"
    )
    done = subprocess.run(
        ["setpriv", "--reuid=54399", "--regid=54399", "--clear-groups", "bash", "-c", script, str(port)],
        capture_output=True, text=True, check=False, cwd="/",
    )  # fmt: skip
    assert " 404 " in done.stdout.splitlines()[0] and path.strip("/") not in done.stdout
