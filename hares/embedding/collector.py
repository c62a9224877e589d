"""A task's embeddings from its shards, in bounded memory.

Embeddings above a limit are appended to a temporary file as their shards arrive, and read through a memory map:
AudioSet's 1.9 million clips at 3456 numbers are 26 GB for each crop. What scoring must know of clips and crops stays in
memory (about 0.3 kB per clip). The file is unlinked as soon as it is open, so nothing is left behind.

Shapes: `r` crops, `d` embedding size.
"""

from __future__ import annotations

import mmap
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from hares.embedding.task_embeddings import TaskEmbeddings, concatenate

BYTES_PER_MB = 1_000_000
# With a page that is asked for the system maps its neighbours, 64 kB in all: so many rows are at most 16 MB.
MAPPED_ROWS = 256


class EmbeddingCollector:
    """Takes shards one at a time and gives the embeddings of all of them."""

    def __init__(self, memory_limit_mb: float, directory: Path | None = None) -> None:
        """Starts empty.

        Args:
            memory_limit_mb: embeddings above this go to a file.
            directory: where that file is made; None for the system's folder of temporary files. It must not be
                a file system in memory.
        """
        self._limit = memory_limit_mb * BYTES_PER_MB
        self._directory = directory
        self._parts: list[TaskEmbeddings] = []
        self._waiting: list[np.ndarray] = []
        self._labels: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._bytes = 0
        self._file: IO[bytes] | None = None

    def add(self, shard: TaskEmbeddings) -> None:
        """Takes a shard; its array of embeddings is not kept where a file is.

        Raises:
            ValueError: the shard's embeddings are of another size than those before it.
        """
        if not shard.clip_ids:
            return
        size = shard.embeddings.shape[1]
        if self._parts and self._parts[0].embeddings.shape[1] != size:
            found = sorted({size, self._parts[0].embeddings.shape[1]})
            raise ValueError(f"embeddings of sizes {found} cannot be one task's: are two encoders mixed?")
        rows = np.ascontiguousarray(shard.embeddings, np.float32)
        self._bytes += rows.nbytes
        # A stand-in of the right shape that takes no memory: `concatenate` checks rows against it. What many clips
        # have in common is kept once, and not once a clip.
        self._parts.append(
            replace(
                shard,
                embeddings=np.broadcast_to(np.float32(0), rows.shape),
                splits=tuple(map(sys.intern, shard.splits)),
                groups=tuple(map(sys.intern, shard.groups)),
                labels=tuple(self._labels.setdefault(labels, labels) for labels in shard.labels),
            )
        )
        self._waiting.append(rows)
        if self._bytes > self._limit:
            self._spill()

    def finish(self) -> TaskEmbeddings:
        """All clips of all shards, in order. Raises ValueError if two shards hold the same clip."""
        if not self._parts:
            return concatenate([])
        rows = sum(len(part.clip_index) for part in self._parts)
        size = self._parts[0].embeddings.shape[1]
        if self._file is None:
            joined, first = np.empty((rows, size), np.float32), 0
            self._waiting.reverse()
            while self._waiting:  # a shard's rows are dropped once they are copied: nothing is held twice
                shard = self._waiting.pop()
                joined[first : first + len(shard)] = shard
                first += len(shard)
            return concatenate(self._parts, embeddings=joined)
        self._spill()
        self._file.flush()
        mapped = np.memmap(self._file, np.float32, "r", shape=(rows, size))
        return concatenate(self._parts, embeddings=mapped)

    def _spill(self) -> None:
        if self._file is None:
            # Open as long as the map made of it: its end is that of the last array that looks into it.
            self._file = tempfile.TemporaryFile(dir=self._directory, prefix="hares-embeddings-")  # noqa: SIM115
        for rows in self._waiting:
            rows.tofile(self._file)
        self._waiting.clear()


def collect(
    shards: Iterable[TaskEmbeddings], memory_limit_mb: float, directory: Path | None = None
) -> TaskEmbeddings:
    """All clips of `shards`, read one at a time; see `EmbeddingCollector`."""
    collector = EmbeddingCollector(memory_limit_mb, directory)
    for shard in shards:
        collector.add(shard)
    return collector.finish()


def is_mapped(embeddings: np.ndarray) -> bool:
    """Whether embeddings are looked at through a memory map."""
    return isinstance(embeddings, np.memmap)


def take_rows(embeddings: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A copy of `rows` (any,) of embeddings (r, d), in their order.

    Of a memory map a few are read at a time, and their pages given back to the system, which may keep or drop them:
    else they would count as this process's memory until the system runs short.
    """
    if not (isinstance(embeddings, np.memmap) and isinstance(embeddings.base, mmap.mmap)):
        return np.asarray(embeddings[rows])
    found = np.empty((len(rows), embeddings.shape[1]), embeddings.dtype)
    for first in range(0, len(rows), MAPPED_ROWS):
        part = slice(first, first + MAPPED_ROWS)
        found[part] = embeddings[rows[part]]
        embeddings.base.madvise(mmap.MADV_DONTNEED)
    return found
