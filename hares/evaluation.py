"""HARES of any encoder, without TFX: pre-flight, embed once, probe, report (paper section 2.1, appendix A).

A task at which the encoder or the probe fails has no score; the report says why, and the others are scored.

The readers, crops, embedding pass, probes and report are those of the pipeline; `hares.embedding.task_embedder` reads
the data. Validation sets, which the paper ignores, are not read.

| file in the output | what |
|---|---|
| report.json, report.html, predictions/ | as every HARES report (`hares.report`) |
| evaluate.json | encoder and its digest, versions, times, shards found and computed |
| manifests/<task>.json | clips listed and used, seconds, rejections by reason |
| manifests/<task>.clips.jsonl | every clip used, with the SHA-256 of its file |
| manifests/<task>.rejected.jsonl | every clip, row or file not used, and why |
| cache/ | shards of embeddings, where no other folder is given |
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hares.adapters import FrozenEncoder
from hares.benchmark import Benchmark
from hares.buckets import Place, on_disk
from hares.corpus import dataset_root
from hares.decoding import AudioError, Limits, decode
from hares.digests import library_versions
from hares.embedding.encoding import what_it_raised
from hares.embedding.task_embedder import (
    EvaluationError,
    EvaluationObserver,
    EvaluationSettings,
    ListedClips,
    Listing,
    Tally,
    TaskEmbedder,
    TaskSource,
    clips_path,
    list_task,
    write_json,
)
from hares.files import is_folder
from hares.ingest import Entry, list_entries
from hares.own_task import check_reader
from hares.plugin import plugin_of
from hares.preflight import Check, check_encoder, crop_lengths
from hares.reading import part_to_read
from hares.report import write_report
from hares.report.runs import PREDICTIONS_FOLDER, RECORD_FILE
from hares.task import load_task, own_task_names, task_names
from hares.tfds_source import data_dir_of, prepared_folder

__all__ = [
    "Evaluation",
    "EvaluationError",
    "EvaluationObserver",
    "EvaluationSettings",
    "TaskSource",
    "evaluate_tasks",
    "find_sources",
]

_LOG = logging.getLogger(__name__)
_LIBRARIES = ("scipy", "scikit-learn", "soundfile")


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate_tasks` made: the report, the record of how (`evaluate.json`), and why tasks failed, by name."""

    report: dict[str, Any]
    record: dict[str, Any]
    failures: dict[str, EvaluationError]


@dataclass(frozen=True)
class Checked:
    """What the pre-flight found: the checks, all passed, the numbers a crop, and how long it took."""

    checks: tuple[Check, ...]
    embedding_size: int
    seconds: float


