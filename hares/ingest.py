"""Ingestion, shard by shard: listed clips become TFRecords and lines of a manifest.

A shard is written to a temporary name and renamed when it is complete, so a reader never sees half of one.
What a shard holds depends on the clips alone (assignment by hash of the clip id, order by clip id), so two
runs over the same files write the same bytes, whatever the runner and its number of workers.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from hares import folder, reading, tfds_source
from hares.atomic_files import atomically
from hares.buckets import BucketPath, Listed, place
from hares.buckets.copies import Copies, Source
from hares.decoding import AudioError, Limits, decode_each
from hares.digests import file_digest
from hares.example import ExampleClip, encode_example
from hares.files import is_packed, shown
from hares.folder import FOLDER
from hares.task import SAMPLE_RATE, UNSETTLED, Clip, Reason, Rejected, load_task, load_task_module

_LIMITS = Limits()
_PACKED_CLIP_BYTES = 1 << 19  # about what a recording of ten seconds takes in an archive


@dataclass(frozen=True)
class Entry:
    """A listed clip and the source that lists it.

    `waveform` is None for a clip in a file, which is decoded where its shard is written; TensorFlow Datasets
    gives clips only in sequence, so theirs travel with them. `sha256` is of the file, or of such a waveform, where it
    is known already. `listed` is what a bucket lists for the file; None for a file on the disk.
    """

    source: str
    clip: Clip
    waveform: np.ndarray | None = None
    sha256: str | None = None
    listed: Listed | None = None


@dataclass
class ShardSummary:
    """What became of one shard's clips. `digest` covers the ids, source bytes and PCM of its clips."""

    split: str
    shard: int
    used: int = 0
    samples: int = 0
    digest: str = ""
    level_sum: float = 0.0
    label_counts: dict[str, int] = field(default_factory=dict)
    rejected: list[dict[str, str]] = field(default_factory=list)


def list_entries(sources: Mapping[str, str], splits: Sequence[str]) -> Iterator[Entry | Rejected]:
    """What the sources list for `splits`, lazily; rejected entries of other splits are left out.

    Args:
        sources: reader name (a task, or "folder") to its folder or its address in a bucket, or to `tfds:` and a data
            folder of TensorFlow Datasets.
        splits: the splits wanted.
    """
    for source, root in sorted(sources.items()):
        for item in _scan(source, root):
            if isinstance(item, Entry):
                if item.clip.split in splits:
                    yield item
            elif item.split is None or item.split in splits:
                yield item


def _scan(source: str, root: str) -> Iterator[Entry | Rejected]:
    data_dir = tfds_source.data_dir_of(root)
    if data_dir is not None:
        for found in tfds_source.read_tfds(source, data_dir):
            yield found if isinstance(found, Rejected) else Entry(source, *found)
        return
    home = place(root)
    for item in folder.scan(home) if source == FOLDER else reading.scan(source, home):
        if isinstance(item, Rejected):
            yield item
        elif isinstance(home, BucketPath):
            yield Entry(source, item, listed=home.listed(item.path))
        else:
            yield Entry(source, item)


def count_listed(
    sources: Mapping[str, str], splits: Sequence[str]
) -> tuple[Counter[str], list[dict[str, str]]]:
    """Clips listed per split, and what the listing itself rejects, as `list_entries` finds them.

    An archive counts as the clips that are probably in it.
    """
    listed: Counter[str] = Counter()
    rejected = []
    for item in list_entries(sources, splits):
        if isinstance(item, Rejected):
            rejected.append(rejected_line(item))
        else:
            listed[item.clip.split] += _expected_clips(item, sources)
    return listed, rejected


