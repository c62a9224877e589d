"""A task's embeddings and manifest, shard by shard: from the cache, or else from the audio.

This is the part of an evaluation that reads data (`hares.evaluation` drives it). Audio is read clip by clip and only
embeddings are kept. Each shard is first looked up in the cache, so a second run embeds nothing, and a run that was
killed resumes with its unfinished shard.
"""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Protocol, get_args

from hares.adapters import FrozenEncoder, encode_crops
from hares.atomic_files import atomically, write_atomically
from hares.buckets import Place
from hares.buckets.copies import Copies
from hares.decoding import Limits
from hares.embedding.cache import EmbeddingCache, EmbeddingDtype, crop_policy, front_end, hashed, shard_data
from hares.embedding.collector import EmbeddingCollector
from hares.embedding.encoding import EncodingError, InParts, embed_shard
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.example import ExampleClip
from hares.ingest import (
    Entry,
    ShardSummary,
    build_manifest,
    count_listed,
    list_entries,
    read_shard,
    rejected_line,
    shard_of,
    still_refused,
)
from hares.leakage import ClipIdentity, identity
from hares.machine import MachineError, is_closed
from hares.preflight import Check
from hares.protocol import ProtocolSettings
from hares.task import Reason, Rejected, Split, Task
from hares.tfds_source import data_dir_of

ON_PROCESSOR, ON_GPU = 32, 256  # crops at once: a processor gains nothing by more


@dataclass(frozen=True)
class EvaluationSettings:
    """Everything but the encoder and the data.

    Attributes:
        protocol: how closely to follow the paper.
        batch_size: crops that the encoder gets at once, halved where memory asks for it; fewer at a shard's end
            (`hares.embedding.encoding`). None for `ON_PROCESSOR`, or `ON_GPU` where the encoder says that it is on one.
        dtype: number type in which embeddings are kept.
        limits: what one audio file may cost.
        clips_per_shard: what a killed run can lose is one shard of this many clips, or a little more.
    """

    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    batch_size: int | None = None
    dtype: EmbeddingDtype = "float32"
    clips_per_shard: int = 128
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if (self.batch_size is not None and self.batch_size < 1) or self.clips_per_shard < 1:
            raise ValueError(
                f"batch_size is {self.batch_size} and clips_per_shard {self.clips_per_shard}; both must be at "
                "least 1"
            )
        if self.dtype not in get_args(EmbeddingDtype):
            raise ValueError(
                f"embeddings are kept as {' or '.join(get_args(EmbeddingDtype))}, not {self.dtype!r}"
            )


@dataclass(frozen=True)
class TaskSource:
    """A task and the folder of its data set, on a disk or in a bucket, or `tfds:` and a data folder of that library."""

    task: Task
    root: Place


class EvaluationObserver(Protocol):
    """Hears of the progress of an evaluation."""

    def checked(self, checks: tuple[Check, ...], embedding_size: int, seconds: float) -> None:
        """The encoder passed the pre-flight."""

    def listed(self, clips: int) -> None:
        """So many clips will be embedded, or found in the cache."""

    def embedding(self, task: str) -> None:
        """A task's clips are being embedded."""

    def clips(self, task: str, count: int, computed: bool) -> None:
        """So many more clips of a task are done; `computed` unless they were found in the cache."""

    def probing(self, task: str) -> None:
        """A task's probe is being trained."""

    def failed(self, task: str, reason: str) -> None:
        """A task has no score; the next one is tried."""


class EvaluationError(ValueError):
    """A task cannot be embedded or probed; the message names it, and the clips or the file."""


@dataclass
class Tally:
    """How many of a task's shards were found and computed, and how long its clips and its probe took."""

    found: int = 0
    computed: int = 0
    embed_seconds: float = 0.0
    probe_seconds: float = 0.0
    clips_computed: int = 0


@dataclass(frozen=True)
class Listing:
    """What the indexes of a task list: the splits that are scored or trained on, shards of each, clips of all.

    `rejected` are the lines of what the listing itself rejects (`hares.ingest.rejected_line`).
    """

    splits: Sequence[Split]
    shards: Mapping[Split, int]
    clips: int
    rejected: list[dict[str, str]] = field(default_factory=list)


