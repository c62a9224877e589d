"""Compiled files executed from the file alone, against the local runner with the same settings: equal, digit by digit.

The short run, one target, with a step that is killed, is for every day; the other target and all twelve tasks on real
recordings are `make test-full`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from compiled_kit import NAMES, compiled, files_of, hares, published, report_of
from pipeline_runs import FEW_TASKS, SHORT, Finished

from kubeflow.compiled import read_compiled
from kubeflow.harness import run_compiled


class Kills:
    """Kills the trainer with SIGKILL as soon as it has a checkpoint and a part of its output."""

    def __init__(self, run: Path, checkpoints: Path):
        self.started: list[tuple[str, int]] = []
        self.left: list[Path] = []
        self._run = run
        self._checkpoints = checkpoints

    def start(self, step: str, attempt: int, process: int) -> None:
        self.started.append((step, attempt))
        if (step, attempt) == ("trainer", 1):
            threading.Thread(target=self._kill, args=(process,), daemon=True).start()

    def _kill(self, process: int) -> None:
        outputs = self._run / "trainer" / "attempt-1" / "outputs"
        while not any(self._checkpoints.glob("*/*.index")):
            time.sleep(0.02)
        os.kill(process, signal.SIGKILL)
        self.left = sorted(outputs.rglob("*.pb"))

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        pass


def test_a_kubeflow_file_with_its_trainer_killed_gives_the_local_runs_report(
    made_corpus: Path, short_run: Finished, tmp_path: Path, code_of_the_test: None
) -> None:
    path = compiled("kubeflow", made_corpus, tmp_path, *SHORT, FEW_TASKS)
    kills = Kills(tmp_path / "run", tmp_path / "workspace" / "checkpoints")
    run_compiled(read_compiled(path), tmp_path / "run", kills)
    assert [step for step in kills.started if step[0] == "trainer"] == [("trainer", 1), ("trainer", 2)]
    assert kills.left  # the first attempt had written a model, which is not the one that was scored
    assert report_of(tmp_path / "run") == short_run.report()

    found = published(tmp_path / "run", "evaluator")
    report = short_run.report()
    scores = {name: entry["value"] for name, entry in report["tasks"].items() if entry["value"] is not None}
    assert len(scores) == 3
    assert {name: found["metrics"]["metadata"][name] for name in scores} == scores
    assert found["metrics"]["type"]["schemaTitle"] == "system.Metrics"
    page = Path(found["page"]["uri"])  # the address of a system.HTML is the page itself
    assert found["page"]["type"]["schemaTitle"] == "system.HTML"
    assert page.read_bytes() == (Path(found["report"]["uri"]) / "report.html").read_bytes()

    again = hares("run-compiled", str(path), "--folder", str(tmp_path / "run"))
    assert {line.split()[0] for line in again.stdout.splitlines()[:12]} == {"kept"}
    for name, value in scores.items():
        (line,) = [line for line in again.stdout.splitlines() if line.startswith(f"{name} ")]
        assert line.split()[2] == f"{100 * value:.1f}"


@pytest.mark.full
def test_a_vertex_file_gives_the_local_runs_report(
    made_corpus: Path, short_run: Finished, tmp_path: Path
) -> None:
    path = compiled("vertex", made_corpus, tmp_path, *SHORT, FEW_TASKS)
    hares("run-compiled", str(path), "--folder", str(tmp_path / "run"))
    assert report_of(tmp_path / "run") == short_run.report()


@pytest.fixture(scope="module")
def twelve_here(shared_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The demo's settings on the real recordings, by the local runner."""
    workspace = tmp_path_factory.mktemp("twelve")
    hares(
        "run", "--config", "demo", "--corpus", str(shared_corpus), "--workspace", str(workspace), timeout=7000
    )
    return Finished(0, "", "", workspace)


@pytest.mark.full
@pytest.mark.corpus
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("target", sorted(NAMES))
def test_twelve_tasks_on_real_recordings(
    target: str, shared_corpus: Path, twelve_here: Finished, tmp_path: Path
) -> None:
    path = compiled(target, shared_corpus, tmp_path)
    run = tmp_path / "run"
    hares("run-compiled", str(path), "--folder", str(run), timeout=7000)
    report = report_of(run)
    assert report == twelve_here.report()
    assert len(report["tasks"]) == 12 and report["hares"] is not None
    for task in report["tasks"]:
        embeddings = Path(published(run, f"embed_{task}")["embeddings"]["uri"])
        assert files_of(embeddings) == files_of(twelve_here.artifact(f"embed_{task}", "embeddings"))
