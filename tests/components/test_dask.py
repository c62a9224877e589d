"""Ingestion and embedding on a Dask cluster of two worker processes, against Beam's in-memory runner."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("tfx")
pytest.importorskip("distributed", reason="Dask is not installed; it comes with hares-tfx[dask]")

import tensorflow as tf
from distributed import LocalCluster
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.artifacts import AudioManifest, Embeddings
from components.audio_example_gen import executor as ingestion
from components.beam_runner import DASK_PARTITIONS, DASK_RUNNER, listing_slices
from components.embedder import executor as embedding

CLIPS, CLIPS_PER_SHARD = 24, 3
PROTOCOL = "{}"


def ingest(sources: dict[str, str], splits: list[str], out: Path, beam_args: list[str]) -> Any:
    examples, manifest = standard_artifacts.Examples(), AudioManifest()
    examples.uri, manifest.uri = str(out / "examples"), str(out / "manifest")
    context = BaseBeamExecutor.Context(beam_pipeline_args=beam_args, tmp_dir=str(out / "tmp"), unique_id="1")
    properties = {
        "sources": json.dumps(sources),
        "splits": json.dumps(splits),
        "clips_per_shard": CLIPS_PER_SHARD,
    }
    outputs = {"examples": [examples], "manifest": [manifest]}
    ingestion.Executor(context).Do({}, outputs, properties)
    return examples


def embed(examples: Any, model_uri: Path, task: str, out: Path, beam_args: list[str]) -> None:
    model, embeddings = standard_artifacts.Model(), Embeddings()
    model.uri, embeddings.uri = str(model_uri), str(out / "embeddings")
    context = BaseBeamExecutor.Context(beam_pipeline_args=beam_args, tmp_dir=str(out / "tmp"), unique_id="2")
    inputs = {"examples": [examples], "model": [model]}
    properties = {"task": task, "protocol": PROTOCOL}
    embedding.Executor(context).Do(inputs, {"embeddings": [embeddings]}, properties)


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def save_encoder(uri: Path) -> None:
    """A SavedModel of a fixed projection of the waveform's first second, with what an export says of itself."""
    weights = tf.constant(np.random.default_rng(0).normal(size=(16_000, 8)), tf.float32)
    module = tf.Module()
    module.weights = tf.Variable(weights)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32)])
    def call(waveform):
        padded = tf.pad(waveform[:, :16_000], [[0, 0], [0, tf.maximum(0, 16_000 - tf.shape(waveform)[1])]])
        return {"embedding": padded @ module.weights}

    folder = uri / "Format-Serving"
    tf.saved_model.save(module, str(folder), signatures=call)
    (folder / "hares_metadata.json").write_text(json.dumps({"weights_digest": "fixed"}))


@pytest.fixture(scope="module")
def dask_args() -> Iterator[list[str]]:
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster:
        yield [
            f"--runner={DASK_RUNNER}",
            f"--dask_client_address={cluster.scheduler_address}",
            "--dask_npartitions=8",
        ]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("clips")
    for number in range(CLIPS):
        tone = 0.2 * np.sin(np.arange(16_000 + number) * (number + 3) / 40)
        soundfile.write(folder / f"{number}.wav", tone, 16_000)
    (folder / "broken.wav").write_bytes(b"not sound")
    return {"folder": str(folder)}


@pytest.fixture(scope="module")
def in_memory(sources: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("in_memory")
    save_encoder(root / "model")
    out = root / "out"
    examples = ingest(sources, ["train"], out, [])
    embed(examples, root / "model", "speech_commands_v1", out, [])
    found = files(out)
    assert sum(name.endswith(".tfrecord") for name in found) == 9
    assert sum(name.endswith(".npz") for name in found) == 9
    assert json.loads(found["manifest/manifest.json"])["splits"]["train"]["used"] == CLIPS
    assert b"broken.wav" in found["manifest/rejected.jsonl"]
    return {"files": found, "model": root / "model"}


def test_two_dask_workers_write_the_bytes_of_the_in_memory_runner(dask_args, sources, in_memory, tmp_path):
    examples = ingest(sources, ["train"], tmp_path, dask_args)
    embed(examples, in_memory["model"], "speech_commands_v1", tmp_path, dask_args)
    assert files(tmp_path) == in_memory["files"]


def killed_once(base: type, killed: Path) -> type:
    """The DoFn, which kills its own worker as -9 would, once: after one whole shard and with half of another.

    A class made in a function travels by value, so workers need not find this file.
    """

    class KilledOnce(base):  # type: ignore[misc, valid-type]
        seen = 0

        def process(self, element):
            type(self).seen += 1
            if type(self).seen == 2 and not killed.exists():
                folder = getattr(self, "_folder", None) or os.path.join(self._examples_uri, "Split-train")
                Path(folder, "clips-half.tfrecord.0.part").write_bytes(b"half")
                killed.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGKILL)
            return super().process(element)

    return KilledOnce


@pytest.mark.parametrize("step", ["ingestion", "embedding"])
def test_a_worker_killed_in_the_middle_loses_nothing(
    step, dask_args, sources, in_memory, tmp_path, monkeypatch
):
    killed, out = tmp_path / "killed", tmp_path / "out"
    module, name = (ingestion, "_IngestShard") if step == "ingestion" else (embedding, "_EmbedShard")
    monkeypatch.setattr(module, name, killed_once(getattr(module, name), killed))
    # Two partitions of many shards, so that a worker dies with work done and work to do.
    args = [*dask_args[:2], "--dask_npartitions=2"]
    examples = ingest(sources, ["train"], out, args)
    embed(examples, in_memory["model"], "speech_commands_v1", out, args)
    assert int(killed.read_text()) != os.getpid()
    assert files(out) == in_memory["files"]


def test_only_dask_lists_in_slices():
    assert listing_slices([]) == 1
    assert listing_slices(["--runner=FlinkRunner"]) == 1
    assert listing_slices([f"--runner={DASK_RUNNER}"]) == DASK_PARTITIONS
    assert listing_slices([f"--runner={DASK_RUNNER}", "--dask_npartitions=3"]) == 3
