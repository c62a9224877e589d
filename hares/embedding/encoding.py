"""Clips in, embeddings out: the pass of a frozen encoder over a shard of a task's clips.

The encoder is called with full batches of b crops of one length n. The rest at the end of a shard becomes a batch of
the smallest size among b, b/2, b/4, ... that holds it, padded with copies of its first crop, whose rows are dropped. So
a compiled encoder sees few shapes, and little is computed in vain. Where memory runs out b is halved, and stays so for
crops of that length (`InParts`). Memory holds one batch of crops and the embeddings;
where crops are mixed (AudioSet), also the `MIXING_WINDOW` clips from which partners are drawn. The windows follow the
order of the records, so the same shard always gives the same rows.

Shapes: `b` batch, `n` samples of a crop, `d` embedding size.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from hares.embedding.task_embeddings import TaskEmbeddings, empty_embeddings
from hares.files import shown
from hares.protocol import (
    EVALUATION_ROLE,
    TRAIN_ROLE,
    ProtocolSettings,
    evaluation_crops,
    mixing_plan,
    roles,
    training_crops,
)
from hares.task import Split, Task

if TYPE_CHECKING:  # hares.example imports tensorflow, which nothing here needs
    from hares.example import ExampleClip

Encode = Callable[[np.ndarray], np.ndarray]

MIXING_WINDOW = 32
_NAMED_CLIPS = 8
# What torch, TensorFlow, CUDA, C++ and numpy say of memory that they could not have.
_NO_MEMORY = re.compile(
    r"out of memory|\boom\b|resource.?exhausted|alloc(ate|_failed)|bad_alloc|memoryerror", re.IGNORECASE
)


class EncodingError(ValueError):
    """The encoder failed on a batch of crops; the message names the task, the cause and the clips.

    Attributes:
        clips: ids of all clips that had crops in the batch.
        without_memory: whether memory ran out, on a single crop.
    """

    def __init__(self, task: str, what: str, clips: tuple[str, ...], without_memory: bool = False) -> None:
        named = ", ".join(map(shown, clips[:_NAMED_CLIPS]))
        more = f" and {len(clips) - _NAMED_CLIPS} more" if len(clips) > _NAMED_CLIPS else ""
        super().__init__(f"{task}: {what}; the batch held crops of {named}{more}")
        self.clips = clips
        self.without_memory = without_memory


def no_memory(error: BaseException) -> bool:
    """Whether a library's error says that memory ran out."""
    return bool(_NO_MEMORY.search(f"{type(error).__name__}: {error}"))


class _PartError(Exception):
    """The encoder raised on a part of a batch; its cause is the encoder's error."""

    def __init__(self, crops: int) -> None:
        super().__init__()
        self.crops = crops


class InParts:
    """An encoder that gets as many crops at once as memory holds.

    Attributes:
        halved: crops at once by their samples, of the lengths at which memory ran out.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self.halved: dict[int, int] = {}

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """The embeddings (b, d) of crops (b, n). Raises `_PartError`."""
        parts: list[np.ndarray] = []
        done, samples = 0, batch.shape[1]
        while done < len(batch):
            part = batch[done : done + self.halved.get(samples, len(batch))]
            try:
                parts.append(np.asarray(self._encode(part), np.float32))
            except Exception as error:  # whatever the encoder's code raises
                if no_memory(error) and len(part) > 1:
                    self.halved[samples] = len(part) // 2
                    logging.getLogger(__name__).warning(
                        "no memory for %d crops of %d samples (%s); going on with %d at once",
                        len(part),
                        samples,
                        what_it_raised(error),
                        self.halved[samples],
                    )
                    continue
                raise _PartError(len(part)) from error
            done += len(part)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def what_it_raised(error: BaseException) -> str:
    """An error of the encoder's as half a sentence: its type and the first line of its message."""
    first = (str(error).strip().splitlines() or ["no message"])[0][:200]
    return f"raised {type(error).__name__}: {first}"


def embed_shard(
    records: Iterable[ExampleClip],
    split: Split,
    task: Task,
    settings: ProtocolSettings,
    encode: Encode,
    batch_size: int,
    embedding_size: int | None = None,
) -> TaskEmbeddings:
    """Embeds every crop that the protocol takes of `records`.

    Args:
        records: clips of one split, in a fixed order.
        split: their split; clips of a validation split are not read at all.
        task: the protocol's record.
        settings: seed and number of crops.
        encode: float32 waveforms (b, n) in [-1, 1) to embeddings (b, d). An `InParts` remembers from shard to shard
            what memory holds.
        batch_size: b of all batches but the last of each crop length, which may be halved.
        embedding_size: the d to expect; None for that of the first batch.

    Returns:
        Rows grouped by clip, in the order of `records`; training crops before evaluation crops.

    Raises:
        EncodingError: the encoder raised, or an embedding has the wrong shape or is not finite.
        ValueError: a waveform is malformed; the message names the clip.
    """
    if batch_size < 1:
        raise ValueError(f"{task.name}: batch_size is {batch_size}; it must be at least 1")
    clip_roles = roles(split)
    if not clip_roles:
        return empty_embeddings()
    batcher = _Batcher(task.name, encode, batch_size, embedding_size)
    clips: list[ExampleClip] = []
    window = MIXING_WINDOW if task.mixed and TRAIN_ROLE in clip_roles else 1
    for block in _blocks(records, window):
        first = len(clips)
        clips.extend(_without_waveform(clip) for clip in block)
        trained = _training_rows(task, block, settings) if TRAIN_ROLE in clip_roles else None
        for position, clip in enumerate(block):
            index = first + position
            if trained is not None:
                crops, partners, weights = trained[position]
                for crop, partner, weight in zip(crops, partners, weights, strict=True):
                    batcher.add(crop, clip.clip_id, index, TRAIN_ROLE, first + int(partner), float(weight))
            if EVALUATION_ROLE in clip_roles:
                for crop in evaluation_crops(task, clip.waveform, clip.clip_id):
                    batcher.add(crop, clip.clip_id, index, EVALUATION_ROLE, index, 1.0)
    return batcher.finish(clips, split)


