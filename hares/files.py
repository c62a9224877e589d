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
from typing import overload

import numpy as np

from hares.buckets import BucketPath, Listed, Place, is_address
from hares.machine import MachineError

_ARCHIVES = (
    *(".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".7z", ".rar"),
    *(".parquet", ".arrow", ".h5", ".hdf5"),
)
_PACKED = (".tar", ".tar.gz", ".tgz", ".parquet")
_NOT_TEXT = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"PAR1": "Parquet",
}
UNPACKED = ".unpacked"  # suffix of the empty file that says that an archive's files are there
_NAMED = 6  # names that a message lists

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


@overload
def walk_files(root: Path, below: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]: ...
@overload
def walk_files(root: Place, below: str = "") -> Iterator[tuple[str, os.DirEntry[str] | Listed]]: ...
def walk_files(root: Place, below: str = "") -> Iterator[tuple[str, os.DirEntry[str] | Listed]]:
    """Every file below `root` (or its folder `below`): (path below root in POSIX form, directory entry).

    Sorted within each folder, so that the order is the same on every file system. Folders that are symbolic
    links are handed out like files and not entered: they may lead out of the data set, or in a circle.

    Raises:
        OSError: a folder cannot be listed.
    """
    if isinstance(root, BucketPath):
        yield from root.walk(below)
        return
    with os.scandir(root / below) as listing:
        entries = sorted(listing, key=lambda entry: os.fsencode(entry.name))
    for entry in entries:
        path = f"{below}/{entry.name}" if below else entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from walk_files(root, path)
        else:
            yield path, entry


def names_in(root: Place, below: str = "") -> list[str]:
    """Names of all that is in a folder, sorted. Raises OSError where it cannot be listed."""
    if isinstance(root, BucketPath):
        return [name for name, _ in root.names(below)]
    return sorted(os.listdir(root / below), key=os.fsencode)


def folders_in(root: Place, below: str = "", follow_symlinks: bool = True) -> list[str]:
    """Names of the folders in a folder, sorted. Raises OSError where it cannot be listed."""
    if isinstance(root, BucketPath):
        return [name for name, is_folder in root.names(below) if is_folder]
    with os.scandir(root / below) as listing:
        names = [entry.name for entry in listing if entry.is_dir(follow_symlinks=follow_symlinks)]
    return sorted(names, key=os.fsencode)


def is_file(root: Place, path: str) -> bool:
    """Whether there is a file at a path below a folder; False where the system does not say."""
    return (
        (root / path).is_file() if isinstance(root, BucketPath) else os.path.isfile(os.path.join(root, path))
    )


def is_folder(root: Place, path: str = "") -> bool:
    """Whether there is a folder at a path below a folder; False where the system does not say."""
    return (root / path).is_dir() if isinstance(root, BucketPath) else os.path.isdir(os.path.join(root, path))


def is_link(root: Place, path: str) -> bool:
    """Whether a path below a folder is a symbolic link."""
    return not isinstance(root, BucketPath) and os.path.islink(root / path)


def home_of(root: Place) -> str:
    """A data set's own folder without links on the way, for `leads_outside`."""
    return str(root) if isinstance(root, BucketPath) else os.path.realpath(root)


def why_outside(home: str, path: str, entry: os.DirEntry[str] | Listed) -> str:
    """Why a file or folder that is found below a data set's folder is not in it; "" where it is."""
    if isinstance(entry, Listed):
        return entry.problem
    if entry.is_symlink() and leads_outside(home, path):
        return "the symbolic link leads out of the data set's folder"
    return ""


def leads_outside(home: str, path: str) -> bool:
    """Whether `path` below `home` is absolute, climbs with "..", or resolves to a place outside `home`.

    Args:
        home: the data set's own folder (`home_of`).
        path: the path below it that an index names.
    """
    if os.path.isabs(path) or ".." in path.split("/"):
        return True
    if is_address(home):
        return False
    try:
        place = os.path.realpath(os.path.join(home, path))
    except ValueError:  # a NUL, or half of a surrogate pair: no place at all
        return False
    return not place.startswith(home.rstrip(os.sep) + os.sep)


def index_problem(root: Place, path: str) -> str | None:
    """Why an index file must not be read: it is elsewhere, never ends, or is no text; None if it may.

    A missing index, or one that may not be opened, has no problem of this kind.
    """
    if leads_outside(home_of(root), path):
        return "leads out of the data set's folder; put the file itself there"
    if not (root / path).exists():
        return None
    if not (root / path).is_file():
        return "is no file"
    try:
        with (root / path).open("rb") as file:
            head = file.read(512)
    except OSError as error:
        if isinstance(error, MachineError):
            raise
        return None
    for magic, kind in _NOT_TEXT.items():
        if head.startswith(magic):
            return f"is {kind} and no text; unpack it, or save it as text"
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html")):
        return "is a web page; the download failed"
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS; fetch the file itself with 'git lfs pull'"
    return None


def is_packed(path: str) -> bool:
    """Whether a file's name is that of an archive whose recordings are pretrained on as it lies (`hares.packed`)."""
    return path.lower().endswith(_PACKED)


def is_archive(name: str) -> bool:
    """Whether a file's name is that of recordings packed into one file, which no reader of a folder opens."""
    low = name.lower()
    return low.endswith(_ARCHIVES) or (".tfrecord" in low and not low.endswith(UNPACKED))


def what_is_there(root: Place) -> str:
    """The first few names in a folder, for a message; archives first."""
    try:
        # Of a bucket nothing is listed for a message: its folders are what one request gives.
        shallow = isinstance(root, BucketPath) and not root.is_listed
        found = [child.name for child in root.iterdir()] if shallow else names_in(root)
        names = sorted(found, key=lambda name: not is_archive(name))
    except OSError as error:
        return f"the folder cannot be listed ({error.strerror})"
    if not names:
        return "the folder is empty"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    packed = "; what is packed must be unpacked first ('hares corpus unpack')" if is_archive(names[0]) else ""
    return f"the folder holds {', '.join(shown(name) for name in names[:_NAMED])}{more}{packed}"
