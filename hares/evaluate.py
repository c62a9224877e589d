"""HARES of any encoder, without TFX: pre-flight, embed once, probe, report (paper section 2.1, appendix A).

The same readers, crops, embedding pass, probes and report as the pipeline, driven by one loop. Audio is read a
shard at a time and a clip at a time within it; only embeddings stay. The cache is asked for every shard first, so
a second run embeds nothing and a killed one goes on with the shard it was in. Validation sets, which the paper
ignores, are not read.

| file in the output | what |
|---|---|
| report.json, report.html, predictions/ | as every HARES report (`hares.report`) |
| evaluate.json | encoder and its digest, versions, times, shards found and computed |
| manifests/<task>.json | clips listed and used, seconds, rejections by reason |
| manifests/<task>.rejected.jsonl | every clip, row or file not used, and why |
| cache/ | shards of embeddings, where no other folder is given |
"""

from __future__ import annotations

import json
import platform
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from hares.arrays import write_atomically
from hares.corpus import dataset_root
from hares.embedding_cache import EmbeddingCache, EmbeddingDtype, crop_policy, front_end, shard_data
from hares.embedding_pass import embed_shard
from hares.embeddings import TaskEmbeddings, concatenate
from hares.encoders import FrozenEncoder, encode_crops
from hares.example import ExampleClip
from hares.ingest import (
    Entry,
    ShardSummary,
    build_manifest,
    count_listed,
    list_entries,
    read_shard,
    shard_of,
)
from hares.preflight import Finding, check_encoder, crop_lengths
from hares.probes import FOLDS
from hares.protocol import ProtocolSettings
from hares.report import write_report
from hares.scoring import SourceSummary, TaskScore, build_report, score_task, source_summary
from hares.task import Slot, Split, Task, load_task, task_names

REPORT_FILE = "report.json"
EVALUATE_FILE = "evaluate.json"
_LIBRARIES = ("numpy", "tensorflow", "scikit-learn", "soundfile", "soxr")


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything but the encoder and the data.

    Attributes:
        protocol: how closely to follow the paper.
        batch_size: crops that the encoder gets at once, always exactly so many.
        dtype: number type in which embeddings are kept.
        clips_per_shard: what a killed run can lose is one shard of this many clips, or a little more.
    """

    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    batch_size: int = 32
    dtype: EmbeddingDtype = "float32"
    clips_per_shard: int = 128

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.clips_per_shard < 1:
            raise ValueError(
                f"batch_size is {self.batch_size} and clips_per_shard {self.clips_per_shard}; both must be at "
                "least 1"
            )


@dataclass(frozen=True)
class TaskSource:
    """A task and the folder of its data set."""

    task: Task
    root: Path


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` made: the report, and the record of how (`evaluate.json`)."""

    report: dict[str, Any]
    record: dict[str, Any]


class Observer(Protocol):
    """Who is told how an evaluation goes."""

    def checked(self, findings: tuple[Finding, ...], embedding_size: int, seconds: float) -> None:
        """The encoder passed the pre-flight."""

    def listed(self, clips: int) -> None:
        """So many clips will be embedded, or found in the cache."""

    def embedding(self, task: str) -> None:
        """A task's clips are being embedded."""

    def clips(self, task: str, count: int, computed: bool) -> None:
        """So many more clips of a task are done; `computed` unless they were found in the cache."""

    def probing(self, task: str) -> None:
        """A task's probe is being trained."""


class EvaluationError(ValueError):
    """A task cannot be embedded or probed; the message begins with its name."""


@dataclass
class _Tally:
    found: int = 0
    computed: int = 0
    embed_seconds: float = 0.0
    probe_seconds: float = 0.0
    clips_computed: int = 0


@dataclass(frozen=True)
class _Listing:
    splits: Sequence[Split]
    shards: Mapping[Split, int]
    clips: int
    rejected: list[dict[str, str]] = field(default_factory=list)


