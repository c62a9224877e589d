"""Ingestion and embedding of real recordings on Beam's runners that can work here, against the in-memory one.

What the steps leave behind is compared file by file, to the byte: two worker processes of a Dask cluster, one of them
killed in the middle of a shard, and Beam's own multi-process runner. One task through a fixed projection runs on Dask
by default, with the kills; three without, all twelve through a real network, and Beam's worker processes, each of which
imports everything once more, are `make test-full`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tfx")

import apache_beam as beam
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types import standard_artifacts

from components.artifacts import AudioManifest, Embeddings
from components.audio_example_gen import executor as ingestion
from components.beam_runner import DASK_RUNNER, run_and_release
from components.embedder import executor as embedding
from hares.corpus import dataset_root
from hares.decoding import Limits
from hares.protocol import load_protocol
from hares.task import load_task, task_names
from models.encoder import load_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig

pytestmark = [pytest.mark.corpus, pytest.mark.slow]
TASKS = ("birdsong", "speech_commands_v1", "tut18")
CLIPS_PER_SHARD = 8
PROTOCOL = dataclasses.replace(load_protocol("quick"), crops_per_clip=2)


def run_steps(task: str, corpus: Path, model: Path, out: Path, beam_args: list[str]) -> dict[str, bytes]:
    """One task's ingestion and embedding by the executors; every file they leave, by its path below `out`."""
    examples, manifest = standard_artifacts.Examples(), AudioManifest()
    examples.uri, manifest.uri = str(out / "examples"), str(out / "manifest")
    properties = {
        "sources": json.dumps({task: str(dataset_root(corpus, load_task(task), {}))}),
        "splits": json.dumps(load_task(task).folds or ("train", "validation", "test")),
        "clips_per_shard": CLIPS_PER_SHARD,
        "limits": json.dumps(dataclasses.asdict(Limits())),
    }
    outputs = {"examples": [examples], "manifest": [manifest]}
    ingestion.Executor(context(out, beam_args)).Do({}, outputs, properties)
    exported, embeddings = standard_artifacts.Model(), Embeddings()
    exported.uri, embeddings.uri = str(model), str(out / "embeddings")
    protocol = json.dumps(dataclasses.asdict(PROTOCOL))
    embedding.Executor(context(out, beam_args)).Do(
        {"examples": [examples], "model": [exported]},
        {"embeddings": [embeddings]},
        {"task": task, "protocol": protocol},
    )
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def context(out: Path, beam_args: list[str]) -> BaseBeamExecutor.Context:
    return BaseBeamExecutor.Context(
        beam_pipeline_args=list(beam_args), tmp_dir=str(out.parent / "tmp"), unique_id="1"
    )


def shards(found: dict[str, bytes], suffix: str) -> list[str]:
    return sorted(name for name in found if name.endswith(suffix))


def save_projection(uri: Path) -> None:
    """A SavedModel of a fixed projection of the waveform's first second, with what an export says of itself."""
    module = tf.Module()
    module.weights = tf.Variable(np.random.default_rng(0).normal(size=(16_000, 8)), dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32)])
    def call(waveform: tf.Tensor) -> dict[str, tf.Tensor]:
        padded = tf.pad(waveform[:, :16_000], [[0, 0], [0, tf.maximum(0, 16_000 - tf.shape(waveform)[1])]])
        return {"embedding": padded @ module.weights}

    folder = uri / "Format-Serving"
    tf.saved_model.save(module, str(folder), signatures=call)
    (folder / "hares_metadata.json").write_text(json.dumps({"weights_digest": "fixed"}))


@pytest.fixture(scope="module")
def projection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("projection")
    save_projection(folder)
    return folder


@pytest.fixture(scope="module")
def in_memory(
    shared_corpus: Path, projection: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, bytes]]:
    """A task's files."""
    root = tmp_path_factory.mktemp("in_memory")

    @functools.cache
    def found(task: str) -> dict[str, bytes]:
        files = run_steps(task, shared_corpus, projection, root / task, [])
        assert len(shards(files, ".tfrecord")) > 2 and len(shards(files, ".npz")) > 2
        return files

    return found


@pytest.fixture(scope="module")
def dask_cluster() -> Iterator[Any]:
    distributed = pytest.importorskip(
        "distributed", reason="Dask is not installed; it comes with hares-tfx[dask]"
    )
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    )
    yield cluster
    # On a busy machine a worker may take longer to end than Dask waits for it. It ends with this process, as a daemon.
    with contextlib.suppress(asyncio.TimeoutError):
        cluster.close()


def dask_args(cluster: Any, partitions: int) -> list[str]:
    return [
        f"--runner={DASK_RUNNER}",
        f"--dask_client_address={cluster.scheduler_address}",
        f"--dask_npartitions={partitions}",
    ]


def workers(cluster: Any) -> set[int]:
    """Process numbers of the cluster's two workers, once both are there."""
    from distributed import Client

    with Client(cluster) as client:
        client.wait_for_workers(2, timeout=120)
        return set(client.run(os.getpid).values())


@pytest.mark.full
def test_two_dask_workers_write_the_bytes_of_the_in_memory_runner(
    dask_cluster: Any, shared_corpus: Path, projection: Path, in_memory: Any, tmp_path: Path
) -> None:
    before = workers(dask_cluster)
    for task in TASKS:
        found = run_steps(task, shared_corpus, projection, tmp_path / task, dask_args(dask_cluster, 4))
        assert found == in_memory(task)
    assert os.getpid() not in before and len(before) == 2
    assert workers(dask_cluster) == before  # nobody died on the way


