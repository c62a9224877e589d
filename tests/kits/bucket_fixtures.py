"""The two servers, once a session each, and clients that find them as a user's do: by their environment."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from hares.buckets import client as clients
from kits.bucket_proxy import Proxy, proxy
from kits.bucket_servers import Server, fake_gcs, minio, missing, running

_MADE = {"s3": minio, "gs": fake_gcs}
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory) -> Iterator[Server]:
    if why := missing():
        pytest.skip(why)
    with running(minio(tmp_path_factory.mktemp("minio"))) as server:
        yield server


@pytest.fixture(scope="session")
def gs_server(tmp_path_factory) -> Iterator[Server]:
    if why := missing():
        pytest.skip(why)
    with running(fake_gcs(tmp_path_factory.mktemp("gcs"))) as server:
        yield server


@pytest.fixture
def found(monkeypatch):
    """Lets this process' clients find a server, through a proxy where one is given."""

    def find(server: Server, through: Proxy | None = None) -> None:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value.replace(server.url, through.url) if through else value)
        clients._client.cache_clear()

    yield find
    clients._client.cache_clear()


@pytest.fixture(params=["s3", "gs"])
def server(request, found) -> Server:
    """Each of the two servers in turn, where clients find it."""
    server = request.getfixturevalue(f"{request.param}_server")
    found(server)
    return server


@pytest.fixture
def prefix() -> str:
    """A folder of the bucket that is this test's alone."""
    return f"test-{next(_NUMBERS)}"


@pytest.fixture
def between(server, found) -> Iterator[Proxy]:
    """A proxy between this process and the server."""
    with proxy(server.port) as state:
        found(server, state)
        yield state
