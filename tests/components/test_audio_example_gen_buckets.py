"""The component's own bytes, of all twelve tasks and of pretraining: from a disk, from S3 and from Google's storage."""

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
from hares.folder import FOLDER
from hares.task import load_task, task_names
from kits.bucket_fixtures import found, gs_server, prefix, s3_server, server
from pipeline.local_beam import _pipeline_here

pytestmark = pytest.mark.full

__all__ = ["found", "gs_server", "prefix", "s3_server", "server"]


def written(source: str, root: str, folder: Path) -> dict[str, bytes]:
    """Every file of the component's two artifacts; of the manifest without the source's place."""
    examples, manifest = standard_artifacts.Examples(), AudioManifest()
    examples.uri, manifest.uri = str(folder / "examples"), str(folder / "manifest")
    splits = (
        ["train"] if source == FOLDER else list(load_task(source).folds or ("train", "validation", "test"))
    )
    properties = {
        "sources": json.dumps({source: root}), "splits": json.dumps(splits), "clips_per_shard": 16,
        "limits": json.dumps(dataclasses.asdict(Limits())),
    }  # fmt: skip
    context = Executor.Context(make_beam_pipeline_fn=lambda: _pipeline_here(()))
    Executor(context).Do({}, {"examples": [examples], "manifest": [manifest]}, properties)
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    content = json.loads(files.pop("manifest/manifest.json"))
    del content["sources"]
    return files | {"manifest": json.dumps(content, sort_keys=True).encode()}


def test_every_task_and_pretraining_give_the_same_bytes(server, prefix, shared_corpus, tmp_path):
    server.upload(shared_corpus, prefix)
    places = {name: load_task(name).dataset for name in task_names()} | {FOLDER: "tut18"}
    for source, dataset in places.items():
        here = written(source, str(shared_corpus / dataset), tmp_path / source / "disk")
        there = written(source, server.address(f"{prefix}/{dataset}"), tmp_path / source / "bucket")
        assert there == here, source
        assert any(name.endswith(".tfrecord") and content for name, content in here.items())
