"""A file's bytes by position, and what a container says of them (`hares.decoding.containers`)."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Part:
    """A stretch of a file that a decoder reads as if it were a file of its own.

    Attributes:
        start, end: bytes of the file.
        before: bytes that stand in front of them.
        changed: (place in the file, bytes) that stand in for what the file has there, in place of a wrong length.
    """

    start: int
    end: int
    before: bytes = b""
    changed: tuple[tuple[int, bytes], ...] = ()


@dataclass(frozen=True)
class Container:
    """What is known of a file before it is decoded.

    Attributes:
        demuxer: ffmpeg's name of the container, "" for those that libsndfile reads.
        missing: what is missing at the end, one sentence; None where nothing is known to be.
        parts: what to decode, one after another; none: the file as it is.
        seconds: sound that is in it by its frames, or that its header promises; None where neither is known.
        slack: seconds by which what is decoded may be less than that.
        counted: the file with its frames counted in front, for a decoder that would only guess their number.
    """

    demuxer: str = ""
    missing: str | None = None
    parts: tuple[Part, ...] = ()
    seconds: float | None = None
    slack: float = 0.5  # a header's length is that of the longest track, which may be the picture
    counted: Part | None = None


class FileBytes:
    """An open file's bytes by position; where the descriptor stands does not change."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def at(self, position: int, count: int) -> bytes:
        """Up to `count` bytes from `position` on; fewer at the file's end."""
        return os.pread(self._descriptor, count, position) if 0 <= position < self.size else b""

    def find(self, wanted: bytes, position: int) -> int:
        """Where `wanted` is next, from `position` on; -1 where it is not."""
        while position < self.size:
            block = self.at(position, _BLOCK + len(wanted) - 1)
            if not block:
                return -1
            if (found := block.find(wanted)) >= 0:
                return position + found
            position += _BLOCK
        return -1


class PartFile(io.RawIOBase):
    """A `Part` of an open file, as soundfile reads it.

    Attributes:
        error: what the system said when it could not be read; libsndfile takes that for the file's end.
    """

    def __init__(self, descriptor: int, part: Part) -> None:
        self._descriptor = descriptor
        self._part = part
        self._position = 0
        self._size = len(part.before) + part.end - part.start
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As a file's."""
        self._position = max(0, offset + (0, self._position, self._size)[whence])
        return self._position

    def tell(self) -> int:
        """As a file's."""
        return self._position

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        """As a file's."""
        part, before = self._part, self._part.before
        count = max(0, min(len(target), self._size - self._position))
        if self._position < len(before):
            found = before[self._position : self._position + count]
        else:
            at = part.start + self._position - len(before)
            try:
                found = os.pread(self._descriptor, count, at)
            except OSError as error:
                self.error = error
                return 0
            for place, replaced in part.changed:
                first, last = max(place, at), min(place + len(replaced), at + len(found))
                if first < last:
                    middle = replaced[first - place : last - place]
                    found = found[: first - at] + middle + found[last - at :]
        target[: len(found)] = found
        self._position += len(found)
        return len(found)
