"""Walking and remembering the files of a data set without holding their names.

AudioSet lists two million clips. What has been seen is therefore kept as sorted 8-byte hashes (16 MB for two
million) and not as a set of strings (300 MB); two of two million names share a hash with a chance of 1 in
10^7.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

_MERGE_EVERY = 1 << 16  # hashes kept in a plain set before they are merged into the sorted array


def name_hash(name: str) -> int:
    """A 64-bit hash of a name, the same in every process (names may hold surrogate escapes)."""
    return int.from_bytes(hashlib.blake2b(_bytes(name), digest_size=8).digest(), "big")


def clip_id_of(path: str) -> str:
    r"""A path as valid UTF-8: bytes that are not are written as \xNN."""
    return _bytes(path).decode("utf-8", "backslashreplace")


def _bytes(name: str) -> bytes:
    """A name's bytes on the disk. JSON can hold half of a surrogate pair, which no name on the disk does."""
    try:
        return os.fsencode(name)
    except UnicodeEncodeError:
        return name.encode("utf-8", "backslashreplace")


def shown(text: str) -> str:
    r"""A name from anywhere as one line that can be printed: line breaks, control characters and bytes as \n, \xNN."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in clip_id_of(text))


class NameSet:
    """A growing set of names, held as 8-byte hashes."""

    def __init__(self) -> None:
        self._sorted = np.zeros(0, np.uint64)
        self._recent: set[int] = set()

    def __contains__(self, name: str) -> bool:
        return self._holds(name_hash(name))

    def add(self, name: str) -> bool:
        """Adds a name; False if it was there already."""
        key = name_hash(name)
        if self._holds(key):
            return False
        self._recent.add(key)
        if len(self._recent) >= _MERGE_EVERY:
            fresh = np.fromiter(self._recent, np.uint64, len(self._recent))
            self._sorted = np.sort(np.concatenate([self._sorted, fresh]))
            self._recent.clear()
        return True

    def _holds(self, key: int) -> bool:
        if key in self._recent:
            return True
        at = int(np.searchsorted(self._sorted, np.uint64(key)))
        return at < len(self._sorted) and int(self._sorted[at]) == key


def walk_files(root: Path, below: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Every file below `root` (or its folder `below`): (path below root in POSIX form, directory entry).

    Sorted within each folder, so that the order is the same on every file system. Folders that are symbolic
    links are handed out like files and not entered: they may lead out of the data set, or in a circle.

    Raises:
        OSError: a folder cannot be listed.
    """
    with os.scandir(root / below) as listing:
        entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk_files(root, path)
        else:
            yield path, entry


def leads_outside(root: str, path: str) -> bool:
    """Whether `path` below `root` is absolute, climbs with "..", or resolves to a place outside `root`.

    Args:
        root: the data set's own folder, already resolved (`os.path.realpath`).
        path: the path below it that an index names.
    """
    if os.path.isabs(path) or ".." in path.split("/"):
        return True
    try:
        place = os.path.realpath(os.path.join(root, path))
    except ValueError:  # a NUL, or half of a surrogate pair: no place at all
        return False
    return not place.startswith(root.rstrip(os.sep) + os.sep)


def index_problem(root: Path, path: str) -> str | None:
    """Why an index file must not be opened: it is elsewhere, or reading it would never end; None if it may."""
    if leads_outside(os.path.realpath(root), path):
        return "leads out of the data set's folder; put the file itself there"
    if (root / path).exists() and not (root / path).is_file():
        return "is no file"
    return None
