"""Processes that are killed at random moments: the run that is resumed ends as if nothing had been.

Twenty times SIGKILL, then SIGTERM, then SIGKILL with the newest checkpoint cut short. Weights and optimizer state are
held to those of a run in one go, byte by byte. The moments are drawn from a seed; where exactly in its work a kill
meets a process is up to the machine, as it is in life.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from kits import training_kit as KIT

pytestmark = pytest.mark.slow

STEPS, INTERRUPTED = 40, 5  # as in killed_runs.py


def planned(seed, sent, start, step, write, export, truncated=False):
    """So many kills of each kind: the steps in order, those between the last step and the export at the end."""
    draws = random.Random(seed)
    kinds = ["step"] * step + ["write"] * write
    draws.shuffle(kinds)
    targets = sorted(draws.sample(range(2, STEPS - 6), step + write))
    delays = {"start": 3.0, "step": 0.02, "write": 0.002, "export": 0.3}  # seconds, at most

    def kill(kind, at):
        share = draws.random() if truncated else 1
        return {
            "kind": kind,
            "signal": sent,
            "at": at,
            "delay": draws.random() * delays[kind],
            "truncate": share,
        }

    kills = [kill(kind, at) for kind, at in zip(kinds, targets, strict=True)]
    for _ in range(start):
        kills.insert(draws.randrange(len(kills) + 1), kill("start", 0))
    return kills + [kill("export", STEPS) for _ in range(export)]


PLAN = {
    "killed": planned(1, signal.SIGKILL, start=1, step=4, write=4, export=1),
    "killed_again": planned(2, signal.SIGKILL, start=1, step=4, write=4, export=1),
    "terminated": planned(3, signal.SIGTERM, start=0, step=3, write=0, export=0),
    "truncated": planned(4, signal.SIGKILL, start=0, step=2, write=0, export=0, truncated=True),
    "in_one_go": [],
}
DISTURBED = [name for name in PLAN if name != "in_one_go"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of all runs, and what became of each."""
    folder = tmp_path_factory.mktemp("kills")
    KIT.write_random_clips(folder)
    root = Path(__file__).parents[2]
    script = root / "tests/kits/killed_runs.py"
    environment = {
        "PYTHONPATH": f"{root}:{root}/tests",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [sys.executable, str(script), str(folder), json.dumps(PLAN)],
        cwd=root, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {name: json.loads((folder / f"{name}.json").read_text()) for name in PLAN}
    for name, run in found.items():
        assert run["code"] == 0, (folder / name / "log").read_text()[-3000:]
    return folder, found


def state(folder):
    """The bytes of everything a finished run's last checkpoint holds."""
    reader = tf.train.load_checkpoint(str(folder / "run" / f"ckpt-{STEPS}"))
    # The number of checkpoints written is not the run's state, nor is how TensorFlow describes the object graph.
    names = {
        name
        for name in reader.get_variable_to_shape_map()
        if not name.startswith(("save_counter/", "_CHECK"))
    }
    return {name: reader.get_tensor(name).tobytes() for name in names}


@pytest.mark.parametrize("name", DISTURBED)
def test_the_resumed_run_ends_byte_for_byte_as_the_undisturbed_one(runs, name):
    folder, _ = runs
    expected = state(folder / "in_one_go")
    slots = [key for key in expected if "/.OPTIMIZER_SLOT/" in key]
    assert len(slots) == 2 * 10 and any("iter" in key for key in expected)  # two of Adam's a variable
    assert state(folder / name) == expected
    digests = {
        json.loads((folder / run / "export" / "hares_metadata.json").read_text())["weights_digest"]
        for run in (name, "in_one_go")
    }
    assert len(digests) == 1


def test_twenty_kills_met_processes_at_work(runs):
    kills = [kill for name in ("killed", "killed_again") for kill in runs[1][name]["kills"]]
    assert len(kills) == 20
    assert {kill["status"] for kill in kills} == {-signal.SIGKILL}  # none had ended by itself
    writing = [kill for kill in kills if kill["kind"] == "write"]
    assert len(writing) == 8 and all(kill["half_written"] for kill in writing)
    lost = [kill for kill in kills if kill["kind"] == "step" and kill["step"] % 2]
    assert lost  # updates that no checkpoint held
    exports = [kill for kill in kills if kill["kind"] == "export"]
    assert len(exports) == 2 and not any(kill["exported"] for kill in exports)


def test_sigterm_ends_each_life_with_the_state_saved(runs):
    for kill in runs[1]["terminated"]["kills"]:
        assert kill["status"] == INTERRUPTED
    assert runs[1]["terminated"]["last_life_began_at"] > runs[1]["terminated"]["kills"][-1]["step"]


def test_truncated_checkpoints_were_noticed(runs):
    folder, found = runs
    log = (folder / "truncated" / "log").read_text()
    for kill in found["truncated"]["kills"]:
        assert f"{kill['truncated']} cannot be read" in log
