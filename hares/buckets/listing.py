"""What a bucket lists below one prefix, in pages, kept in a temporary database on the disk.

A reader asks for each of its clips whether there is such a file; a bucket answers in milliseconds, and for a million
clips in hours. So the prefix is listed once, a thousand objects a request, and asked no more. The database is SQLite's
own for what does not fit into memory: it has no name, goes when it is closed, and keeps 2 MB in memory, whatever is in
it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from hares.buckets.client import Client, fault

_MADE = "CREATE TABLE files (place BLOB PRIMARY KEY, size INTEGER, version TEXT, problem TEXT) WITHOUT ROWID"
_ASKED = "SELECT place, size, version, problem FROM files WHERE place >= ? AND place < ? ORDER BY place"


@dataclass(frozen=True)
class Listed:
    """An object that a bucket lists. To code that walks a folder it is what `os.scandir` gives.

    Attributes:
        path: below the listing's prefix.
        size: in bytes.
        version: ETag or generation.
        problem: why no file can have this key, "" for nothing.
    """

    path: str
    size: int
    version: str
    problem: str = ""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it can be read."""
        return not self.problem

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """False: a bucket has no folders of their own."""
        return False

    def is_symlink(self) -> bool:
        """False: nor links."""
        return False


class Listing:
    """The objects below a prefix, as they were when it was made.

    Args:
        client: of the service.
        bucket: its name.
        prefix: "" or a key's beginning that ends with `/`.

    Raises:
        BucketError: the service fails before the last page.
    """

    def __init__(self, client: Client, bucket: str, prefix: str) -> None:
        self._files = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._files.execute("PRAGMA journal_mode=OFF")
        self._files.execute(_MADE)
        for page in client.pages(bucket, prefix):
            if not all(key.startswith(prefix) for key, *_ in page.objects):
                cause = "the server lists what is not below it"
                raise fault(
                    f"{bucket}/{prefix}", cause, "use a server that keeps to S3's or Google's protocol"
                )
            self._files.execute("BEGIN")
            self._files.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                (
                    (_place(path), size, version, _problem(path))
                    for key, size, version in page.objects
                    for path in (key.removeprefix(prefix),)
                    if path and not path.endswith("/")  # such a key stands for a folder, and holds nothing
                ),
            )
            self._files.execute("COMMIT")

    def file(self, path: str) -> Listed | None:
        """The object of a path, None where there is none."""
        found = self._files.execute(_ASKED, (_place(path), _place(path) + b"\0")).fetchone()
        return _listed(found) if found else None

    def has_folder(self, path: str) -> bool:
        """Whether there is anything below a path; "" is the whole."""
        return self._files.execute(_ASKED, _below(path)).fetchone() is not None

    def walk(self, below: str = "") -> Iterator[Listed]:
        """All objects below a path, each folder's in the order of its names, as `hares.files.walk_files`."""
        yield from map(_listed, self._files.execute(_ASKED, _below(below)))

    def names(self, below: str = "") -> Iterator[tuple[str, bool]]:
        """(name, whether it is a folder) of what is directly in a folder, by name."""
        first, last = _below(below)
        start = len(first)
        while True:
            for place, *_ in self._files.execute(_ASKED, (first, last)):
                name, deeper, _ = place[start:].partition(b"\0")
                yield _text(name), bool(deeper)
                if deeper:  # on to what is behind the folder
                    first = place[:start] + name + b"\1"
                    break
            else:
                return


def _place(path: str) -> bytes:
    r"""A path so that places sort as a walk through folders goes: `/` before all else, and no NUL in a name."""
    return path.encode("utf-8", "surrogateescape").replace(b"\0", b"\1").replace(b"/", b"\0")


def _text(place: bytes) -> str:
    return place.replace(b"\0", b"/").decode("utf-8", "surrogateescape")


def _below(path: str) -> tuple[bytes, bytes]:
    if not path:
        return b"", b"\xff"
    return _place(path) + b"\0", _place(path) + b"\1"


def _listed(row: tuple[bytes, int, str, str]) -> Listed:
    return Listed(_text(row[0]), *row[1:])


def _problem(path: str) -> str:
    odd = next((part for part in path.split("/") if part in ("", ".", "..")), None)
    if odd is None and "\0" not in path:
        return ""
    what = "an empty part" if odd == "" else repr(odd or "\0")
    return f"no file can have this key ({what} in it); rename the object"