def find_sources(
    corpus: Path | None, placements: Mapping[str, Path], tasks: tuple[str, ...]
) -> tuple[TaskSource, ...]:
    """Where the data of the tasks is.

    Args:
        corpus: folder with one folder a data set, or None where `placements` has them all.
        placements: data set or task name to its folder, where it is elsewhere.
        tasks: the tasks wanted; empty for all whose data set is there.

    Raises:
        ValueError: an unknown task or placement, a wanted task whose folder is not there, or no task at all.
    """
    known = {name for task in map(load_task, task_names()) for name in (task.name, task.dataset)}
    if unknown := sorted(set(placements) - known):
        raise ValueError(
            f"--corpus: no data set is called {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    sources = []
    for task in map(load_task, tasks or task_names()):
        try:
            root = dataset_root(corpus, task, placements)
        except ValueError as error:
            if tasks:
                raise ValueError(f"--tasks {task.name}: {error}") from error
            continue
        if root.is_dir():
            sources.append(TaskSource(task, root))
        elif tasks:
            raise ValueError(
                f"--tasks {task.name}: there is no folder {root}; place it with --corpus {task.dataset}=DIR, "
                "or leave the task out"
            )
    if not sources:
        folders = sorted({task.dataset for task in map(load_task, task_names())})
        raise ValueError(
            f"--corpus {corpus}: none of the data sets {', '.join(folders)} is there; `hares corpus check DIR` "
            "says what is looked for"
        )
    return tuple(sources)


def evaluate(
    encoder: FrozenEncoder,
    sources: tuple[TaskSource, ...],
    settings: EvaluationSettings,
    output: Path,
    cache: Path,
    observer: Observer,
) -> Evaluation:
    """Checks an encoder, scores it, and writes the report.

    Args:
        encoder: what to score.
        sources: the tasks and their data (`find_sources`).
        settings: protocol, batch size, number type.
        output: folder of the report; made where it is not there.
        cache: folder of the embeddings.
        observer: told how it goes.

    Raises:
        PreflightError: the encoder cannot be scored; no data was read.
        EvaluationError: an embedding is not finite, or a probe diverged.
    """
    began = time.monotonic()
    tasks = [source.task for source in sources]
    largest = float(np.finfo(settings.dtype).max)
    findings, size = check_encoder(encoder, crop_lengths(tasks), largest)
    preflight_seconds = time.monotonic() - began
    observer.checked(findings, size, preflight_seconds)

    listings = {source.task.name: _list(source, settings.clips_per_shard) for source in sources}
    observer.listed(sum(listing.clips for listing in listings.values()))
    embedder = _Embedder(encoder, settings, cache, observer)
    scores: dict[str, TaskScore] = {}
    summaries: dict[str, SourceSummary] = {}
    tallies: dict[str, _Tally] = {}
    for source in sources:
        name = source.task.name
        tallies[name] = _Tally()
        observer.embedding(name)
        data, manifest = embedder.embed(source, listings[name], tallies[name], output)
        observer.probing(name)
        started = time.monotonic()
        summaries[name] = source_summary(manifest)
        slots = tuple(Slot(slot["name"], tuple(slot["classes"])) for slot in manifest["slots"])
        try:
            scores[name] = score_task(source.task, slots, data, settings.protocol)
        except ValueError as error:
            raise EvaluationError(f"{name}: {error}") from error
        tallies[name].probe_seconds = time.monotonic() - started

    described = _described(encoder, size)
    everything = [load_task(name) for name in task_names()]
    report = build_report(everything, scores, {}, summaries, settings.protocol, described)
    predictions = {name: score.predictions for name, score in scores.items() if score.predictions}
    write_report(report, predictions, output)
    record = {
        "encoder": described,
        "protocol": settings.protocol.name,
        "batch_size": settings.batch_size,
        "embedding_dtype": settings.dtype,
        "preflight": [finding.check for finding in findings],
        "versions": {
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _LIBRARIES},
        },
        "data": {source.task.name: str(source.root) for source in sources},
        "tasks": {name: vars(tally) for name, tally in tallies.items()},
        "cache": {
            "folder": str(cache),
            "found": sum(tally.found for tally in tallies.values()),
            "computed": sum(tally.computed for tally in tallies.values()),
        },
        "seconds": {"preflight": preflight_seconds, "total": time.monotonic() - began},
    }
    _write_json(output / EVALUATE_FILE, record)
    return Evaluation(report, record)


