"""What the tests of Vertex AI share: settings for the server on loopback, and the failures that are planted."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types

from kits.vertex_messages import as_dict, when_due
from kits.vertex_server import RUN_ENDED, VertexServer, serving
from kubeflow.clusters import Failure, ServiceConfig, ServiceError

RETRIES = 2
SHORT_SECONDS = 1.0  # the client's patience where the server is made to hang

# What the server does to every request that matches, and what the caller is told.
LASTING = [
    (400, Failure.INVALID),
    (401, Failure.UNAUTHENTICATED),
    (403, Failure.FORBIDDEN),
    (404, Failure.NOT_FOUND),
    (409, Failure.CONFLICT),
    (429, Failure.BUSY),
    (500, Failure.SERVER),
    (503, Failure.SERVER),
    ("garbage", Failure.SERVER),
    ("delay", Failure.TIMEOUT),
    ("cut", Failure.UNREACHABLE),
]
# Failures after which nobody knows whether the request was carried out.
LOSING = [500, 503, "garbage", "delay", "cut"]
REFUSED_FOR_NOW = 429


@pytest.fixture(name="vertex")
def vertex_fixture(monkeypatch: pytest.MonkeyPatch) -> Iterator[VertexServer]:
    """The server on loopback; test files import this to have it."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as server:
        yield server


@pytest.fixture(autouse=True)
def path_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets jobs find this environment under the name `python`; test files that run jobs import this."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def settings(server: VertexServer, folder: Path, **changes: Any) -> ServiceConfig:
    """Settings for the server, with its token in a file."""
    token_file = folder / "token"
    token_file.write_text(f"{server.token}\n")
    given = {"timeout_seconds": 30.0, "retries": RETRIES, "backoff_seconds": 0.01, **changes}
    return ServiceConfig(
        project="hares-test",
        region="europe-west4",
        endpoint=server.url,
        pipeline_root="gs://bucket/hares",
        service_account="trainer@hares-test.iam.gserviceaccount.com",
        token_env="",
        token_file=str(token_file),
        **given,
    )


class ScheduleClock:
    """Lets a schedule's times come, and its runs end, on the server on loopback."""

    def __init__(self, server: VertexServer, schedule_id: str):
        self._server, self._schedule, self.queued = server, server.stored["schedules"][schedule_id], 0

    def comes(self) -> None:
        """A run is due."""
        with self._server.lock:
            does = when_due(self._schedule, sum(job.state not in RUN_ENDED for job in self._runs()))
            if does == "start":
                job = types.PipelineJob(self._schedule.create_pipeline_job_request.pipeline_job)
                self._server.post_pipelineJobs(None, {}, as_dict(job)).schedule_name = self._schedule.name
            self.queued += does == "queue"

    def oldest_run_ends(self) -> None:
        """Then one that waits may start."""
        running = next(job for job in self._runs() if job.state not in RUN_ENDED)
        running.state = types.PipelineState.PIPELINE_STATE_SUCCEEDED
        if self.queued:
            self.queued -= 1
            self.comes()

    def _runs(self) -> list[types.PipelineJob]:
        jobs = self._server.stored["pipelineJobs"].values()
        return [job for job in jobs if job.schedule_name == self._schedule.name]


def patience(request: pytest.FixtureRequest) -> float:
    """A timeout that only a test with a planted "delay" reaches, however busy the machine is."""
    planted = getattr(request.node, "callspec", None)
    return SHORT_SECONDS if planted and planted.params.get("does") == "delay" else 30.0


def fails(call: Callable[[], Any], failure: Failure, *words: str) -> ServiceError:
    """Asserts that the call raises one ServiceError of the kind, which names the address and the words."""
    with pytest.raises(ServiceError) as caught:
        call()
    assert caught.value.failure is failure, caught.value
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value
