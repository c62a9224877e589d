"""Other runs than the plain one: changed code, a kill, another seed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from kits.pipeline_runs import FEW_TASKS, Finished, command, copy_project, environment, project, run

pytestmark = pytest.mark.slow

BEFORE_TRAINER = {
    "ingest_birdsong", "ingest_esc50", "ingest_speech_commands_v2", "ingest_pretraining",
    "schema", "statistics", "transform",
}  # fmt: skip


def scores(finished: Finished) -> dict[str, float | None]:
    return {name: entry["value"] for name, entry in finished.report()["tasks"].items()}


def model_digest(finished: Finished) -> str:
    from models.export import read_metadata

    return read_metadata(finished.artifact("trainer", "model") / "Format-Serving")["weights_digest"]


def append(path: Path, line: str) -> None:
    with open(path, "a") as file:
        file.write(f"{line}\n")


def test_a_changed_line_reruns_the_step_that_it_decides_and_what_follows(
    short_run: Finished, made_corpus: Path, tmp_path: Path
) -> None:
    """First a probe's line, then the encoder's; a comment of the encoder before that re-runs nothing."""
    folder, workspace = tmp_path / "project", tmp_path / "workspace"
    copy_project(project(), folder)
    shutil.copytree(short_run.workspace, workspace)
    encoder = folder / "models" / "encoders" / "cnn14.py"
    append(encoder, "# one more line")
    append(folder / "hares" / "probes" / "svm.py", "ANOTHER = 1")
    # The store names artifacts by path, so the copy is run in the original's place.
    kept = short_run.workspace.with_name("kept")
    short_run.workspace.rename(kept)
    try:
        workspace.rename(short_run.workspace)
        probed = run(made_corpus, short_run.workspace, FEW_TASKS, folder=folder)
        append(encoder, "ANOTHER = 1")
        changed = run(made_corpus, short_run.workspace, FEW_TASKS, folder=folder)
    finally:
        shutil.rmtree(short_run.workspace)
        kept.rename(short_run.workspace)
    assert probed.code == 0, probed.stderr
    assert probed.steps("done") == ["evaluator", "pusher"]  # the pusher has another verdict to go by
    assert changed.code == 0, changed.stderr
    assert set(changed.steps("cached")) == BEFORE_TRAINER
    assert changed.steps("done")[0] == "trainer" and len(changed.steps("done")) == 6


def test_killed_in_the_trainer_it_starts_at_the_trainer_and_ends_the_same(
    short_run: Finished, made_corpus: Path, tmp_path: Path
) -> None:
    """One test of four promises: the re-run starts at the Trainer, the Trainer at its checkpoint, scores and weights
    are those of the undisturbed run, which is also another workspace with the same seed and corpus; and all that
    holds though code was changed meanwhile that decides no weight."""
    process = subprocess.Popen(
        command(made_corpus, tmp_path, FEW_TASKS), cwd=project(), env=environment(project()),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 900
    # With that of step 15 begun, that of step 10 is one to go on from.
    while not list(tmp_path.glob("checkpoints/*/*-15*.index")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no checkpoint of step 15"
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (checkpoints,) = tmp_path.glob("checkpoints/*")
    folder = tmp_path.with_name(f"{tmp_path.name}-project")
    copy_project(project(), folder)
    append(folder / "workarounds" / "ml_metadata.py", "# one more comment")
    for name in (
        "models/export.py",
        "models/training/pictures.py",
        "pipeline/listener.py",
        "hares/probes/svm.py",
    ):
        append(folder / name, "ANOTHER = 1")
    again = run(made_corpus, tmp_path, FEW_TASKS, folder=folder)
    assert again.code == 0, again.stderr
    assert list(tmp_path.glob("checkpoints/*")) == [checkpoints]
    summary = json.loads((again.artifact("trainer", "model_run") / "summary.json").read_text())
    assert summary["loss_history"][0][0] > 10, "it began where the killed process was"
    assert set(again.steps("cached")) == BEFORE_TRAINER
    assert again.steps("done")[0] == "trainer"
    assert model_digest(again) == model_digest(short_run)
    assert scores(again) == scores(short_run)


def test_another_seed_makes_another_model(short_run: Finished, made_corpus: Path, tmp_path: Path) -> None:
    other = run(made_corpus, tmp_path, "tasks=[birdsong]", "training.seed=1", "compare_untrained=false")
    assert other.code == 0, other.stderr
    assert model_digest(other) != model_digest(short_run)
