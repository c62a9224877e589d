"""The batches of a probe's training: which crops, their targets, and where their embeddings are.

A batch is a random clip and a random one of its crops for every place: the paper's "random crop of a random
clip", so a clip too short for several crops weighs as much as any other. Draws are with replacement, from one
stream of random numbers for each seed that does not depend on how many steps are drawn at once.

Embeddings that fit in memory go into the graph once and are gathered there; those that are mapped from a file
are gathered here, a chunk of steps ahead of training. Both ways the numbers are the same to the last digit.

Shapes: `n` steps of a chunk, `s` seeds, `b` batch, `d` embedding size, `r` training crops, `c` clips.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from hares.embedding.collector import is_mapped, take_rows
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.metrics import multi_hot
from hares.probes._standard import BLOCK_ROWS, standardise
from hares.protocol import ProbeSchedule
from hares.task import Slot, Task

CHUNK_BYTES = 8_000_000  # of embeddings and targets that wait for the graph; two chunks are alive at a time
LONGEST_CHUNK = 1_000


@dataclass(frozen=True)
class Chunk:
    """Consecutive steps of training.

    Attributes:
        first: number of the first step.
        inputs: (n, s, b) int32 numbers of rows where they are resident, else (n, s, b, d) float32 standardised
            embeddings.
        targets: (n, s, b, slots) int32 class ids, or (n, s, b, k) float32 for multi-label tasks.
    """

    first: int
    inputs: np.ndarray
    targets: np.ndarray


class TrainingRows:
    """The training crops of one fold, standardised.

    Attributes:
        count, size: r and d.
        resident: whether they fit in memory, so that the graph keeps all of them (`blocks`) and gathers batches.
    """

    def __init__(
        self,
        task: Task,
        slots: tuple[Slot, ...],
        data: TaskEmbeddings,
        rows: np.ndarray,
        mean: np.ndarray,
        deviation: np.ndarray,
    ) -> None:
        """Sorts `rows` (r,) of `data` by clip.

        Args:
            task: the protocol's record.
            slots: the label set.
            data: embeddings of the task.
            rows: (r,) the training crops.
            mean: (d,) of the embeddings of the training crops.
            deviation: (d,) likewise.
        """
        rows = rows[np.argsort(data.clip_index[rows], kind="stable")]
        self._data = data
        self._rows = rows
        self._mean, self._deviation = mean, deviation
        self._multi = task.label_kind == "multi"
        self._classes = len(slots[0].classes)
        self._ids = None if self._multi else np.asarray(data.labels, np.int32).reshape(-1, len(slots))
        _, self._first_row, self._crops = np.unique(
            data.clip_index[rows], return_index=True, return_counts=True
        )
        self._mixed = bool((data.partner[rows] != data.clip_index[rows]).any())
        self.count, self.size = len(rows), data.embeddings.shape[1]
        self.resident = not is_mapped(data.embeddings)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """All rows, a block at a time: the number of its first row, and the block (any, d) standardised."""
        for first in range(0, self.count, BLOCK_ROWS):
            part = take_rows(self._data.embeddings, self._rows[first : first + BLOCK_ROWS])
            yield first, standardise(part, self._mean, self._deviation)

    def chunks(self, schedule: ProbeSchedule, seeds: list[int]) -> Iterator[Chunk]:
        """All steps of a schedule, each chunk made while the one before it is trained on."""
        width = self._classes if self._multi else (1 if self._ids is None else self._ids.shape[1])
        numbers = width + (1 if self.resident else self.size)
        step_bytes = 4 * len(seeds) * schedule.batch_size * numbers
        length = max(1, min(LONGEST_CHUNK, schedule.steps, CHUNK_BYTES // step_bytes))
        streams = [np.random.Generator(np.random.Philox(key=seed)) for seed in seeds]
        with ThreadPoolExecutor(1) as ahead:
            waiting = ahead.submit(self._chunk, 0, min(length, schedule.steps), schedule.batch_size, streams)
            for first in range(length, schedule.steps + length, length):
                chunk = waiting.result()
                if first < schedule.steps:
                    count = min(length, schedule.steps - first)
                    waiting = ahead.submit(self._chunk, first, count, schedule.batch_size, streams)
                yield chunk

    def _chunk(self, first: int, steps: int, batch: int, streams: list[np.random.Generator]) -> Chunk:
        draws = np.stack([stream.random((steps, 2, batch)) for stream in streams], axis=2)  # (n, 2, s, b)
        clips = (draws[:, 0] * len(self._first_row)).astype(np.int64)
        places = self._first_row[clips] + (draws[:, 1] * self._crops[clips]).astype(np.int64)
        targets = self._targets(self._rows[places])
        if self.resident:
            return Chunk(first, places.astype(np.int32), targets)
        wanted = self._rows[places.ravel()]
        inputs = standardise(take_rows(self._data.embeddings, wanted), self._mean, self._deviation)
        return Chunk(first, inputs.reshape(*places.shape, self.size), targets)

    def _targets(self, rows: np.ndarray) -> np.ndarray:
        own = self._answers(self._data.clip_index[rows])
        if not self._mixed:
            return own
        share = self._data.mix_weight[rows][..., np.newaxis]
        mixed = share * own + (1 - share) * self._answers(self._data.partner[rows])
        return np.asarray(mixed, np.float32)

    def _answers(self, clips: np.ndarray) -> np.ndarray:
        if self._ids is not None:
            return self._ids[clips]
        hot = multi_hot([self._data.labels[clip] for clip in clips.ravel()], self._classes)
        return hot.reshape(*clips.shape, self._classes).astype(np.float32)
