"""A compiled step whose command runs in a custom job: retried, killed, cancelled, and on several workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types

from kits.hand_made import step as step_by_hand
from kits.hand_made import write_file
from kits.vertex_kit import (
    path_of_this_environment,  # noqa: F401  (an automatic fixture)
    settings,
    vertex_fixture,  # noqa: F401  (the fixture `vertex`)
)
from kits.vertex_server import VertexServer, until
from kubeflow.compiled.file import read_compiled
from kubeflow.compiled.local_run import run_compiled
from kubeflow.vertex.custom_job import CustomJobStep, in_custom_job, main
from kubeflow.vertex.replica import own_command
from kubeflow.vertex.settings import HardwareSpec

pytestmark = pytest.mark.slow

CREATE = "POST customJobs$"
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
POLL = 0.05


EXECUTOR = """
import json, os, sys
given = json.loads(sys.argv[sys.argv.index('--json_serialized_invocation_args') + 1])['outputs']
task = json.loads(os.environ.get('TF_CONFIG', '{"task": {"type": "chief", "index": 0}}'))['task']
for path in (given['outputFile'], os.path.join(given['artifacts']['model']['artifacts'][0]['uri'], 'weights')):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'x') as file:
        file.write(f"{task['type']} {task['index']}")
"""


def _step_arguments(vertex: VertexServer, folder: Path, container: list[str], workers: int = 1) -> list[str]:
    """What Vertex would run for a compiled step, its placeholders filled in."""
    hardware = HardwareSpec(workers=workers)
    step = CustomJobStep(settings(vertex, folder), hardware, "image:1", POLL, {"cost_centre": "audio"})
    compiled = {
        "image": "image:0",
        "command": container[:1],
        "args": container[1:],
        "resources": {"cpuLimit": 8.0},
    }
    executor_input = {
        "outputs": {
            "outputFile": str(folder / "trainer_7/executor_output.json"),
            "artifacts": {"model": {"artifacts": [{"uri": str(folder / "trainer_7/model")}]}},
        }
    }
    wrapped = in_custom_job(compiled, step)
    assert (wrapped["image"], wrapped["command"][:2]) == ("image:0", ["python", "-m"])
    assert "resources" not in wrapped
    places = {
        "{{$}}": json.dumps(executor_input),
        "{{$.pipeline_job_resource_name}}/{{$.pipeline_task_name}}": "projects/1/pipelineJobs/r/trainer",
    }
    return [places.get(word, word) for word in wrapped["args"]]


def test_a_step_runs_its_own_command_in_a_job_of_three_workers(
    vertex: VertexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    arguments = _step_arguments(
        vertex,
        tmp_path,
        [sys.executable, "-c", EXECUTOR, "--json_serialized_invocation_args", "{{$}}"],
        workers=3,
    )
    assert main(arguments) == 0
    assert main(arguments) == 0  # the step is tried again
    assert vertex.count(CREATE) == 1
    (job,) = vertex.stored["customJobs"].values()
    assert job.labels["cost_centre"] == "audio" and "hares_content" in job.labels  # the run's beside our own
    written = {
        str(path.relative_to(tmp_path / "trainer_7")): path.read_text()
        for path in (tmp_path / "trainer_7").rglob("*")
        if path.is_file()
    }
    assert written == {
        "executor_output.json": "chief 0",
        "model/weights": "chief 0",
        "replicas/worker-0/executor_output.json": "worker 0",
        "replicas/worker-0/model/0/weights": "worker 0",
        "replicas/worker-1/executor_output.json": "worker 1",
        "replicas/worker-1/model/0/weights": "worker 1",
    }


# The step in the job: waits for a file, then writes its output and says so, wherever it was told to.
WAITS = """
import time
while not os.path.exists(values['go']): time.sleep(0.02)
write('out', 'made in a job'); say(rows=3)
"""
FLAGGED = "import sys; sys.argv.pop(1)\n"  # the executor input stands behind TFX's flag


def _in_job(one: dict[str, Any], vertex: VertexServer, folder: Path) -> dict[str, Any]:
    """A step made by hand, its command as TFX's entry point takes it, wrapped as `hares compile` wraps it."""
    container = {**one["container"], "args": ["--json_serialized_invocation_args", "{{$}}"]}
    container["command"][-1] = FLAGGED + container["command"][-1]
    wrapped = in_custom_job(container, CustomJobStep(settings(vertex, folder), HardwareSpec(), "i:1", POLL))
    return {**one, "container": wrapped}


