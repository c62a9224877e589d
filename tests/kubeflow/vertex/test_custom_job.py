"""Training in custom jobs that the server really runs: one job a key, found again, cancelled with its step."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from google.cloud.aiplatform_v1 import types
from google.protobuf import json_format

from kits.vertex_kit import (
    LASTING,
    LOSING,
    RETRIES,
    fails,
    path_of_this_environment,  # noqa: F401  (an automatic fixture)
    patience,
    settings,
    vertex_fixture,  # noqa: F401  (the fixture `vertex`)
)
from kits.vertex_server import VertexServer, until
from kubeflow.clusters import Failure
from kubeflow.vertex.api import VertexApi
from kubeflow.vertex.custom_job import (
    CustomJobCancelled,
    CustomJobError,
    custom_job,
    run_custom_job,
)
from kubeflow.vertex.settings import HardwareSpec

CREATE = "POST customJobs$"
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DONE = [sys.executable, "-c", "pass"]
POLL = 0.05


@pytest.fixture
def api(vertex: VertexServer, tmp_path: Path, request: pytest.FixtureRequest) -> VertexApi:
    return VertexApi(settings(vertex, tmp_path, timeout_seconds=patience(request)))


def _job(command: list[str], hardware: HardwareSpec | None = None) -> types.CustomJob:
    return custom_job("hares trainer", hardware or HardwareSpec(), "image:1", command)


def _run(api: VertexApi, command: list[str], key: str = "run/trainer") -> types.CustomJob:
    return run_custom_job(api, key, _job(command), threading.Event(), POLL)


# The JSON that the REST reference of customJobs shows for these machines.
POOLS = {
    "cpu": (HardwareSpec("n1-standard-8"), {"machineType": "n1-standard-8"}, [1]),
    "gpu": (
        HardwareSpec("g2-standard-12", "NVIDIA_L4", 1),
        {"machineType": "g2-standard-12", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1},
        [1],
    ),
    "gpu workers": (
        HardwareSpec("n1-standard-16", "NVIDIA_TESLA_V100", 2, workers=4),
        {"machineType": "n1-standard-16", "acceleratorType": "NVIDIA_TESLA_V100", "acceleratorCount": 2},
        [1, 3],
    ),
    "tpu v3": (
        HardwareSpec("cloud-tpu", "TPU_V3", 8),
        {"machineType": "cloud-tpu", "acceleratorType": "TPU_V3", "acceleratorCount": 8},
        [1],
    ),
    "tpu v5e": (
        HardwareSpec("ct5lp-hightpu-4t", tpu_topology="2x2"),
        {"machineType": "ct5lp-hightpu-4t", "tpuTopology": "2x2"},
        [1],
    ),
}


@pytest.mark.parametrize("kind", POOLS)
def test_hardware_becomes_worker_pools(kind: str) -> None:
    hardware, machine, replicas = POOLS[kind]
    job = custom_job("hares trainer", hardware, "image:1", ["python", "-c", "$(HOME)"], "me@project")
    written = json_format.MessageToDict(types.CustomJob.pb(job))["jobSpec"]
    pools = written["workerPoolSpecs"]
    assert [pool["machineSpec"] for pool in pools] == [machine] * len(replicas)
    assert [int(pool["replicaCount"]) for pool in pools] == replicas
    assert pools[0]["containerSpec"] == {
        "imageUri": "image:1",
        "command": ["python"],
        "args": ["-c", "$$(HOME)"],
    }
    assert written["serviceAccount"] == "me@project"
    assert written["scheduling"] == {"timeout": "604800s"}
    assert hardware.tpu == kind.startswith("tpu")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"accelerator": "NVIDIA_L5", "accelerator_count": 1}, "NVIDIA_L4"),
        ({"accelerator": "NVIDIA_L4"}, "both or neither"),
        ({"machine_type": "cloud-tpu", "accelerator": "TPU_V3", "accelerator_count": 32}, "8 of TPU_V2"),
        ({"accelerator": "TPU_V2", "accelerator_count": 8}, "cloud-tpu"),
        ({"machine_type": "ct5lp-hightpu-4t", "tpu_topology": "4x4"}, "ct5lp-hightpu-4t with 2x2"),
        ({"tpu_topology": "2x2"}, "tpu_topology"),
        ({"machine_type": "ct5lp-hightpu-1t", "tpu_topology": "1x1", "workers": 2}, "workers"),
        ({"workers": 0}, "workers"),
    ],
)
def test_hardware_that_does_not_exist_is_refused(given: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        HardwareSpec(**given)  # type: ignore[arg-type]


def test_a_job_runs_once_for_its_key(vertex: VertexServer, api: VertexApi, tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"open({str(tmp_path / 'runs')!r}, 'a').write('x')"]
    first = _run(api, command)
    assert _run(api, command).name == first.name  # a step that is tried again after its job had succeeded
    assert (tmp_path / "runs").read_text() == "x"
    assert _run(api, command, "other run/trainer").name != first.name
    assert vertex.count(CREATE) == 2


def test_a_running_job_is_found_and_waited_for(vertex: VertexServer, api: VertexApi, tmp_path: Path) -> None:
    flag = tmp_path / "go"
    wait = f"import os, time\nwhile not os.path.exists({str(flag)!r}): time.sleep(0.02)"
    command = [sys.executable, "-c", wait]
    names: list[str] = []
    steps = [threading.Thread(target=lambda: names.append(_run(api, command).name)) for _ in range(2)]
    steps[0].start()
    until(lambda: vertex.stored["customJobs"])
    steps[1].start()
    seen = len(vertex.requests)
    until(lambda: len(vertex.requests) > seen + 4)
    flag.touch()
    for step in steps:
        step.join(20)
    assert len(names) == 2
    assert len(set(names)) == len(vertex.stored["customJobs"]) == vertex.count(CREATE) == 1


def test_of_two_started_at_once_the_younger_is_cancelled(vertex: VertexServer, api: VertexApi) -> None:
    elder = types.CustomJob(_job(DONE))

    def arrive() -> None:  # between our look and our creation, another step creates the same job
        stored = next(iter(vertex.stored["customJobs"].values()))
        elder.name, elder.labels = stored.name.replace("700", "600"), stored.labels
        elder.create_time, elder.state = stored.create_time.replace(year=2000), stored.state
        vertex.stored["customJobs"][elder.name.rsplit("/", 1)[-1]] = elder

    vertex.on_create = arrive
    stopped = threading.Event()
    step = threading.Thread(
        target=run_custom_job, args=(api, "run/trainer", _job(SLEEP), stopped, POLL), daemon=True
    )
    elder.job_spec = _job(SLEEP).job_spec
    step.start()
    until(lambda: vertex.count(":cancel"))
    younger = next(job for job in vertex.stored["customJobs"].values() if job.name != elder.name)
    until(lambda: younger.state == types.JobState.JOB_STATE_CANCELLED)
    elder.state = types.JobState.JOB_STATE_SUCCEEDED
    step.join(20)
    assert not step.is_alive()


def test_a_job_with_other_content_makes_room(vertex: VertexServer, api: VertexApi) -> None:
    stopped, errors = threading.Event(), []

    def abandon() -> None:
        try:
            run_custom_job(api, "k", _job(SLEEP), stopped, POLL)
        except CustomJobError as error:
            errors.append(str(error))

    abandoned = threading.Thread(target=abandon)
    abandoned.start()
    until(lambda: vertex.stored["customJobs"])
    run_custom_job(api, "k", _job(DONE), stopped, POLL)
    abandoned.join(20)
    assert len(errors) == 1
    assert "is cancelled" in errors[0]
    states = [job.state.name for job in vertex.stored["customJobs"].values()]
    assert states == ["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"]


def test_a_job_that_failed_says_so_and_is_started_again(
    vertex: VertexServer, api: VertexApi, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", f"import os; os.mkdir({str(tmp_path / 'first')!r}); raise SystemExit(3)"]
    with pytest.raises(CustomJobError, match=r"is failed: replica exited with 3; its log: https://console"):
        _run(api, command)
    with pytest.raises(CustomJobError, match="exited with 1"):
        _run(api, command)
    assert vertex.count(CREATE) == 2


def test_stopping_cancels_the_job(vertex: VertexServer, api: VertexApi) -> None:
    stopped = threading.Event()
    threading.Thread(
        target=lambda: (until(lambda: vertex.stored["customJobs"]), stopped.set()), daemon=True
    ).start()
    with pytest.raises(CustomJobCancelled):
        run_custom_job(api, "k", _job(SLEEP), stopped, 30.0)
    (job,) = vertex.stored["customJobs"].values()
    until(lambda: job.state == types.JobState.JOB_STATE_CANCELLED)
    with pytest.raises(CustomJobCancelled, match="before the custom job was started"):
        run_custom_job(api, "k", _job(SLEEP), stopped, 30.0)
    assert vertex.count(CREATE) == 1


@pytest.mark.parametrize(("does", "failure"), LASTING)
def test_a_job_that_cannot_be_started_is_one_error(
    vertex: VertexServer, api: VertexApi, does: int | str, failure: Failure
) -> None:
    vertex.plant(CREATE, does, times=99)
    fails(lambda: _run(api, DONE), failure, vertex.url, "starting hares trainer")
    assert vertex.count(CREATE) == (RETRIES + 1 if failure is Failure.BUSY else 1)
    vertex.faults.clear()
    _run(api, DONE)
    assert len(vertex.stored["customJobs"]) == 1


@pytest.mark.parametrize("does", LOSING)
def test_a_job_whose_answer_is_lost_is_found_and_not_sent_again(
    vertex: VertexServer, api: VertexApi, does: int | str
) -> None:
    vertex.plant(CREATE, does, after=True)
    vertex.plant("GET customJobs/", 503)  # and a look at it may fail, too
    _run(api, DONE)
    assert len(vertex.stored["customJobs"]) == vertex.count(CREATE) == 1