def find_sources(
    corpus: Place | None, placements: Mapping[str, Place], tasks: tuple[str, ...]
) -> tuple[TaskSource, ...]:
    """Finds the data of the tasks.

    Args:
        corpus: folder with a folder for each data set, or None if `placements` has them all.
        placements: folders of data sets that are elsewhere, by the name of the data set or task.
        tasks: the tasks wanted; empty for all whose data set is found, those of loaded plugins among them.

    Raises:
        ValueError: an unknown task or placement, a wanted task whose folder is missing, data that TensorFlow
            Datasets lacks or has not prepared, a plugin's reader that fails (`hares.own_task`), or no task at all.
    """
    every = [load_task(name) for name in (*task_names(), *own_task_names())]
    known = {name for task in every for name in (task.name, task.dataset)}
    if unknown := sorted(set(placements) - known):
        raise ValueError(
            f"corpus: no data set is called {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    sources = []
    for task in map(load_task, tasks) if tasks else every:
        try:
            root = dataset_root(corpus, task, placements)
        except ValueError as error:
            if tasks:
                raise ValueError(f"task {task.name}: {error}") from error
            continue
        data_dir = data_dir_of(str(root))
        if data_dir is not None:
            prepared_folder(task.name, data_dir)
            sources.append(TaskSource(task, root))
            continue
        if is_folder(root):  # False, and no error, where a folder above may not be read
            if task.name in own_task_names():
                check_reader(task, root)
            sources.append(TaskSource(task, root))
        elif tasks:
            raise ValueError(
                f"task {task.name}: there is no folder {root}; say where the data set is ({task.dataset}=DIR on the "
                f"command line, {{'{task.dataset}': DIR}} in Python), or leave the task out"
            )
    if not sources:
        folders = sorted({task.dataset for task in every})
        raise ValueError(
            f"corpus {corpus}: none of the data sets {', '.join(folders)} is there; `hares corpus check DIR` "
            "says what is looked for"
        )
    return tuple(sources)


def evaluate_tasks(
    encoder: FrozenEncoder,
    sources: tuple[TaskSource, ...],
    settings: EvaluationSettings,
    output: Path,
    cache: Path,
    observer: EvaluationObserver,
    checked: Checked | None = None,
    layers: Sequence[Mapping[str, Any]] = (),
) -> Evaluation:
    """Checks an encoder, scores it, and writes the report.

    Args:
        encoder: what to score.
        sources: the tasks and their data (`find_sources`).
        settings: protocol, batch size, number type.
        output: folder of the report; it is made if necessary.
        cache: folder of the embeddings.
        observer: hears of the progress.
        checked: what the pre-flight found, where it has been made.
        layers: the scores of the encoder's layers, for the report (`hares.layers`).

    Raises:
        PreflightError: the encoder cannot be scored; no data was read.
        OSError: the machine's fault, such as a full disk.
    """
    began = time.monotonic()
    tasks = [source.task for source in sources]
    if checked is None:
        checks, size = check_encoder(encoder, crop_lengths(tasks), float(np.finfo(settings.dtype).max))
        checked = Checked(checks, size, time.monotonic() - began)
        observer.checked(checks, size, checked.seconds)
    size = checked.embedding_size

    listings = {source.task.name: list_task(source, settings.clips_per_shard) for source in sources}
    observer.listed(sum(listing.clips for listing in listings.values()))
    embedder = TaskEmbedder(encoder, size, settings, cache, observer)
    benchmark = Benchmark(settings.protocol)
    tallies = {source.task.name: Tally() for source in sources}
    failures: dict[str, EvaluationError] = {}
    for source in sources:
        name = source.task.name
        try:
            observer.embedding(name)
            data, manifest = embedder.embed(source, listings[name], tallies[name], output)
            observer.probing(name)
            benchmark.describe(source.task, manifest, ListedClips(clips_path(output, name)))
            with _probing(name, tallies[name]):
                benchmark.score(source.task, data, encoder.own_classifier)
        except EvaluationError as error:
            _LOG.error("%s failed; clips: %s", name, getattr(error.__cause__, "clips", ""), exc_info=error)
            failures[name] = error
            benchmark.fail(source.task, f"failed: {str(error).removeprefix(f'{name}: ')}")
            observer.failed(name, str(error))

    described = {**_described(encoder, size), **embedder.batches}
    report, predictions = benchmark.report(described), benchmark.predictions
    for name, entry in report["own_tasks"].items():
        entry["plugin"] = plugin_of(name)
    if layers:
        report["layers"] = [dict(row) for row in layers]
    write_report(report, predictions, output, _Sounds(sources, listings, settings.limits).find)
    for path in (output / PREDICTIONS_FOLDER).glob("*.npz"):
        if path.stem not in predictions:  # an earlier evaluation in this folder has scored it
            path.unlink(missing_ok=True)
    record = {
        "encoder": described,
        "protocol": settings.protocol.name,
        "embedding_dtype": settings.dtype,
        "preflight": [check.name for check in checked.checks],
        "versions": {"python": platform.python_version(), **library_versions(*_LIBRARIES)},
        "data": {source.task.name: str(source.root) for source in sources},
        "tasks": {name: vars(tally) for name, tally in tallies.items()},
        "failed": {name: str(error) for name, error in failures.items()},
        "cache": {
            "folder": str(cache),
            "found": sum(tally.found for tally in tallies.values()),
            "computed": sum(tally.computed for tally in tallies.values()),
        },
        "seconds": {"preflight": checked.seconds, "total": time.monotonic() - began},
    }
    write_json(output / RECORD_FILE, record)
    return Evaluation(report, record, failures)


@contextmanager
def _probing(task: str, tally: Tally) -> Iterator[None]:
    started = time.monotonic()
    try:
        yield
    except Exception as error:  # it diverged, memory ran out, or the encoder's own classifier raised
        raise EvaluationError(f"{task}: its probe {what_it_raised(error)}") from error
    tally.probe_seconds = time.monotonic() - started


def _described(encoder: FrozenEncoder, embedding_size: int) -> dict[str, Any]:
    return {
        **encoder.details,
        "name": encoder.name,
        "spec": encoder.spec,
        "digest": encoder.digest,
        "sample_rate": encoder.sample_rate,
        "embedding_size": embedding_size,
        "output": encoder.output,
        "outputs": list(encoder.outputs),
        "input_samples": encoder.input_samples,
    }


class _Sounds:
    """Looks up the waveforms of a few test clips."""

    def __init__(
        self, sources: Sequence[TaskSource], listings: Mapping[str, Listing], limits: Limits
    ) -> None:
        self._limits = limits
        self._roots = {source.task.name: source.root for source in sources}
        self._listings = listings

    def find(self, task: str, clip_ids: Sequence[str]) -> dict[str, np.ndarray]:
        """Waveforms by clip id; a file that has gone since is left out."""
        wanted, found = set(clip_ids), {}
        splits = [split for split in self._listings[task].splits if split != "train"]
        for entry in list_entries({task: str(self._roots[task])}, splits) if wanted else ():
            if isinstance(entry, Entry) and entry.clip.clip_id in wanted:
                clip = entry.clip
                if entry.waveform is not None:
                    found[clip.clip_id] = entry.waveform
                    continue
                with suppress(AudioError), on_disk(self._roots[task] / clip.path) as file:
                    part = part_to_read(clip, file, self._limits)
                    found[clip.clip_id] = decode(file, *part, self._limits)
        return found
