"""Steps of compiled files killed with SIGKILL at random moments and tried again: the end is the undisturbed run's.

Of each kind of step that does work one is killed twice: its first attempt at any moment, and where it is quicker than
that as soon as it writes; its second while it writes.
What the killed ones left is then spoilt and added to, so that whoever read any of it would fail or give other scores.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kits.compiled_kit import NAMES, compiled, files_of, published, report_of
from kits.pipeline_runs import SHORT, Finished
from kits.pipeline_runs import run as run_here
from kubeflow.compiled.file import read_compiled
from kubeflow.compiled.local_run import run_compiled

ONE_TASK = "tasks=[birdsong]"
KILLED = ("ingest_birdsong", "transform", "trainer", "embed_birdsong", "evaluator", "pusher")
ANY_MOMENT = 12.0  # seconds; an undisturbed step takes 10 to 20 on a quiet machine
WHILE_WRITING = 0.3  # seconds after the first file


class RandomKills:
    """Kills the steps above, and spoils what they left.

    Attributes:
        started: step and attempt, in order.
        left: step to the files that its second attempt left half done.
    """

    def __init__(self, run: Path, pushed: Path, seed: int):
        self.started: list[tuple[str, int]] = []
        self.left: dict[str, list[str]] = {}
        self._run, self._pushed = run, pushed
        self._random = random.Random(seed)
        self._killer = threading.Thread()

    def start(self, step: str, attempt: int, process: int) -> None:
        self.started.append((step, attempt))
        if step in KILLED and attempt <= 2:
            moment = self._random.uniform(0, ANY_MOMENT if attempt == 1 else WHILE_WRITING)
            if attempt == 2:
                self._killer.join()  # which may still be spoiling what the first one left
            self._killer = threading.Thread(
                target=self._kill, args=(step, attempt, process, moment), daemon=True
            )
            self._killer.start()

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        pass

    def _kill(self, step: str, attempt: int, process: int, moment: float) -> None:
        began = time.time()
        while running(process) and not list(self._written(step, began)):
            if attempt == 1 and time.time() - began > moment:
                break
            time.sleep(0.002)
        if attempt == 2 and step != "pusher":  # which copies a few files, and has ended
            time.sleep(moment)
        if not running(process):
            return
        os.kill(process, signal.SIGKILL)
        while running(process):
            time.sleep(0.002)
        written = list(self._written(step, began))
        for path in written:
            path.write_bytes(b"half")
            (path.parent / "of-a-killed-attempt").write_bytes(b"half")
        if attempt == 2:
            self.left[step] = [str(path) for path in written]

    def _written(self, step: str, since: float) -> Iterator[Path]:
        """Files that a step has written since a moment and nobody may read before it has ended.

        Not checkpoints, which are to be read, nor whole versions of the pushed model.
        """
        places = [self._run.glob(f"{step}/*/outputs"), self._pushed.glob(".*") if step == "pusher" else []]
        for path in [path for found in places for place in found for path in place.rglob("*")]:
            with contextlib.suppress(FileNotFoundError):  # it goes on working
                if path.is_file() and path.stat().st_mtime >= since:
                    yield path


def running(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


@pytest.fixture(scope="module")
def undisturbed(made_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same settings by the local runner."""
    finished = run_here(made_corpus, tmp_path_factory.mktemp("undisturbed"), ONE_TASK)
    assert finished.code == 0, finished.stdout + finished.stderr
    return finished


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("target", sorted(NAMES, reverse=True))
def test_steps_killed_at_random_moments_change_nothing(
    target: str, made_corpus: Path, undisturbed: Finished, tmp_path: Path, code_of_the_test: None
) -> None:
    path = compiled(target, made_corpus, tmp_path, *SHORT, ONE_TASK)
    run, pushed = tmp_path / "run", tmp_path / "workspace" / "pushed"
    seed = random.SystemRandom().randrange(1 << 32)
    kills = RandomKills(run, pushed, seed)
    run_compiled(read_compiled(path), run, kills)
    print(f"seed {seed}; attempts {kills.started}; left {kills.left}")

    attempts = {step: max(a for s, a in kills.started if s == step) for step, _ in kills.started}
    assert {step for step, count in attempts.items() if count > 1} == set(KILLED)
    assert sum(attempts[step] == 3 and bool(kills.left.get(step)) for step in KILLED) >= 4

    assert report_of(run) == undisturbed.report()
    for step, output in (("ingest_birdsong", "examples"), ("embed_birdsong", "embeddings")):
        folder = Path(published(run, step)[output]["uri"])
        assert files_of(folder) == files_of(undisturbed.artifact(step, output))
    model = files_of(Path(published(run, "trainer")["model"]["uri"]) / "Format-Serving")
    versions = [folder for folder in pushed.iterdir() if not folder.name.startswith(".")]
    assert versions and all(files_of(version) == model for version in versions)
    assert files_of(Path(published(run, "pusher")["pushed_model"]["uri"])) == model

    counted = {step: json.loads((run / step / "published.json").read_text())["attempt"] for step in attempts}
    assert counted == attempts  # the attempt that counts is the last one
    if target == "kubeflow":  # where each has a folder of its own
        for given in run.glob("*/attempt-*/executor_input.json"):
            for entry in json.loads(given.read_text())["inputs"]["artifacts"].values():
                uri = Path(entry["artifacts"][0]["uri"])
                if uri.is_relative_to(run):
                    step, attempt = uri.relative_to(run).parts[:2]
                    assert attempt == f"attempt-{attempts[step]}", given
