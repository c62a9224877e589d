"""The clips behind a manifest: each with the path of its file and the SHA-256 of the file's bytes.

A manifest's lists are read line by line, so two million clips are never in memory at once. Two manifests are first
compared by 64-bit hashes (16 bytes for each clip and side), and only clips that differ are read again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Address = str | os.PathLike[str]
"""Where a manifest lies, as its artifact says: a folder, or a place in a bucket."""
MANIFEST_FILE = "manifest.json"  # components.audio_example_gen writes these
_LISTS = ("clips-*.jsonl", "clips-*.jsonl.gz")


@dataclass(frozen=True)
class SourceClip:
    """A clip that ingestion used.

    Attributes:
        clip_id, split: as in the manifest.
        path: its file; "" if it came from no file, or the manifest does not say.
        sha256: of the file's bytes (of the PCM if there is no file).
        labels: class ids.
    """

    clip_id: str
    split: str
    path: str
    sha256: str
    labels: tuple[int, ...]


@dataclass(frozen=True)
class ClipChange:
    """A clip that differs between two manifests: "added", "removed" or "changed"."""

    what: str
    clip_id: str
    split: str
    before: SourceClip | None
    after: SourceClip | None


def read_manifest(address: Address) -> dict[str, Any]:
    """Reads a manifest.

    Raises:
        LookupError: there is none on a disk; the message names the file.
    """
    if "://" in os.fspath(address):
        raise LookupError(
            f"{address}/{MANIFEST_FILE}: this manifest lies in a bucket, and clips are read from manifests on a disk "
            "alone. The bucket's own client shows it; its digest is in the store"
        )
    path = Path(address) / MANIFEST_FILE
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise LookupError(
            f"{path}: the store lists this manifest, but the file is gone. Was the artifact deleted or moved?"
        ) from error
    return content


def source_clips(address: Address) -> Iterator[SourceClip]:
    """Every clip of a manifest, one at a time, list by list.

    Raises:
        LookupError: no manifest is there.
    """
    roots: dict[str, str] = read_manifest(address)["sources"]
    for file, line in _lines(Path(address)):
        yield _clip(file.name, json.loads(line), roots)


def find_clips(address: Address, path: str, sha256: str) -> Iterator[SourceClip]:
    """Clips that came from a file: by its path, or by its bytes under any name.

    Args:
        address: the manifest's.
        path: absolute, or "" to look by bytes alone.
        sha256: of the file, or "" to look by path alone.
    """
    for clip in source_clips(address):
        if (path and clip.path == path) or (sha256 and clip.sha256 == sha256):
            yield clip


def changed_clips(before: Address, after: Address) -> list[ClipChange]:
    """The clips that differ between two manifests, by id and split: in bytes or labels, or in one manifest only.

    Raises:
        LookupError: a manifest is missing.
    """
    first, second = _hashes(before), _hashes(after)
    different = set(np.setxor1d(first, second)["name"].tolist())
    if not different:
        return []
    ours, theirs = _named(before, different), _named(after, different)
    changes = []
    for key in sorted(set(ours) | set(theirs)):
        what = "added" if key not in ours else "removed" if key not in theirs else "changed"
        changes.append(ClipChange(what, key[1], key[0], ours.get(key), theirs.get(key)))
    return changes


_HASHES = np.dtype([("name", np.uint64), ("content", np.uint64)])


def _hashes(address: Address) -> np.ndarray:
    return np.fromiter(
        (
            (_hash(clip.split, clip.clip_id), _hash(clip.sha256, json.dumps(clip.labels)))
            for clip in source_clips(address)
        ),
        dtype=_HASHES,
    )


def _hash(*texts: str) -> int:
    digest = hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big")


def _named(address: Address, names: set[int]) -> dict[tuple[str, str], SourceClip]:
    return {
        (clip.split, clip.clip_id): clip
        for clip in source_clips(address)
        if _hash(clip.split, clip.clip_id) in names
    }


def _lines(folder: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(path for pattern in _LISTS for path in folder.glob(pattern)):
        with (
            gzip.open(file, "rt", encoding="utf-8")
            if file.suffix == ".gz"
            else open(file, encoding="utf-8") as lines
        ):
            for line in lines:
                yield file, line


def _clip(list_name: str, line: dict[str, Any], roots: dict[str, str]) -> SourceClip:
    # Manifests of earlier versions have neither a clip's source nor its path.
    path = line.get("path", "")
    root = roots.get(line.get("source", ""), "")
    return SourceClip(
        line["clip_id"],
        list_name.split("-")[1],
        os.path.join(root, path) if root and path else "",
        line["sha256"],
        tuple(line["labels"]),
    )
