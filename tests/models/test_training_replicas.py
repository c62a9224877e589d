"""One replica and two replicas learn the same thing: loss, metrics, every gradient, and whole runs."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

KIT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("training_kit.py"))))


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """Logical devices must be made before TensorFlow starts, so a process of its own compares."""
    folder = tmp_path_factory.mktemp("replicas")
    KIT.write_random_clips(folder)
    script = Path(__file__).with_name("two_replicas.py")
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "",
    }
    run = subprocess.run(
        [sys.executable, str(script), str(folder)], cwd=root, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["simclr", "classification"])
def test_loss_and_every_gradient_agree(figures, name):
    found = figures[name]
    assert found["largest_gradient"] > 1e-2  # or agreement would mean nothing
    assert found["loss"] < 1e-5
    assert found["metrics"] < 1e-5
    assert found["gradient"] < 1e-5


def test_a_stopped_gather_would_be_noticed(figures):
    stopped = figures["simclr_stopped"]
    assert stopped["loss"] < 1e-5  # the loss cannot tell
    assert stopped["gradient"] > 1e-3


def test_runs_agree_step_by_step(figures):
    assert figures["train"]["mirrored"] == pytest.approx(figures["train"]["single"], rel=1e-4)
