"""A large object that is read where it lies, from its beginning on or anywhere, in ranges that are fetched ahead."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from hares.buckets.client import client
from hares.buckets.listing import Listed
from hares.buckets.path import BucketPath

_BLOCK = 4 << 20  # bytes of one request
_AHEAD = 4  # blocks fetched behind the one that is read


@contextmanager
def opened(file: Path | BucketPath) -> Iterator[IO[bytes]]:
    """A file's bytes, without a copy of the whole on this machine.

    Raises:
        FileNotFoundError: it is not there, or was deleted or written again since it was listed; also while it is read.
        BucketError: the service fails; also while it is read.
    """
    if not isinstance(file, BucketPath):
        with file.open("rb") as local:
            yield local
        return
    listed = file.listed()
    if listed is None or not listed.is_file():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(file))
    with ThreadPoolExecutor(_AHEAD, "hares-stream") as pool:
        stream = _Blocks(file, listed, pool)
        try:
            yield cast(IO[bytes], io.BufferedReader(stream, _BLOCK))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


class _Blocks(io.RawIOBase):
    """An object by its blocks; the next few of them are asked for before they are read."""

    def __init__(self, file: BucketPath, listed: Listed, pool: ThreadPoolExecutor) -> None:
        self._scheme, _, rest = str(file).partition("://")
        self._bucket, _, self._key = rest.partition("/")
        self._listed, self._pool = listed, pool
        self._blocks: dict[int, Future[bytes]] = {}
        self._position = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """As a file's."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file's."""
        self._position = max(0, offset + (0, self._position, self._listed.size)[whence])
        return self._position

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        """As a file's."""
        if self._position >= self._listed.size or not len(target):
            return 0
        number, start = divmod(self._position, _BLOCK)
        for wanted in range(number, number + 1 + _AHEAD):
            if wanted not in self._blocks and wanted * _BLOCK < self._listed.size:
                self._blocks[wanted] = self._pool.submit(self._block, wanted)
        for passed in [n for n in self._blocks if not number - 1 <= n <= number + _AHEAD]:
            self._blocks.pop(passed).cancel()
        found = self._blocks[number].result()[start : start + len(target)]
        target[: len(found)] = found
        self._position += len(found)
        return len(found)

    def _block(self, number: int) -> bytes:
        last = min((number + 1) * _BLOCK, self._listed.size)
        return client(self._scheme).read(self._bucket, self._key, self._listed.version, number * _BLOCK, last)
