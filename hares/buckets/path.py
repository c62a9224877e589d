"""An address of a folder or an object, with the methods of a `Path` that readers use."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hares.buckets.client import client
from hares.buckets.listing import Listed, Listing

_SCHEMES = ("s3://", "gs://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,221}")


def is_address(text: object) -> bool:
    """Whether a text names a place in a bucket."""
    return isinstance(text, BucketPath) or (isinstance(text, str) and text.startswith(_SCHEMES))


class _Tree:
    """The listing below an address, made when it is first asked for, and the index files opened since."""

    def __init__(self, scheme: str, bucket: str, prefix: str) -> None:
        self.scheme, self.bucket, self.prefix = scheme, bucket, prefix
        self._listing: Listing | None = None
        self._opened: dict[str, Path] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def listing(self) -> Listing:
        if self._listing is None:
            self._listing = Listing(client(self.scheme), self.bucket, self.prefix)
        return self._listing

    @property
    def is_listed(self) -> bool:
        return self._listing is not None

    def is_there(self) -> bool:
        if self._listing is not None:
            return self._listing.has_folder("")
        pages = client(self.scheme).pages(self.bucket, self.prefix, most=1)
        return any(page.objects for page in pages)

    def is_object(self) -> bool:
        """Whether there is an object of the address itself."""
        key = self.prefix.rstrip("/")
        first = next(client(self.scheme).pages(self.bucket, key, most=1), None) if key else None
        return first is not None and [found for found, *_ in first.objects] == [key]

    def folders(self) -> Iterator[str]:
        """The folders directly below, in pages of that level alone."""
        for page in client(self.scheme).pages(self.bucket, self.prefix, one_level=True):
            for folder in page.folders:
                yield folder.removeprefix(self.prefix).rstrip("/")

    def copy(self, file: Listed) -> Path:
        """A file of the listing on this machine's disk, until this object goes."""
        from hares.buckets.copies import fetch

        if file.path not in self._opened:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="hares-index-")
            to = Path(self._folder.name, str(len(self._opened)))
            fetch(self.scheme, self.bucket, self.prefix + file.path, file, to)
            self._opened[file.path] = to
        return self._opened[file.path]


class BucketPath:
    """A folder or an object in a bucket; all that were reached from one folder share its listing.

    Two are equal that have the same address. One that is sent to another process lists again there.
    """

    def __init__(self, tree: _Tree, path: str) -> None:
        self._tree = tree
        self.path = path  # below the tree's own prefix, "" for the tree itself

    @classmethod
    def parse(cls, address: str) -> BucketPath:
        """A folder by its address.

        Raises:
            ValueError: an address with credentials, a query, or parts that are no folder's name.
        """
        scheme, _, rest = address.partition("://")
        bucket, _, key = rest.partition("/")
        key = key.rstrip("/")
        if "@" in bucket or ":" in bucket:
            raise ValueError(
                f"an address {scheme}://... holds a user or a port: credentials come from the environment or the "
                "service's own files, and an endpoint from AWS_ENDPOINT_URL or STORAGE_EMULATOR_HOST"
            )
        if "?" in rest or "#" in rest:
            raise ValueError(
                f"an address {scheme}://{bucket}/... holds a query, which may be a secret; leave it out"
            )
        odd = [part for part in key.split("/") if part in ("", ".", "..")] if key else []
        if not _BUCKET.fullmatch(bucket) or odd or (not key.isprintable() and key):
            raise ValueError(f"{address!r} is no address of a folder; accepted is {scheme}://BUCKET/FOLDER")
        return cls(_Tree(scheme, bucket, f"{key}/" if key else ""), "")

    def __str__(self) -> str:
        tree = self._tree
        return f"{tree.scheme}://{tree.bucket}/{tree.prefix}{self.path}".rstrip("/")

    def __repr__(self) -> str:
        return f"BucketPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketPath) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return BucketPath.parse, (str(self),)

    def __truediv__(self, below: str | os.PathLike[str]) -> BucketPath:
        more = "/".join(part for part in os.fspath(below).split("/") if part)
        return BucketPath(self._tree, f"{self.path}/{more}" if self.path and more else self.path or more)

    def joinpath(self, *below: str) -> BucketPath:
        """As a `Path`'s."""
        found = self
        for part in below:
            found = found / part
        return found

    @property
    def name(self) -> str:
        """As a `Path`'s."""
        return str(self).rpartition("/")[2]

    @property
    def parent(self) -> BucketPath:
        """As a `Path`'s; the bucket is its own."""
        above = str(self).rpartition("/")[0]
        return self if above.endswith("/") else BucketPath.parse(above)

    def resolve(self) -> BucketPath:
        """Itself: an address is the same everywhere."""
        return self

    @property
    def is_listed(self) -> bool:
        """Whether what is below it has been listed already."""
        return self._tree.is_listed

    def listed(self, below: str = "") -> Listed | None:
        """What the bucket lists for an object, None where it lists none."""
        return self._tree.listing.file((self / below).path)

    def is_dir(self) -> bool:
        """Whether anything is below it; one request where nothing has been listed yet."""
        return self._tree.is_there() if not self.path else self._tree.listing.has_folder(self.path)

    def is_file(self) -> bool:
        """As a `Path`'s; one request where it has a listing of its own (`hares.buckets.own`)."""
        if not self.path:
            return self._tree.is_object()
        found = self.listed()
        return found is not None and found.is_file()

    def exists(self) -> bool:
        """As a `Path`'s."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator[BucketPath]:
        """The folders directly in it, each with a listing of its own; what is in them is not listed."""
        tree = self._tree
        here = _Tree(tree.scheme, tree.bucket, f"{tree.prefix}{self.path}/" if self.path else tree.prefix)
        for name in here.folders():
            yield BucketPath.parse(f"{self}/{name}")

    def names(self, below: str = "") -> Iterator[tuple[str, bool]]:
        """(name, whether it is a folder) of what is directly in a folder below it, by name."""
        return self._tree.listing.names((self / below).path)

    def walk(self, below: str = "") -> Iterator[tuple[str, Listed]]:
        """As `hares.files.walk_files`."""
        before = len(self.path) + 1 if self.path else 0
        for found in self._tree.listing.walk((self / below).path):
            yield found.path[before:], found

    def open(self, mode: str = "r", *, encoding: str | None = None, errors: str | None = None) -> IO[Any]:
        """As a `Path`'s, to read. The whole object is fetched, once.

        Raises:
            FileNotFoundError: it is not listed, or was deleted or written again since.
            BucketError: the service fails.
        """
        found = self.listed()
        if found is None or found.problem:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        return self._tree.copy(found).open(mode, encoding=encoding, errors=errors)
