"""What is asked of a service that keeps buckets, and what is said where it fails."""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from hares.machine import MachineError

PAGE = 1_000  # keys in an answer: the most that S3 gives
CONNECTIONS = 16  # requests at once
CONNECT_SECONDS, READ_SECONDS = 10.0, 60.0
EXTRA = "hares-tfx[buckets]"


class BucketError(MachineError):
    """A bucket's service does not answer, or refuses: nothing is known about what is in the bucket."""


class ExtraMissingError(ModuleNotFoundError):
    """The package that speaks to a service is not installed."""


@dataclass(frozen=True)
class Page:
    """A part of a listing.

    Attributes:
        objects: (key, size, version) by key; the version is an ETag or a generation.
        folders: keys up to the next `/`, with it, where only one level was asked for.
    """

    objects: list[tuple[str, int, str]]
    folders: list[str]


class Client(Protocol):
    """One service. Its methods may be called from many threads."""

    def pages(self, bucket: str, prefix: str, one_level: bool = False, most: int = PAGE) -> Iterator[Page]:
        """What is there below a prefix, page by page; nothing where there is no such bucket.

        Raises:
            BucketError: the service fails.
        """

    def read(self, bucket: str, key: str, version: str, first: int, last: int) -> bytes:
        """The bytes `first` to `last`, without it, of an object as it was listed.

        Raises:
            FileNotFoundError: it is gone, or was written again.
            BucketError: the service fails.
        """


def client(scheme: str) -> Client:
    """This process' client of a service, "s3" or "gs"; a forked child has its own.

    Raises:
        ExtraMissingError: its library is not installed.
        BucketError: there are no credentials.
    """
    return _client(os.getpid(), scheme)


@functools.cache
def _client(_pid: int, scheme: str) -> Client:
    try:
        if scheme == "s3":
            from hares.buckets.s3 import S3

            return S3()
        from hares.buckets.gs import GoogleStorage

        return GoogleStorage()
    except ModuleNotFoundError as error:
        raise ExtraMissingError(
            f"{scheme}:// needs the package {error.name}, which is not installed: pip install '{EXTRA}'",
            name=error.name,
        ) from error


def gone(address: str) -> FileNotFoundError:
    """What to raise for an object that was listed and is not there any more."""
    return FileNotFoundError(errno.ENOENT, "the object was deleted after it was listed", address)


def changed(address: str) -> FileNotFoundError:
    """What to raise for an object that is not the one that was listed."""
    why = "the object was written again after it was listed; run the same command again"
    return FileNotFoundError(errno.ENOENT, why, address)


def fault(address: str, cause: str, remedy: str) -> BucketError:
    """One sentence of address, cause and remedy."""
    return BucketError(0, f"{address}: {cause}; {remedy}, then run the same command again")