@pytest.mark.full
def test_beams_own_worker_processes_write_the_same_bytes(
    shared_corpus: Path, projection: Path, in_memory: Any, tmp_path: Path
) -> None:
    args = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]
    assert run_steps("tut18", shared_corpus, projection, tmp_path / "out", args) == in_memory("tut18")


def test_bundles_done_again_leave_the_same_bytes(
    shared_corpus: Path, projection: Path, in_memory: Any, tmp_path: Path
) -> None:
    """Flink starts a job's tasks again when a task manager is lost, and Spark those of a lost executor."""
    args = [f"--runner={FnApiRunner.__module__}.FnApiRunner", "--direct_runner_bundle_repeat=2"]
    assert run_steps("tut18", shared_corpus, projection, tmp_path / "out", args) == in_memory("tut18")


# Functions and classes made in a function travel to Dask's workers by value, and need not find this file. So does the
# DoFn itself once its name in its module stands for another: what it calls is changed where that is looked up.


def killer(note: Path) -> Callable[[Path], None]:
    """What kills its own process as `kill -9` would, and first notes which, and what lies in a folder then."""

    def die(folder: Path) -> None:
        sizes = {path.name: path.stat().st_size for path in folder.rglob("*.*") if path.is_file()}
        part = note.with_suffix(".part")
        part.write_text(json.dumps({"worker": os.getpid(), "files": sizes}))
        part.rename(note)
        os.kill(os.getpid(), signal.SIGKILL)

    return die


def dying_ingestion(base: type, note: Path) -> type:
    """The DoFn, whose worker dies once: one of its shards is written, and two records of the next."""
    die = killer(note)

    class IngestHalf(base):  # type: ignore[misc, valid-type]
        begun = 0

        def process(self, element: Any) -> None:
            from hares import ingest

            read_shard = ingest.read_shard

            def read_half(*args: Any) -> Iterator[Any]:
                for number, clip in enumerate(read_shard(*args)):
                    if number == 2:
                        die(Path(self._examples_uri))
                    yield clip

            self.begun += 1
            if self.begun == 2 and not note.exists():
                ingest.read_shard = read_half
            try:
                super().process(element)
            finally:
                ingest.read_shard = read_shard

    return IngestHalf


def dying_embedding(base: type, note: Path) -> type:
    """The DoFn, whose worker dies once: one of its shards is written, and half the bytes of the next."""
    die = killer(note)

    class EmbedHalf(base):  # type: ignore[misc, valid-type]
        begun = 0

        def process(self, element: Any) -> None:
            replace = os.replace

            def cut_off(source: str, target: str) -> None:
                if not target.endswith(".npz"):
                    return replace(source, target)
                os.truncate(source, os.path.getsize(source) // 2)
                die(Path(target).parent)

            self.begun += 1
            if self.begun == 2 and not note.exists():
                os.replace = cut_off
            try:
                super().process(element)
            finally:
                os.replace = replace

    return EmbedHalf


def test_workers_killed_in_the_middle_of_a_shard_lose_nothing(
    dask_cluster: Any, shared_corpus: Path, projection: Path, in_memory: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    task, before = "speech_commands_v1", workers(dask_cluster)
    notes = {".tfrecord": tmp_path / "ingestion.json", ".npz": tmp_path / "embedding.json"}
    ingest_half = dying_ingestion(ingestion._IngestShard, notes[".tfrecord"])
    embed_half = dying_embedding(embedding._EmbedShard, notes[".npz"])
    monkeypatch.setattr(ingestion, "_IngestShard", ingest_half)
    monkeypatch.setattr(embedding, "_EmbedShard", embed_half)
    # Two partitions of several shards each, so that a worker dies with work done and work to do.
    found = run_steps(task, shared_corpus, projection, tmp_path / "out", dask_args(dask_cluster, 2))
    assert found == in_memory(task)
    by_name = {Path(name).name: content for name, content in found.items()}
    after = workers(dask_cluster)
    for suffix, note in notes.items():
        noted = json.loads(note.read_text())
        assert noted["worker"] != os.getpid() and noted["worker"] not in after
        whole = {name for name in noted["files"] if name.endswith(suffix)}
        assert 0 < len(whole) < len(shards(found, suffix))
        half = {name: size for name, size in noted["files"].items() if name.endswith(".part")}
        sizes = {name: len(by_name[name.partition(suffix)[0] + suffix]) for name in half}
        assert any(0 < half[name] < sizes[name] for name in half)
        assert not half.keys() & by_name.keys()
    assert not before <= after


def test_dask_forgets_a_pipeline_that_has_finished(dask_cluster: Any) -> None:
    """Else it would do it again when a worker dies at a later step."""
    pipeline = beam.Pipeline(options=PipelineOptions(dask_args(dask_cluster, 2)))
    with run_and_release(pipeline):
        _ = pipeline | beam.Create([1, 2, 3]) | beam.Map(lambda number: number + 1)
    assert pipeline.result.state == "DONE"
    deadline = time.monotonic() + 60
    while dask_cluster.scheduler.tasks and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not dask_cluster.scheduler.tasks


@pytest.mark.full
def test_all_tasks_through_a_network_on_two_dask_workers(
    dask_cluster: Any, shared_corpus: Path, tmp_path: Path
) -> None:
    record = load_encoder("sf_nfnet_tiny")
    model = tmp_path / "model"
    exported = model / "Format-Serving"
    export_saved_model(record.build(0), record, exported, FrontendConfig(), {"objective": "none"})
    for task in task_names():
        expected = run_steps(task, shared_corpus, model, tmp_path / "in_memory" / task, [])
        found = run_steps(task, shared_corpus, model, tmp_path / "dask" / task, dask_args(dask_cluster, 4))
        assert found == expected, task
        print(f"{task}: {len(found)} files, {sum(map(len, found.values()))} bytes")