def list_task(source: TaskSource, clips_per_shard: int) -> Listing:
    """Counts a task's clips and settles the number of shards; reads indexes and no audio.

    If an index or folder may not be read, the listing has no clips and says so.
    """
    splits = source.task.splits
    try:
        counts, rejected = count_listed({source.task.name: str(source.root)}, splits)
    except MachineError as error:
        if not is_closed(error):
            raise
        closed = Rejected(str(source.root), Reason.INDEX, str(error))
        counts, rejected = Counter(), [rejected_line(closed)]
    # A power of two, so that a few more clips leave most of the others in the shard where they were.
    shards = {split: 1 << max(0, -(-counts[split] // clips_per_shard) - 1).bit_length() for split in splits}
    return Listing(splits, shards, sum(counts.values()), rejected)


@dataclass(frozen=True)
class Part:
    """An encoder whose embeddings are some columns of what another one gives."""

    encoder: FrozenEncoder
    columns: slice


class TaskEmbedder:
    """Embeds tasks, each shard once."""

    def __init__(
        self,
        encoder: FrozenEncoder,
        embedding_size: int,
        settings: EvaluationSettings,
        cache: Path,
        observer: EvaluationObserver,
        parts: Sequence[Part] = (),
    ) -> None:
        """Starts with an empty batch.

        Args:
            encoder: what embeds.
            embedding_size: what the pre-flight saw: a shard of another one is never kept.
            settings: batch size, number type and the like.
            cache: folder of the shards.
            observer: hears of the progress.
            parts: encoders whose embeddings stand side by side in the encoder's, and are kept as theirs; empty where
                it is one encoder's. The first part's are returned.
        """
        self._parts = tuple(parts) or (Part(encoder, slice(None)),)
        self._front = front_end(self._parts[0].encoder)
        self._encode = InParts(encode_crops(encoder))
        self._embedding_size = embedding_size
        on_processor = encoder.details.get("device") in (None, "cpu", "CPUExecutionProvider")
        self._batch_size = settings.batch_size or (ON_PROCESSOR if on_processor else ON_GPU)
        self._settings = settings
        self._folder = cache
        self._cache = EmbeddingCache(cache, settings.dtype)
        self._observer = observer

    @property
    def batches(self) -> dict[str, Any]:
        """For reports: crops at once, and by their samples those of which memory held only so many."""
        halved = {str(samples): crops for samples, crops in sorted(self._encode.halved.items())}
        return {"batch_size": self._batch_size, "batches_halved": halved}

    def embed(
        self, source: TaskSource, listing: Listing, tally: Tally, output: Path
    ) -> tuple[TaskEmbeddings, dict[str, Any]]:
        """All embeddings of a task and its manifest, which is written too.

        Raises:
            EvaluationError: the encoder fails, or a shard in the cache is damaged. Finished shards stay in the cache.
        """
        started = time.monotonic()
        name, readers = source.task.name, {source.task.name: str(source.root)}
        self._folder.mkdir(parents=True, exist_ok=True)
        collector = EmbeddingCollector(self._settings.protocol.memory_limit_mb, self._folder)
        summaries: list[ShardSummary] = []
        try:
            with (
                atomically(clips_path(output, name)) as part,
                open(part, "w", encoding="utf-8") as clips,
                Copies(self._settings.limits.memory_bytes) as copies,
            ):
                for split, shard, entries in _shards(source, listing, self._settings.clips_per_shard):
                    known = hashed(entries, source.root, copies)
                    data, summary, facts = self._shard(source, split, shard, known, tally, copies)
                    collector.add(data)
                    clips.writelines(_clip_lines(split, data, facts))
                    summaries.append(summary)
        except EncodingError as error:
            _forget(output, name)
            raise EvaluationError(f"{error}{_remedy(error)}") from error
        except ValueError as error:
            _forget(output, name)
            raise EvaluationError(f"{name}: {error}") from error
        manifest, rejected = build_manifest(readers, listing.splits, summaries, listing.rejected)
        write_json(output / "manifests" / f"{name}.json", manifest)
        lines = "".join(json.dumps(line, sort_keys=True) + "\n" for line in rejected)
        write_atomically(output / "manifests" / f"{name}.rejected.jsonl", lines)
        tally.embed_seconds = time.monotonic() - started
        return collector.finish(), manifest

    def _shard(
        self,
        source: TaskSource,
        split: Split,
        shard: int,
        entries: list[Entry],
        tally: Tally,
        copies: Copies,
    ) -> tuple[TaskEmbeddings, ShardSummary, list[list[Any]]]:
        task, settings, facts = source.task, self._settings, shard_data(entries)
        policy = crop_policy(task, split, settings.protocol)
        policy["limits"] = asdict(settings.limits)  # they settle which clips there are
        keys = [self._cache.key(part.encoder.digest, self._front, policy, facts) for part in self._parts]
        kept = self._cache.find(keys[0]) if all(map(self._cache.holds, keys)) else None
        readers = {task.name: str(source.root)}
        if kept is not None and not still_refused(kept[1].rejected, entries, readers, settings.limits):
            kept = None
        if kept is None:
            summary = ShardSummary(split, shard)
            read = read_shard(entries, readers, summary, settings.limits, copies)
            records = self._counted(read, task.name)
            data = embed_shard(
                records,
                split,
                task,
                settings.protocol,
                self._encode,
                self._batch_size,
                self._embedding_size,
            )
            for key, part in zip(keys, self._parts, strict=True):
                columns = data.embeddings[:, part.columns] if data.clip_ids else data.embeddings
                self._cache.keep(key, replace(data, embeddings=columns), summary)
                self._cache.log("computed", key, task.name, split, shard)
            self._observer.clips(task.name, len(entries) - summary.used, computed=True)
            tally.computed += 1
            tally.clips_computed += summary.used
            # Read back, so that a number rounded to float16 is the same now as when it is found.
            kept = self._cache.find(keys[0])
            assert kept is not None
        else:
            self._cache.log("found", keys[0], task.name, split, shard)
            self._observer.clips(task.name, len(entries), computed=False)
            tally.found += 1
        return *kept, facts

    def _counted(self, records: Iterable[tuple[ExampleClip, str, Entry]], task: str) -> Iterator[ExampleClip]:
        for clip, *_ in records:
            yield clip
            self._observer.clips(task, 1, computed=True)


def _shards(
    source: TaskSource, listing: Listing, clips_per_shard: int
) -> Iterator[tuple[Split, int, list[Entry]]]:
    """A task's clips, shard by shard.

    Clips in files go to shards by the hash of their ids, so that adding a clip changes one shard. TensorFlow Datasets
    gives clips with their sound and in its own order: their shards are runs of that order, so that only one shard's
    sound is in memory.
    """
    if not listing.clips:
        return
    items = list_entries({source.task.name: str(source.root)}, listing.splits)
    found = (item for item in items if isinstance(item, Entry))
    if data_dir_of(str(source.root)) is None:
        by_shard: dict[tuple[Split, int], list[Entry]] = defaultdict(list)
        for entry in found:
            split = entry.clip.split
            by_shard[split, shard_of(entry.clip.clip_id, listing.shards[split])].append(entry)
        for split, shard in sorted(by_shard):
            yield split, shard, by_shard.pop((split, shard))
        return
    for split, of_split in groupby(found, key=lambda entry: entry.clip.split):
        shard = 0
        while entries := list(islice(of_split, clips_per_shard)):
            yield split, shard, entries
            shard += 1


class ListedClips:
    """The clips that were used, read from their list on the disk each time they are iterated over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[ClipIdentity]:
        with open(self._path, encoding="utf-8") as lines:
            yield from (identity(json.loads(line)["split"], line) for line in lines)


def clips_path(output: Path, task: str) -> Path:
    """Path of the list of a task's used clips."""
    return output / "manifests" / f"{task}.clips.jsonl"


def _clip_lines(split: Split, data: TaskEmbeddings, facts: list[list[Any]]) -> Iterator[str]:
    """A line for each clip that was embedded; `facts` are those of all clips of the shard (`shard_data`)."""
    used = set(data.clip_ids)
    for clip_id, labels, group, _, _, sha256 in facts:
        if clip_id in used:
            line = {"clip_id": clip_id, "split": split, "labels": labels, "group": group, "sha256": sha256}
            yield json.dumps(line, sort_keys=True) + "\n"


def _remedy(error: EncodingError) -> str:
    return (
        ". Free memory, or use a machine with more: one crop at a time does not fit"
        if error.without_memory
        else ""
    )


def _forget(output: Path, task: str) -> None:
    """Removes the manifests that an earlier evaluation left of a task that failed now."""
    for ending in ("json", "clips.jsonl", "rejected.jsonl"):
        (output / "manifests" / f"{task}.{ending}").unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically. Raises ValueError for NaN."""
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False)
    write_atomically(path, text + "\n")