class _Batcher:
    """Collects crops of equal length into batches, and puts the embeddings back in order."""

    def __init__(self, task_name: str, encode: Encode, batch_size: int, embedding_size: int | None) -> None:
        self._task_name = task_name
        self._encode = encode if isinstance(encode, InParts) else InParts(encode)
        self._batch_size = batch_size
        self._embedding_size = embedding_size
        self._waiting: dict[int, list[tuple[int, str, np.ndarray]]] = {}  # by crop length: row, clip, crop
        self._embeddings: list[np.ndarray | None] = []
        self._rows: list[tuple[int, int, int, float]] = []  # clip, role, partner, weight

    def add(self, crop: np.ndarray, clip_id: str, clip: int, role: int, partner: int, weight: float) -> None:
        waiting = self._waiting.setdefault(crop.size, [])
        waiting.append((len(self._rows), clip_id, crop))
        self._rows.append((clip, role, partner, weight))
        self._embeddings.append(None)
        if len(waiting) == self._batch_size:
            self._flush(waiting)

    def finish(self, clips: list[ExampleClip], split: Split) -> TaskEmbeddings:
        for waiting in self._waiting.values():
            if waiting:
                self._flush(waiting)
        if not clips:
            return empty_embeddings()
        clip, role, partner, weight = zip(*self._rows, strict=True)
        return TaskEmbeddings(
            embeddings=np.stack([row for row in self._embeddings if row is not None]),
            clip_index=np.asarray(clip, np.int64),
            role=np.asarray(role, np.int8),
            partner=np.asarray(partner, np.int64),
            mix_weight=np.asarray(weight, np.float32),
            clip_ids=tuple(clip.clip_id for clip in clips),
            splits=(split,) * len(clips),
            groups=tuple(clip.group for clip in clips),
            labels=tuple(clip.labels for clip in clips),
        )

    def _flush(self, waiting: list[tuple[int, str, np.ndarray]]) -> None:
        crops = [crop for _, _, crop in waiting]
        size = self._batch_size
        while size % 2 == 0 and size // 2 >= len(crops):
            size //= 2
        batch = np.stack(crops + [crops[0]] * (size - len(crops)))
        clips = tuple(dict.fromkeys(clip_id for _, clip_id, _ in waiting))
        embedded = self._encoded(batch, clips)
        if (
            embedded.ndim != 2
            or len(embedded) != size
            or self._embedding_size not in (None, embedded.shape[1])
        ):
            expected = f"({size}, {self._embedding_size or 'embedding size'})"
            what = f"the encoder turned waveforms {batch.shape} into {embedded.shape}, expected {expected}"
            raise EncodingError(self._task_name, what, clips)
        self._embedding_size = embedded.shape[1]
        for (row, clip_id, _), embedding in zip(waiting, embedded, strict=False):
            if not np.isfinite(embedding).all():
                raise EncodingError(
                    self._task_name, f"the embedding of clip {clip_id!r} is not finite", clips
                )
            self._embeddings[row] = embedding.copy()
        waiting.clear()

    def _encoded(self, batch: np.ndarray, clips: tuple[str, ...]) -> np.ndarray:
        try:
            return self._encode(batch)
        except _PartError as part:
            error = part.__cause__
            assert error is not None
            what = (
                f"the encoder {what_it_raised(error)}, given {part.crops} crops of {batch.shape[1]} samples"
            )
            raise EncodingError(self._task_name, what, clips, no_memory(error)) from error


def _training_rows(
    task: Task, block: list[ExampleClip], settings: ProtocolSettings
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of each clip of a block: training crops (k, n), their partners in the block and their own shares."""
    crops = [training_crops(task, clip.waveform, clip.clip_id, settings) for clip in block]
    if not task.mixed:
        return [
            (own, np.full(len(own), position), np.ones(len(own), np.float32))
            for position, own in enumerate(crops)
        ]
    clip_ids = [clip.clip_id for clip in block]
    rows = []
    for position, own in enumerate(crops):
        partners, weights = mixing_plan(task, clip_ids, position, settings)
        other = np.stack([crops[partner][i] for i, partner in enumerate(partners)])
        share = weights[:, np.newaxis]
        rows.append((share * own + (1 - share) * other, partners, weights))
    return rows


def _blocks(records: Iterable[ExampleClip], size: int) -> Iterator[list[ExampleClip]]:
    iterator = iter(records)
    while block := list(islice(iterator, size)):
        yield block


def _without_waveform(clip: ExampleClip) -> ExampleClip:
    return replace(clip, waveform=np.zeros(0, np.int16))