def _described(encoder: FrozenEncoder, embedding_size: int) -> dict[str, Any]:
    return {
        **encoder.details,
        "name": encoder.name,
        "spec": encoder.spec,
        "digest": encoder.digest,
        "sample_rate": encoder.sample_rate,
        "embedding_size": embedding_size,
        "input_samples": encoder.input_samples,
    }


def _list(source: TaskSource, clips_per_shard: int) -> _Listing:
    splits: Sequence[Split] = ("train", "test")
    if source.task.probe == "svm":
        splits = cast("Sequence[Split]", FOLDS)
    counts, rejected = count_listed({source.task.name: str(source.root)}, splits)
    # A power of two, so that a few more clips leave most of the others in the shard where they were.
    shards = {split: 1 << max(0, -(-counts[split] // clips_per_shard) - 1).bit_length() for split in splits}
    return _Listing(splits, shards, sum(counts.values()), rejected)


class _Embedder:
    """Gives a task's embeddings, from the cache where they are there."""

    def __init__(
        self, encoder: FrozenEncoder, settings: EvaluationSettings, cache: Path, observer: Observer
    ) -> None:
        self._digest = encoder.digest
        self._front = front_end(encoder)
        self._encode = encode_crops(encoder)
        self._settings = settings
        self._cache = EmbeddingCache(cache, settings.dtype)
        self._observer = observer

    def embed(
        self, source: TaskSource, listing: _Listing, tally: _Tally, output: Path
    ) -> tuple[TaskEmbeddings, dict[str, Any]]:
        """All embeddings of a task and its manifest, which is written too."""
        started = time.monotonic()
        name, readers = source.task.name, {source.task.name: str(source.root)}
        by_shard: dict[tuple[Split, int], list[Entry]] = defaultdict(list)
        for item in list_entries(readers, listing.splits):
            if isinstance(item, Entry):
                split = item.clip.split
                by_shard[split, shard_of(item.clip.clip_id, listing.shards[split])].append(item)
        parts: list[TaskEmbeddings] = []
        summaries: list[ShardSummary] = []
        for (split, shard), entries in sorted(by_shard.items()):
            data, summary = self._shard(source, split, shard, entries, tally)
            parts.append(data)
            summaries.append(summary)
        manifest, rejected = build_manifest(readers, listing.splits, summaries, listing.rejected)
        _write_json(output / "manifests" / f"{name}.json", manifest)
        lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in rejected)
        write_atomically(output / "manifests" / f"{name}.rejected.jsonl", lines.encode())
        tally.embed_seconds = time.monotonic() - started
        return concatenate(parts), manifest

    def _shard(
        self, source: TaskSource, split: Split, shard: int, entries: list[Entry], tally: _Tally
    ) -> tuple[TaskEmbeddings, ShardSummary]:
        task, settings = source.task, self._settings
        policy = crop_policy(task, split, settings.protocol)
        key = self._cache.key(self._digest, self._front, policy, shard_data(entries, source.root))
        kept = self._cache.find(key)
        if kept is None:
            summary = ShardSummary(split, shard)
            records = self._counted(read_shard(entries, {task.name: str(source.root)}, summary), task.name)
            try:
                data = embed_shard(records, split, task, settings.protocol, self._encode, settings.batch_size)
            except ValueError as error:
                raise EvaluationError(str(error)) from error
            self._cache.keep(key, data, summary)
            self._cache.log("computed", key, task.name, split, shard)
            self._observer.clips(task.name, len(entries) - summary.used, computed=True)
            tally.computed += 1
            tally.clips_computed += summary.used
            # Read back, so that a number rounded to float16 is the same now as when it is found.
            kept = self._cache.find(key)
            assert kept is not None
        else:
            self._cache.log("found", key, task.name, split, shard)
            self._observer.clips(task.name, len(entries), computed=False)
            tally.found += 1
        return kept

    def _counted(self, records: Iterable[tuple[ExampleClip, str]], task: str) -> Iterator[ExampleClip]:
        for clip, _ in records:
            yield clip
            self._observer.clips(task, 1, computed=True)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(path, (text + "\n").encode())
