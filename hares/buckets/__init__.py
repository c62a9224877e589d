"""Folders in buckets: `s3://bucket/prefix` and `gs://bucket/prefix` wherever a folder of audio is taken.

`place` turns what a user gives into a folder: a `Path`, or a `BucketPath` that has the methods of one which readers
use. Nothing else in the project looks at an address.

- `path`: addresses, and `BucketPath`.
- `listing`: what a bucket lists below a prefix, kept on the disk; every question of a reader is answered from it.
- `copies`: objects as files on this machine's disk, fetched side by side before they are decoded.
- `client`, `s3`, `gs`: the two services, by their vendors' own libraries, which find the credentials.

A bucket is only read. What its listing says of an object (size; ETag or generation) is demanded again when the object
is read, so that one that was written again in between is found out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hares.buckets.client import BucketError, ExtraMissingError
from hares.buckets.listing import Listed
from hares.buckets.path import BucketPath, is_address

__all__ = [
    "BucketError",
    "BucketPath",
    "ExtraMissingError",
    "Listed",
    "Place",
    "is_address",
    "on_disk",
    "own",
    "place",
]

Place = Path | BucketPath


def place(text: str | os.PathLike[str] | BucketPath) -> Place:
    """The folder that a text names.

    Raises:
        ValueError: an address with credentials, a query, or parts that are no folder's name.
    """
    if isinstance(text, BucketPath):
        return text
    return BucketPath.parse(os.fspath(text)) if is_address(text) else Path(text)


@contextmanager
def on_disk(file: Place) -> Iterator[Path]:
    """A file of a folder as one on this machine's disk; of an object, a copy for the time of the block.

    Raises:
        AudioError: it is gone, was written again, or is larger than a decoder may be given.
        BucketError: the service fails.
    """
    if not isinstance(file, BucketPath):
        yield file
        return
    from hares.buckets.copies import Copies, source_of

    with Copies() as copies:
        ((_, copy),), *_ = copies.batches([source_of(None, file, "")])
        if not isinstance(copy, Path):
            raise copy
        yield copy


def own(folder: Place) -> Place:
    """A folder with a listing of its own: what is beside it is not listed with it."""
    return BucketPath.parse(str(folder)) if isinstance(folder, BucketPath) else folder
