"""One replica and several learn the same thing: loss, metrics, every gradient, all state, and whole runs.

The replicas are logical CPU devices of one process, and processes that talk over the loopback device.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kits import training_kit as KIT

pytestmark = pytest.mark.slow

# Two replicas hold every objective; more of them, and processes, what those could do otherwise.
OBJECTIVES = {
    2: ("simclr", "classification", "byola", "cola", "clmr", "cpc", "wav2vec2"),
    4: ("simclr", "classification"),
}
WITH_STATE = ("simclr", "classification", "byola")


def start(folder, kind, replicas, objectives, **environment):
    """Logical devices and workers must be made before TensorFlow starts, so processes of their own compare."""
    root = Path(__file__).parents[2]
    script = root / "tests/kits/replica_figures.py"
    own = {"PYTHONPATH": f"{root}:{root}/tests", "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), kind, str(replicas), *objectives],
        cwd=root, env={**os.environ, **own, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def printed(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.splitlines()[-1])


@pytest.fixture(scope="module", params=[2, 4])
def mirrored(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirrored")
    KIT.write_random_clips(folder)
    return printed(start(folder, "mirrored", request.param, OBJECTIVES[request.param]))


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Figures of two processes that train together."""
    folder = tmp_path_factory.mktemp("workers")
    KIT.write_random_clips(folder)
    with socket.socket() as first, socket.socket() as second:
        for found in (first, second):
            found.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{found.getsockname()[1]}" for found in (first, second)]
    running = []
    for index in range(2):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        running.append(start(folder, "multi_worker", 2, WITH_STATE, TF_CONFIG=json.dumps(config)))
    try:
        return [printed(process) for process in running]
    finally:
        for process in running:
            process.kill()


def assert_equal_to_one_replica(figures, objectives):
    for name in objectives:
        found = figures[name]
        assert found["largest_gradient"] > 1e-2  # or agreement would mean nothing
        assert found["loss"] < 1e-5
        assert found["metrics"] < 1e-5
        assert found["gradient"] < 1e-5 * max(1.0, found["largest_gradient"])
        assert found["state"] < 1e-5
        assert found["between_copies"] == 0.0
        assert found["states"] == (13 if name == "byola" else 0)  # or agreement would mean nothing


def assert_mistakes_show(figures):
    stopped, averaged = figures["simclr, gather stopped"], figures["simclr, gradients averaged"]
    assert stopped["loss"] < 1e-5  # the loss cannot tell
    assert averaged["loss"] < 1e-5
    assert stopped["gradient"] > 1e-3
    assert averaged["gradient"] > 1e-3


def test_replicas_of_one_process_agree_with_one(mirrored):
    assert_equal_to_one_replica(mirrored, OBJECTIVES[mirrored["replicas"]])


def test_a_stopped_gather_and_averaged_gradients_would_be_noticed(mirrored):
    assert_mistakes_show(mirrored)


def test_runs_agree_step_by_step(mirrored):
    assert mirrored["train"]["mirrored"] == pytest.approx(mirrored["train"]["single"], rel=1e-4)


def test_runs_with_a_target_network_agree_step_by_step(mirrored):
    if "byola" not in OBJECTIVES[mirrored["replicas"]]:
        pytest.skip("two replicas hold it")
    several, one = mirrored["train with state"]
    assert several == pytest.approx(one, rel=1e-4)


def test_two_processes_agree_with_one(workers, mirrored):
    for figures in workers:
        assert_equal_to_one_replica(figures, WITH_STATE)
        assert_mistakes_show(figures)
        assert figures["train"]["multi_worker"] == pytest.approx(mirrored["train"]["single"], rel=1e-4)
