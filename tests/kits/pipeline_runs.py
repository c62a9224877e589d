"""Runs of the pipeline that tests share: each starts `hares` once, as a user does, and is read afterwards."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from hares.version_lines import version_lines
from hares_command import PACKAGES

PROJECT = Path(__file__).resolve().parents[2]
FEW_TASKS = "tasks=[birdsong, esc50, speech_commands_v2]"
# The demo preset with less of everything, and an encoder that is soon compiled: these tests hold the chain, not the
# scores.
SHORT = (
    "training.encoder=cnn14_tiny",
    "training.batch_size=8",
    "training.steps=30",
    "training.warmup_steps=3",
    "training.steps_per_loop=5",
    "training.checkpoint_every_steps=5",
    "protocol.max_steps=100",
    "protocol.crops_per_clip=1",
    "protocol.augmented_epochs=1",
    "protocol.bootstrap_resamples=50",
)


@dataclass(frozen=True)
class Finished:
    """A `hares` process that has ended."""

    code: int
    stdout: str
    stderr: str
    workspace: Path

    def steps(self, outcome: str) -> list[str]:
        """Ids of the steps that ended in "done", "cached" or "FAILED"."""
        lines = [line.split() for line in self.stdout.splitlines()]
        return [words[1] for words in lines if len(words) > 1 and words[0] == outcome]

    def artifact(self, node: str, output: str) -> Path:
        """Newest folder of an output of a node."""
        return max((self.workspace / "artifacts" / node / output).iterdir(), key=lambda p: int(p.name))

    def report(self) -> dict:
        return json.loads((self.artifact("evaluator", "report") / "report.json").read_text())


@functools.cache
def project() -> Path:
    """A copy of the packages, so that a file saved while the tests run does not change what they run."""
    folder = Path(tempfile.mkdtemp(prefix="hares-project-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy_project(PROJECT, folder)
    return folder


def copy_project(source: Path, folder: Path) -> None:
    for name in PACKAGES:
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hares_command.py", *(line.lock for line in version_lines())):
        shutil.copy(source / name, folder)


def command(corpus: Path, workspace: Path, *settings: str) -> list[str]:
    options = [part for setting in (*SHORT, *settings) for part in ("--set", setting)]
    return [sys.executable, "-m", "cli.main", "run", "--config", "demo", "--corpus", str(corpus),
            "--workspace", str(workspace), *options]  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "TF_CPP_MIN_LOG_LEVEL": "2"}


def run(corpus: Path, workspace: Path, *settings: str, folder: Path | None = None) -> Finished:
    folder = folder or project()
    done = subprocess.run(
        command(corpus, workspace, *settings),
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    return Finished(done.returncode, done.stdout, done.stderr, workspace)


@pytest.fixture(scope="session")
def made_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest corpus that `hares demo` can make."""
    from hares.synthesis import make_corpus

    folder = tmp_path_factory.mktemp("made") / "corpus"
    make_corpus(folder, scale=0.1)
    return folder


@pytest.fixture(scope="session")
def full_run(made_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """All twelve tasks, once."""
    finished = run(made_corpus, tmp_path_factory.mktemp("full"))
    assert finished.code == 0, finished.stdout + finished.stderr
    return finished


@pytest.fixture(scope="session")
def short_run(made_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Three tasks, undisturbed: what disturbed runs are held against."""
    finished = run(made_corpus, tmp_path_factory.mktemp("short"), FEW_TASKS)
    assert finished.code == 0, finished.stdout + finished.stderr
    return finished


@pytest.fixture
def copied_corpus(made_corpus: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies data sets of the made corpus, for tests that spoil them."""

    def copy(*datasets: str) -> Path:
        for name in (*datasets, "pretrain"):
            shutil.copytree(made_corpus / name, tmp_path / "corpus" / name)
        return tmp_path / "corpus"

    return copy
