"""The Vertex AI server on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from vertex_server import VertexServer, serving


@pytest.fixture
def vertex(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server