def _expected_clips(entry: Entry, sources: Mapping[str, str]) -> int:
    """1, or about how many clips an archive has: its size settles how many shards there are."""
    if not _is_packed(entry):
        return 1
    size = entry.listed.size if entry.listed else os.path.getsize(_source(entry, sources)[1])
    return max(1, size // _PACKED_CLIP_BYTES)


def shard_of(clip_id: str, num_shards: int) -> int:
    """The shard a clip belongs to, by hash, so that it does not depend on the order of listing."""
    return int.from_bytes(hashlib.blake2b(clip_id.encode(), digest_size=8).digest(), "big") % num_shards


def ingest_shard(
    entries: Iterable[Entry],
    sources: Mapping[str, str],
    split: str,
    shard: int,
    records_path: str,
    clips_path: str,
    limits: Limits = _LIMITS,
) -> ShardSummary:
    """Decodes a shard's clips, in the order of their ids, into a TFRecord file and a list of clips.

    Args:
        entries: the shard's clips, in any order.
        sources: reader name to folder.
        split: the split the shard belongs to.
        shard: the shard's number within the split.
        records_path: TFRecord file to write.
        clips_path: JSON-lines file to write: one line a clip used, with the path of its file below
            its source's folder and the SHA-256 of that file.
        limits: what one file may cost.
    """
    import tensorflow as tf  # here: `hares evaluate` embeds what it reads, and writes no records

    summary = ShardSummary(split, shard)
    with (
        atomically(records_path) as records_part,
        atomically(clips_path) as clips_part,
        tf.io.TFRecordWriter(records_part) as records,
        tf.io.gfile.GFile(clips_part, "w") as clips,
    ):
        for clip, sha256, entry in read_shard(entries, sources, summary, limits):
            records.write(encode_example(clip))
            line = {
                "clip_id": clip.clip_id,
                "source": entry.source,
                # Where a clip came from no file, the digest is that of its PCM.
                "path": entry.clip.path if entry.waveform is None else "",
                "sha256": sha256,
                "seconds": round(clip.waveform.size / SAMPLE_RATE, 4),
                "labels": clip.labels,
                "group": clip.group,
            }
            clips.write(json.dumps(line, sort_keys=True) + "\n")
    return summary


def read_shard(
    entries: Iterable[Entry],
    sources: Mapping[str, str],
    summary: ShardSummary,
    limits: Limits = _LIMITS,
    copies: Copies | None = None,
) -> Iterator[tuple[ExampleClip, str, Entry]]:
    """A shard's clips, decoded one at a time in the order of their ids; what cannot be decoded is counted.

    Args:
        entries: the shard's clips, in any order.
        sources: reader name to folder.
        summary: filled in as the clips go by; complete, digest included, when the last one has.
        limits: what one file may cost.
        copies: where objects of a bucket are fetched to, and may be already; None for a place of their own.

    Yields:
        Each usable clip, the SHA-256 of its source file, and its entry.
    """
    digest = hashlib.sha256()
    in_order = sorted(entries, key=lambda e: (e.source, e.clip.clip_id))
    with nullcontext(copies) if copies else Copies(limits.memory_bytes) as files:
        for batch in _batches(in_order, sources, files, limits):
            for entry, file, waveform in _decoded(batch, limits):
                clip, clip_id = entry.clip, _clip_id(entry, sources)
                if isinstance(waveform, AudioError):
                    line = rejected_line(Rejected(clip_id, waveform.reason, str(waveform), clip.split))
                    summary.rejected.append(line)
                    continue
                sha256 = entry.sha256 or entry_digest(entry, file)
                digest.update(json.dumps([clip_id, sha256, clip.labels]).encode())
                digest.update(waveform.data)
                found = ExampleClip(clip_id, waveform, clip.labels, clip.group)
                summary.used += 1
                summary.samples += waveform.size
                summary.level_sum += found.level
                for key in _label_keys(entry):
                    summary.label_counts[key] = summary.label_counts.get(key, 0) + 1
                yield found, sha256, entry
    summary.digest = digest.hexdigest()


def _batches(
    entries: Sequence[Entry], sources: Mapping[str, str], files: Copies, limits: Limits
) -> Iterator[list[tuple[Entry, Path | AudioError]]]:
    """The entries with their files on this machine's disk, then what is packed, archive by archive."""
    yield from files.batches(_source(entry, sources) for entry in entries if not _is_packed(entry))
    for entry in filter(_is_packed, entries):
        # By its name: only of pretraining does it decide numbers (`pipeline.resolve.entry_modules`).
        packed = importlib.import_module("hares.packed")
        for batch in packed.clips_of(place(sources[entry.source]), entry.clip, limits):
            yield [(replace(entry, clip=clip), file) for clip, file in batch]


def _is_packed(entry: Entry) -> bool:
    return entry.source == FOLDER and is_packed(entry.clip.path)


def _decoded(
    batch: Sequence[tuple[Entry, Path | AudioError]], limits: Limits
) -> Iterator[tuple[Entry, Path, np.ndarray | AudioError]]:
    """The clips of a batch with their sound; while the caller works on one, the next is decoded."""
    parts = [_part(entry, file, limits) for entry, file in batch]
    wanted = (
        (file, *part)
        for (_, file), part in zip(batch, parts, strict=True)
        if isinstance(part, tuple) and not isinstance(file, AudioError)
    )
    answers = decode_each(wanted, limits)
    for (entry, file), part in zip(batch, parts, strict=True):
        found = next(answers) if isinstance(part, tuple) else part
        yield entry, Path() if isinstance(file, AudioError) else file, found


def still_refused(
    rejected: Iterable[Mapping[str, str]],
    entries: Iterable[Entry],
    sources: Mapping[str, str],
    limits: Limits = _LIMITS,
) -> bool:
    """Whether files that were refused for what the machine had a part in (`UNSETTLED`) are refused again.

    Before a kept result is used, so that a file that took too long on a busy machine, or that lacked ffmpeg, is not
    left out for ever.

    Args:
        rejected: the kept result's lines of what was not used.
        entries: the clips of which it was made; not gone through where nothing is unsettled.
        sources: reader name to folder.
        limits: what one file may cost now.

    Raises:
        MachineError: the machine keeps a file from being decoded.
    """
    before = {line["path"]: line["reason"] for line in rejected if line["reason"] in UNSETTLED}
    if not before:
        return True
    asked = [(shown(_clip_id(e, sources)), e) for e in entries if e.waveform is None]
    asked = [(name, entry) for name, entry in asked if name in before]
    with Copies(limits.memory_bytes) as files:
        return all(
            isinstance(answer, AudioError) and answer.reason.value == before[shown(_clip_id(entry, sources))]
            for batch in files.batches(_source(entry, sources) for _, entry in asked)
            for entry, _, answer in _decoded(batch, limits)
        )


def _part(
    entry: Entry, file: Path | AudioError, limits: Limits
) -> tuple[float, float | None] | np.ndarray | AudioError:
    """Which part of its file a clip is, or its sound where it has come with it, or why there is none."""
    if entry.waveform is not None:
        return entry.waveform
    if isinstance(file, AudioError):
        return file
    try:
        return reading.part_to_read(entry.clip, file, limits)
    except AudioError as error:
        return error


def _clip_id(entry: Entry, sources: Mapping[str, str]) -> str:
    """With one source a clip keeps the id its data set gives it; with several, ids could collide."""
    return f"{entry.source}/{entry.clip.clip_id}" if len(sources) > 1 else entry.clip.clip_id


def entry_digest(entry: Entry, path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of the file that a clip is in; of its PCM where there is none. Raises OSError as `file_digest`."""
    if entry.waveform is None:
        return file_digest(path)
    return hashlib.sha256(entry.waveform.tobytes()).hexdigest()


def _source(entry: Entry, sources: Mapping[str, str]) -> Source[Entry]:
    return entry, os.path.join(sources[entry.source], entry.clip.path), entry.listed


def _label_keys(entry: Entry) -> list[str]:
    """Names under which a clip's labels are counted: "class", or "slot/class" where there are several slots."""
    labels = entry.clip.labels
    if entry.source != FOLDER and load_task(entry.source).label_kind == "slots":
        return [f"{slot}/{label}" for slot, label in enumerate(labels)]
    return [str(label) for label in labels]


def rejected_line(rejected: Rejected) -> dict[str, str]:
    """A rejected clip as a line of the manifest, in valid UTF-8 and without line breaks or control characters."""
    return {
        "path": shown(rejected.path),
        "reason": rejected.reason.value,
        "detail": shown(rejected.detail),
        "split": rejected.split or "",
    }


def build_manifest(
    sources: Mapping[str, str],
    splits: Sequence[str],
    summaries: Iterable[ShardSummary],
    listing_rejected: Iterable[dict[str, str]],
) -> tuple[dict[str, object], list[dict[str, str]]]:
    """The manifest of a finished ingestion, and the sorted lines of all that was not used.

    Returns:
        (manifest, rejected). The manifest holds, for each split, the clips listed, used and their seconds;
        counts by reason; label counts; and `content_digest`, which changes when any clip's bytes do.
    """
    ordered = sorted(summaries, key=lambda s: (s.split, s.shard))
    rejected = [*listing_rejected, *(line for summary in ordered for line in summary.rejected)]
    rejected.sort(key=lambda line: (line["path"], line["reason"], line["detail"]))
    per_split: dict[str, dict[str, float]] = {}
    label_counts: dict[str, int] = {}
    for split in splits:
        shards = [summary for summary in ordered if summary.split == split]
        used = sum(summary.used for summary in shards)
        per_split[split] = {
            "listed": used + sum(line["split"] == split for line in rejected),
            "used": used,
            "seconds": round(sum(summary.samples for summary in shards) / SAMPLE_RATE, 3),
            "mean_level_dbfs": round(sum(s.level_sum for s in shards) / used, 2) if used else 0.0,
        }
        for summary in shards:
            for label, count in summary.label_counts.items():
                label_counts[label] = label_counts.get(label, 0) + count
    reasons: dict[str, int] = {}
    for line in rejected:
        reasons[line["reason"]] = reasons.get(line["reason"], 0) + 1
    digest = hashlib.sha256("".join(f"{s.split} {s.digest}\n" for s in ordered).encode()).hexdigest()
    manifest = {
        "sources": dict(sources),
        "splits": per_split,
        "rejected": dict(sorted(reasons.items())),
        "label_counts": dict(
            sorted(label_counts.items(), key=lambda item: [int(n) for n in item[0].split("/")])
        ),
        "content_digest": digest,
        **_label_sets(sources, rejected),
    }
    return manifest, rejected


def _label_sets(sources: Mapping[str, str], rejected: Iterable[dict[str, str]]) -> dict[str, object]:
    """Label names and split of the source, where it is a single task."""
    if len(sources) != 1 or FOLDER in sources:
        return {"slots": [], "split_is_official": None, "deviations": []}
    ((source, root),) = sources.items()
    broken = next((line["detail"] for line in rejected if line["reason"] == Reason.INDEX.value), None)
    if broken is not None:
        slots = [asdict(slot) for slot in load_task(source).slots]
        return {"slots": slots, "split_is_official": False, "deviations": [f"not read: {broken}"]}
    if tfds_source.data_dir_of(root) is None:
        index = load_task_module(source).index(place(root))
    else:
        index = tfds_source.tfds_index(source)
    return {
        "slots": [asdict(slot) for slot in index.slots],
        "split_is_official": index.split_is_official,
        "deviations": list(index.deviations),
    }
