"""Evaluator's executor: scores by `hares.benchmark`, a report by `hares.report`, a verdict by `hares.blessing`.

Every score is recorded on the report's artifact with its interval and clip counts (`components.properties`), so ML
Metadata answers without opening a file. Clusters show the scores as a table and the report as a page.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.artifacts import MANIFEST_FILE, REJECTED_FILE
from components.properties import (
    CURRENT_MODEL,
    CURRENT_MODEL_ID,
    HARES,
    MANIFEST_COUNTS,
    bound_keys,
    input_key,
    score_key,
    task_key,
)
from components.provenance import record_outputs
from hares.atomic_files import atomically, write_atomically
from hares.benchmark import Benchmark
from hares.blessing import BlessingConfig, Comparison, compare, judge
from hares.digests import library_versions
from hares.embedding.collector import collect
from hares.embedding.task_embeddings import TaskEmbeddings, decode_shard
from hares.example import decode_example
from hares.leakage import ClipIdentity, identity
from hares.own_classifier import own_classifier
from hares.plain_data import from_json
from hares.predictions import Predictions, decode_predictions
from hares.protocol import ProtocolSettings
from hares.report import PAGE_FILE, write_report
from hares.report.runs import PREDICTIONS_FOLDER, RECORD_FILE, REPORT_FILE
from hares.task import FOLDS, load_task, task_names
from models.export import read_metadata

SCORES_FILE = "scores.json"


class Executor(base_executor.BaseExecutor):
    """Scores every task that has embeddings, and blesses the model or not."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `Evaluator` for the execution properties."""
        self._log_startup(input_dict, output_dict, exec_properties)
        # Training turns it on, but steps may have separate processes, or the trainer may come from the cache. Probes
        # would then differ in their last bits from run to run.
        tf.config.experimental.enable_op_determinism()
        model = artifact_utils.get_single_instance(input_dict["model"])
        report_artifact = artifact_utils.get_single_instance(output_dict["report"])
        settings = from_json(ProtocolSettings, exec_properties["protocol"])
        rule = from_json(BlessingConfig, exec_properties["blessing"])

        benchmark = Benchmark(settings)
        own = {"trained": own_classifier(path_utils.serving_model_path(model.uri)), "untrained": None}
        for task in map(load_task, task_names()):
            embeddings = input_dict.get(input_key("embeddings", task.name))
            if not embeddings:
                continue
            folder = artifact_utils.get_single_uri(embeddings)
            manifest_folder = artifact_utils.get_single_uri(input_dict[input_key("manifest", task.name)])
            manifest = _read_json(os.path.join(manifest_folder, MANIFEST_FILE))
            benchmark.describe(task, manifest, _ListedClips(manifest_folder))
            _keep_manifest(report_artifact.uri, task.name, manifest, manifest_folder)
            for variant in ("trained", "untrained"):
                data = _read_embeddings(os.path.join(folder, variant), settings.memory_limit_mb)
                if data is not None:
                    benchmark.score(task, data, own[variant], untrained=variant == "untrained")

        metadata = read_metadata(path_utils.serving_model_path(model.uri))
        encoder = {"name": metadata["encoder"], **metadata}
        report, predictions = benchmark.report(encoder), benchmark.predictions
        comparison = _compared_with(exec_properties["baseline"], report, predictions)
        blessed, reasons = judge(rule, report, comparison)
        _keep_record(report_artifact.uri, encoder, settings)
        write_report(report, predictions, Path(report_artifact.uri), _Sounds(input_dict).find)
        _describe_report(report_artifact, report, encoder, exec_properties["run_key"])
        _tabulate_scores(artifact_utils.get_single_instance(output_dict["metrics"]), report)
        _copy_page(artifact_utils.get_single_instance(output_dict["page"]), report_artifact.uri)
        _bless(output_dict, model, report_artifact, blessed, reasons, exec_properties["run_key"])
        record_outputs(output_dict, self._context)


class _ListedClips:
    """The clips that ingestion used, read from its manifest on every iteration."""

    def __init__(self, folder: str):
        self._folder = folder

    def __iter__(self) -> Iterator[ClipIdentity]:
        yield from (identity(split, line) for split, line in _clip_lines(self._folder))


