"""An ingestion in the cache that left a file out for the machine: used only while that would be so again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tfx.orchestration.pipeline import Pipeline

from components.audio_example_gen.component import AudioExampleGen
from hares.decoding import Limits, MachineError
from hares.decoding.process import pool
from kits.lineage_stores import create_store
from kits.three_steps import SilentObserver
from pipeline.lineage.connection import store_address
from pipeline.lineage.record import RunFacts
from pipeline.local_runner import Outcome, StepFailedError, run_locally

pytestmark = pytest.mark.slow

FACTS = RunFacts({}, "demo", "local", "key", {})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on the PATH")
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", 0.1 * np.sin(np.arange(16_000) * 0.1), 16_000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", folder / "0.wav", folder / "0.m4a"], check=True)
    return folder


def ingest(folder: Path, data: Path) -> tuple[Outcome, dict[str, int]]:
    """One run of the one step; what became of it, and the rejections of its newest manifest."""
    component = AudioExampleGen({"folder": str(data)}, ("train",), "data", "code").with_id("ingest")
    pipeline = Pipeline(
        pipeline_name="p", pipeline_root=str(folder / "artifacts"), components=[component], enable_cache=True
    )
    create_store(folder / "store.sqlite")
    _, (step,) = run_locally(pipeline, SilentObserver(), FACTS, store_address("", folder / "store.sqlite"))
    manifests = sorted((folder / "artifacts/ingest/manifest").iterdir(), key=lambda path: int(path.name))
    return step.outcome, json.loads((manifests[-1] / "manifest.json").read_text())["rejected"]


def set_path(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """For the decoders too, which keep the one they were started with."""
    monkeypatch.setenv("PATH", path)
    pool(Limits().memory_bytes).close()


def test_a_file_that_lacked_ffmpeg_comes_in_when_it_is_there(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.environ["PATH"]
    set_path(monkeypatch, "")
    assert ingest(tmp_path, data) == (Outcome.RAN, {"needs_ffmpeg": 1})
    assert ingest(tmp_path, data) == (Outcome.CACHED, {"needs_ffmpeg": 1})
    set_path(monkeypatch, path)
    assert ingest(tmp_path, data) == (Outcome.RAN, {})
    assert ingest(tmp_path, data) == (Outcome.CACHED, {})
    set_path(monkeypatch, path)


def test_a_machine_that_fails_leaves_nothing_in_the_cache(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, path = tmp_path / "programs", os.environ["PATH"]
    programs.mkdir()
    (programs / "ffmpeg").write_text("#!/bin/sh\necho 'write: No space left on device' >&2\nexit 1\n")
    (programs / "ffmpeg").chmod(0o755)
    set_path(monkeypatch, str(programs))
    with pytest.raises(StepFailedError) as caught:
        ingest(tmp_path, data)
    assert "0.m4a" in str(caught.value) and "No space left on device" in str(caught.value)
    assert not isinstance(caught.value, MachineError)
    set_path(monkeypatch, path)
    assert ingest(tmp_path, data) == (Outcome.RAN, {})
