"""Compiled files executed from the file alone, against the local runner with the same settings: equal, digit by digit.

The short run, one target, with a step that is killed, is for every day; the other target and all twelve tasks on real
recordings are `make test-full`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from kits.compiled_kit import CLUSTER, NAMES, compiled, files_of, hares, published, report_of
from kits.hand_made import Quiet
from kits.pipeline_runs import FEW_TASKS, SHORT, Finished
from kits.vertex_kit import vertex_fixture  # noqa: F401  (the fixture `vertex`)
from kits.vertex_server import VertexServer
from kubeflow.compiled.file import read_compiled
from kubeflow.compiled.local_run import run_compiled

pytestmark = pytest.mark.slow


class KillsTheTrainer(Quiet):
    """Kills the trainer's step with SIGKILL as soon as there is a checkpoint; notes what it had written by then."""

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
        while not any(self._checkpoints.glob("*/*.index")):
            time.sleep(0.02)
        os.kill(process, signal.SIGKILL)
        self.left = sorted((self._run / "trainer" / "attempt-1" / "outputs").rglob("*.pb"))


def test_a_kubeflow_file_with_its_trainer_killed_gives_the_local_runs_report(
    made_corpus: Path, short_run: Finished, tmp_path: Path, code_of_the_test: None
) -> None:
    path = compiled("kubeflow", made_corpus, tmp_path, *SHORT, FEW_TASKS)
    kills = KillsTheTrainer(tmp_path / "run", tmp_path / "workspace" / "checkpoints")
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
@pytest.mark.timeout(3600)
def test_a_vertex_file_with_its_trainer_in_a_custom_job_gives_the_local_runs_report(
    made_corpus: Path,
    short_run: Finished,
    vertex: VertexServer,
    tmp_path: Path,
    code_of_the_test: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server runs the job's own command; its waiting step is killed and finds the job; the model is registered."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")  # the job's "python"
    monkeypatch.setenv("HARES_CLUSTER_TOKEN", vertex.token)
    more = {
        "resources": {"trainer": {"custom_job": {"machine_type": "n1-standard-8"}, "retries": 1}},
        "model_registry": {"model_id": "hares-demo"},
        "service": {
            "project": "hares-test", "region": "europe-west4", "endpoint": vertex.url,
            "pipeline_root": CLUSTER["pipeline_root"],
        },
    }  # fmt: skip
    path = compiled("vertex", made_corpus, tmp_path, *SHORT, FEW_TASKS, more=more)
    kills = KillsTheTrainer(tmp_path / "run", tmp_path / "workspace" / "checkpoints")
    run_compiled(read_compiled(path), tmp_path / "run", kills)
    assert [step for step in kills.started if step[0] == "trainer"] == [("trainer", 1), ("trainer", 2)]
    assert vertex.count("POST customJobs$") == 1
    report = short_run.report()
    assert report_of(tmp_path / "run") == report

    (version,) = vertex.stored["models"]["hares-demo"]
    scores = {name: entry["value"] for name, entry in report["tasks"].items() if entry["value"] is not None}
    assert len(scores) == 3 and json.loads(version.version_description) == scores
    assert version.labels["hares_weights"] == report["encoder"]["weights_digest"][:63]
    assert set(version.version_aliases) == {"default", "blessed"}
    assert (Path(version.artifact_uri) / "saved_model.pb").is_file()


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