class _KillsTheFirst:
    """Kills the step's first attempt as soon as its job runs, and lets the job end when the second waits for it."""

    def __init__(self, vertex: VertexServer, go: Path):
        self.attempts = 0
        self._vertex, self._go = vertex, go

    def start(self, step: str, attempt: int, process: int) -> None:
        if step == "trains":
            self.attempts = attempt
            threading.Thread(target=self._act, args=(attempt, process), daemon=True).start()

    def _act(self, attempt: int, process: int) -> None:
        if attempt == 1:
            until(lambda: self._vertex.stored["customJobs"], 60)
            os.kill(process, signal.SIGKILL)
        else:
            seen = self._vertex.count("GET customJobs/")
            until(lambda: self._vertex.count("GET customJobs/") > seen, 60)
            self._go.touch()

    def finish(self, step: str, outcome: str, seconds: float) -> None: ...


def test_a_killed_step_finds_its_job_and_hands_on_what_it_wrote(vertex: VertexServer, tmp_path: Path) -> None:
    """Both attempts have other folders for their outputs; there is one job, and its artifacts are those read on."""
    go = tmp_path / "go"
    trains = step_by_hand(WAITS, parameters={"go": {"runtimeValue": {"constant": str(go)}}}, retries=1)
    reads = step_by_hand(
        "write('out', pathlib.Path(took['x']['uri'], 'data').read_text() + str(took['x']['metadata']['rows'])); say()",
        {"x": ("trains", "out")},
    )
    path = write_file(tmp_path / "p.yaml", {"trains": _in_job(trains, vertex, tmp_path), "reads": reads})
    kills = _KillsTheFirst(vertex, go)
    done = run_compiled(read_compiled(path), tmp_path / "run", kills)
    assert (kills.attempts, vertex.count(CREATE)) == (2, 1)
    assert (Path(done["reads"]["out"][0]["uri"]) / "data").read_text() == "made in a job3"


def test_a_worker_without_an_executor_input_is_refused() -> None:
    with pytest.raises(ValueError, match="--json_serialized_invocation_args"):
        own_command(["python", "-c", "pass"], {"type": "worker", "index": 0})
    with pytest.raises(ValueError, match="outputFile"):
        own_command(["python", "--json_serialized_invocation_args={}"], {"type": "worker", "index": 0})


def test_cancelling_the_step_cancels_the_job(vertex: VertexServer, tmp_path: Path) -> None:
    arguments = _step_arguments(vertex, tmp_path, SLEEP)
    step = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "kubeflow.vertex.custom_job", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    try:
        until(lambda: vertex.stored["customJobs"], 120)
        step.send_signal(signal.SIGTERM)
        _, said = step.communicate(timeout=60)
    finally:
        step.kill()
    assert step.returncode == 128 + signal.SIGTERM
    assert "cancelled custom job" in said
    (job,) = vertex.stored["customJobs"].values()
    until(lambda: job.state == types.JobState.JOB_STATE_CANCELLED)


def test_a_step_that_fails_says_why(
    vertex: VertexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    arguments = _step_arguments(vertex, tmp_path, [sys.executable, "-c", "raise SystemExit(4)"])
    assert main(arguments) == 1
    assert "exited with 4" in capsys.readouterr().err
    given = json.loads(arguments[0])
    given["service"] = {**given["service"], "region": ""}
    assert main([json.dumps(given), *arguments[1:]]) == 1
    assert "service.region" in capsys.readouterr().err
    assert replace(HardwareSpec(), **given["hardware"]) == HardwareSpec()