def _clip_lines(folder: str) -> Iterator[tuple[str, str]]:
    """Split and line of each clip in a manifest's lists."""
    for name in sorted(fileio.listdir(folder)):
        if name.startswith("clips-") and name.endswith(".jsonl"):
            with fileio.open(os.path.join(folder, name), "r") as file:
                yield from ((name.split("-")[1], line) for line in file)


class _Sounds:
    """Looks up the waveforms of a few clips in the Examples that were given."""

    def __init__(self, input_dict: Mapping[str, list[types.Artifact]]):
        self._inputs = input_dict

    def find(self, task: str, clip_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Waveforms by clip id; empty if the task's Examples were not given."""
        wanted, found = set(clip_ids), {}
        for path in self._files(task) if wanted else ():
            for record in tf.data.TFRecordDataset(path):
                clip = decode_example(record.numpy())
                if clip.clip_id in wanted:
                    found[clip.clip_id] = clip.waveform
            if len(found) == len(wanted):
                break
        return found

    def _files(self, task: str) -> Iterator[str]:
        """Record files of the splits that are scored."""
        for artifact in self._inputs.get(input_key("examples", task)) or ():
            for split in artifact_utils.decode_split_names(artifact.split_names):
                if split in ("test", *FOLDS):
                    folder = artifact_utils.get_split_uri([artifact], split)
                    yield from (
                        os.path.join(folder, name)
                        for name in sorted(fileio.listdir(folder))
                        if name.endswith(".tfrecord")
                    )


def _keep_manifest(report_uri: str, task: str, manifest: dict[str, Any], folder: str) -> None:
    """Puts a task's manifest beside the report, in the form of `hares evaluate`: whoever gets the report has both."""
    places = os.path.join(report_uri, "manifests", task)
    write_atomically(f"{places}.json", json.dumps(manifest, indent=1, sort_keys=True))
    rejected = os.path.join(folder, REJECTED_FILE)
    if fileio.exists(rejected):
        with fileio.open(rejected, "r") as file:
            write_atomically(f"{places}.rejected.jsonl", file.read())
    with atomically(f"{places}.clips.jsonl") as part, fileio.open(part, "w") as clips:
        for split, line in _clip_lines(folder):
            clip = json.loads(line)
            kept = {key: clip[key] for key in ("clip_id", "labels", "group", "sha256")}
            clips.write(json.dumps({**kept, "split": split}, sort_keys=True) + "\n")


def _keep_record(report_uri: str, encoder: Mapping[str, Any], settings: ProtocolSettings) -> None:
    """Puts beside the report what made it, in the form of `hares evaluate`'s record."""
    versions = {
        "python": platform.python_version(),
        **library_versions("scipy", "scikit-learn", "soundfile", "tfx"),
    }
    record = {"encoder": dict(encoder), "protocol": settings.name, "versions": versions}
    write_atomically(os.path.join(report_uri, RECORD_FILE), json.dumps(record, indent=1, sort_keys=True))


def _read_embeddings(folder: str, memory_limit_mb: float) -> TaskEmbeddings | None:
    """All shards of one variant; None if the embedder did not make it."""
    if not fileio.exists(folder):
        return None
    return collect(_shards(folder), memory_limit_mb)


def _shards(folder: str) -> Iterator[TaskEmbeddings]:
    for name in sorted(fileio.listdir(folder)):
        path = os.path.join(folder, name)
        with fileio.open(path, "rb") as file:
            yield decode_shard(file.read(), path)


def _read_json(path: str) -> dict[str, Any]:
    with fileio.open(path, "r") as file:
        content: dict[str, Any] = json.loads(file.read())
    return content


def _compared_with(
    baseline: str, report: dict[str, Any], predictions: Mapping[str, Predictions]
) -> Comparison | None:
    """The comparison with the report in `baseline`; None if that is "", because no model was blessed yet."""
    if not baseline:
        return None
    stored: dict[str, Predictions] = {}
    for name in predictions:
        path = os.path.join(baseline, PREDICTIONS_FOLDER, f"{name}.npz")
        if fileio.exists(path):
            with fileio.open(path, "rb") as file:
                stored[name] = decode_predictions(file.read(), path)
    return compare(report, predictions, _read_json(os.path.join(baseline, REPORT_FILE)), stored)


def _describe_report(
    artifact: types.Artifact, report: dict[str, Any], encoder: dict[str, Any], run_key: str
) -> None:
    """Records scores and counts. What is not scored gets no property, because 0 would be a score."""
    for task, entry in report["tasks"].items():
        _set_score(artifact, task, entry["value"], entry["interval"])
        for what in ("chance", "untrained", "seed_deviation", "macro_recall"):
            if entry[what] is not None:
                artifact.set_float_custom_property(task_key(task, what), entry[what])
        counts = {"clips": entry["clips"], "expected_clips": entry["expected_clips"]}
        counts |= {f"manifest_{what}": (entry["manifest"] or {}).get(what) for what in MANIFEST_COUNTS}
        for what, count in counts.items():
            if count is not None:
                artifact.set_int_custom_property(task_key(task, what), count)
        artifact.set_string_custom_property(task_key(task, "leakage"), entry["leakage"]["verdict"])
    for domain, value in report["domains"].items():
        _set_score(artifact, domain, value, report["intervals"]["domains"][domain])
    _set_score(artifact, HARES, report["hares"], report["intervals"]["hares"])
    artifact.set_string_custom_property("protocol", report["protocol"]["name"])
    artifact.set_string_custom_property("encoder", str(encoder["encoder"]))
    artifact.set_string_custom_property("weights_digest", str(encoder["weights_digest"]))
    artifact.set_string_custom_property("run_key", run_key)


def _set_score(
    artifact: types.Artifact, name: str, value: float | None, interval: Sequence[float] | None
) -> None:
    if value is not None:
        artifact.set_float_custom_property(score_key(name), value)
    for key, bound in zip(bound_keys(name), interval or (), strict=False):
        artifact.set_float_custom_property(key, bound)


def _tabulate_scores(artifact: types.Artifact, report: Mapping[str, Any]) -> None:
    """Puts every score on the `ScoreMetrics` as a share of 1: tasks by name, domains, HARES.

    Vertex and Kubeflow tabulate these properties and compare runs by them. The scores are in the artifact's folder too,
    so that it has content, and a digest of it, like every artifact.
    """
    scores = {task: entry["value"] for task, entry in report["tasks"].items()}
    scores |= {f"domain_{name}": value for name, value in report["domains"].items()}
    scores[HARES] = report["hares"]
    found = {name: value for name, value in scores.items() if value is not None}
    for name, value in found.items():
        artifact.set_float_custom_property(name, value)
    fileio.makedirs(artifact.uri)
    with fileio.open(os.path.join(artifact.uri, SCORES_FILE), "w") as file:
        file.write(json.dumps(found, indent=1, sort_keys=True) + "\n")


def _copy_page(artifact: types.Artifact, report_uri: str) -> None:
    """Copies the report's page to the `ReportPage`, which a cluster shows.

    A local runner has made a folder at its address, so the page goes into it. A cluster makes no folder, and shows the
    file at the address itself.
    """
    target = os.path.join(artifact.uri, PAGE_FILE) if fileio.isdir(artifact.uri) else artifact.uri
    with atomically(target) as part:
        fileio.copy(os.path.join(report_uri, PAGE_FILE), part, overwrite=True)


def _bless(
    output_dict: dict[str, list[types.Artifact]],
    model: types.Artifact,
    report: types.Artifact,
    blessed: bool,
    reasons: list[str],
    run_key: str,
) -> None:
    """The verdict in the form that TFX's Pusher reads, with its reasons."""
    artifact = artifact_utils.get_single_instance(output_dict["blessing_artifact"])
    name = "BLESSED" if blessed else "NOT_BLESSED"
    fileio.makedirs(artifact.uri)  # a cluster makes no folder for an output
    with fileio.open(os.path.join(artifact.uri, name), "w") as file:
        file.write("\n".join(reasons) + "\n")
    artifact.set_int_custom_property("blessed", int(blessed))
    artifact.set_string_custom_property(CURRENT_MODEL, model.uri)
    # A cluster's ids are larger, and it passes them on as JSON, which would round them.
    if model.id < 1 << 53:
        artifact.set_int_custom_property(CURRENT_MODEL_ID, model.id)
    artifact.set_string_custom_property("report", report.uri)
    artifact.set_string_custom_property("reasons", "; ".join(reasons))
    artifact.set_string_custom_property("run_key", run_key)
