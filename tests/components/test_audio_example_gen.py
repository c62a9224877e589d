"""An ingestion that can bring nothing says so itself, before a later step trips over it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

pytest.importorskip("tfx")

from tfx.types import standard_artifacts

from components.artifacts import AudioManifest
from components.audio_example_gen.executor import Executor
from hares.decoding import Limits


def ingest(source: Path, folder: Path, splits: list[str]) -> None:
    examples, manifest = standard_artifacts.Examples(), AudioManifest()
    examples.uri, manifest.uri = str(folder / "examples"), str(folder / "manifest")
    properties = {
        "sources": json.dumps({"folder": str(source)}), "splits": json.dumps(splits), "clips_per_shard": 8,
        "limits": json.dumps(dataclasses.asdict(Limits())),
    }  # fmt: skip
    Executor().Do({}, {"examples": [examples], "manifest": [manifest]}, properties)


@pytest.mark.parametrize("splits", [["train"], ["train", "test"]])
def test_a_folder_that_this_machine_lacks_ends_the_step(tmp_path: Path, splits: list[str]) -> None:
    """As in a pod without the volume: the folder was there where the pipeline was compiled."""
    with pytest.raises(
        ValueError, match=rf"no folder {tmp_path}/nowhere where this step runs; mount the volume"
    ):
        ingest(tmp_path / "nowhere", tmp_path, splits)


def test_nothing_to_pretrain_on_is_said_with_the_reasons(tmp_path: Path) -> None:
    source = tmp_path / "audio"
    source.mkdir()
    with pytest.raises(ValueError, match=r"no clip to train on \(no audio file found\)"):
        ingest(source, tmp_path / "first", ["train"])
    (source / "a.wav").write_bytes(b"")
    (source / "b.wav").write_text("not audio")
    with pytest.raises(ValueError, match=r"no clip to train on \(1 empty, 1 undecodable\)"):
        ingest(source, tmp_path / "second", ["train"])
