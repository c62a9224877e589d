"""Objects of buckets as files on this machine's disk: decoders are given files and no addresses.

What is asked for next is fetched while the caller works on what is there, many objects side by side and each in ranges.
The files lie in a folder of their own, which goes in the end, and never take more than a budget; an object that is
asked for again (a recording that many clips are cut from, a shard that is hashed and then decoded) is fetched once,
while the budget lasts.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from hares.buckets.client import CONNECTIONS, client
from hares.buckets.listing import Listed
from hares.buckets.path import BucketPath
from hares.decoding import AudioError, Limits
from hares.machine import machine_error
from hares.task import Reason

T = TypeVar("T")
Source = tuple[T, str, Listed | None]
"""What a file is wanted for, its path or address, and what the bucket lists for it."""

_RANGE = 8 << 20  # bytes of one request
_BATCH, _BATCH_BYTES = 64, 128 << 20  # what is fetched while the batch before is being worked on
_LONGEST_SUFFIX = 16


def fetch(scheme: str, bucket: str, key: str, listed: Listed, to: Path) -> None:
    """Writes an object to a new file, in ranges.

    Raises:
        FileNotFoundError: it is gone, or is not what was listed.
        BucketError: the service fails.
        OSError: the disk is full.
    """
    service = client(scheme)
    with open(to, "xb") as file:
        for first in range(0, listed.size, _RANGE):
            file.write(service.read(bucket, key, listed.version, first, min(first + _RANGE, listed.size)))


class Copies:
    """Files for the time of a `with`.

    Args:
        largest: bytes that an object may have; a larger one is refused unread. No decoder gets more memory.
        budget: bytes on the disk, besides the two batches that are at work.
    """

    def __init__(self, largest: int = Limits.memory_bytes, budget: int = 512 << 20) -> None:
        self._largest = largest
        self._budget = budget
        self._kept: OrderedDict[tuple[str, str], tuple[Path, int, Future[None]]] = OrderedDict()
        self._count = 0
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Copies:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._folder is not None:
            self._folder.cleanup()

    def batches(self, sources: Iterable[Source[T]]) -> Iterator[list[tuple[T, Path | AudioError]]]:
        """The files in order, a batch at a time; they are there until the next but one is asked for.

        Yields:
            What each file is for, and its place; or why there is none, as a decoder says it of a file on a disk.

        Raises:
            BucketError: the service fails; nothing is known then of the objects.
            MachineError: the disk is full.
        """
        left = iter(sources)
        ahead = self._started(self._batch(left))
        while ahead:
            now, ahead = ahead, self._started(self._batch(left))
            yield [(what, self._awaited(address, listed)) for what, address, listed in now]
            self._make_room({_key(address, listed) for _, address, listed in ahead if listed})

    def _batch(self, left: Iterator[Source[T]]) -> list[Source[T]]:
        batch, size = [], 0
        for source in islice(left, _BATCH):
            batch.append(source)
            size += source[2].size if source[2] else 0
            if size > _BATCH_BYTES:
                break
        return batch

    def _started(self, batch: list[Source[T]]) -> list[Source[T]]:
        for _, address, listed in batch:
            if listed is None or listed.size > self._largest:
                continue
            key = _key(address, listed)
            if key in self._kept:
                self._kept.move_to_end(key)
                continue
            if self._pool is None:
                self._pool = ThreadPoolExecutor(CONNECTIONS, "hares-fetch")
                self._folder = tempfile.TemporaryDirectory(prefix="hares-audio-")
            assert self._folder is not None
            self._count += 1
            suffix = os.path.splitext(address)[1]
            to = Path(self._folder.name, f"{self._count}{suffix if len(suffix) <= _LONGEST_SUFFIX else ''}")
            scheme, _, rest = address.partition("://")
            bucket, _, name = rest.partition("/")
            future = self._pool.submit(fetch, scheme, bucket, name, listed, to)
            self._kept[key] = to, listed.size, future
        return batch

    def _awaited(self, address: str, listed: Listed | None) -> Path | AudioError:
        if listed is None:
            return Path(address)
        if listed.size > self._largest:
            detail = (
                f"the object has {listed.size / 2**30:.3g} GiB, and one of up to {self._largest / 2**30:.3g} GiB is "
                "fetched; cut the recording, or remove it"
            )
            return AudioError(Reason.TOO_LARGE, detail)
        path, _, future = self._kept[_key(address, listed)]
        try:
            future.result()
        except FileNotFoundError as error:
            return AudioError(Reason.ABSENT, str(error.strerror))
        except OSError as error:
            raise machine_error(error, f"{address} cannot be fetched") from error
        return path

    def _make_room(self, needed: set[tuple[str, str]]) -> None:
        total = sum(size for _, size, _ in self._kept.values())
        for key in [key for key in self._kept if key not in needed]:
            if total <= self._budget:
                return
            path, size, _ = self._kept.pop(key)
            path.unlink(missing_ok=True)
            total -= size


def _key(address: str, listed: Listed) -> tuple[str, str]:
    return address, listed.version


def source_of(what: T, root: Path | BucketPath, path: str) -> Source[T]:
    """A file of a folder, as `Copies.batches` takes it."""
    if isinstance(root, BucketPath):
        return what, str(root / path), root.listed(path)
    return what, os.path.join(root, path), None
