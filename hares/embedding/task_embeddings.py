"""The embeddings of one task's clips, in memory and as npz shards.

One row is one crop; `clip_index` ties it to its clip and `role` says whether probes train on it or are
scored on it. A shard holds whole clips, so shards concatenate in any number; nothing in a file is pickled.

Shapes: `r` crops, `d` embedding size, `c` clips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from hares.arrays import (
    npz_arrays,
    npz_bytes,
    pack_lists,
    pack_strings,
    unpack_lists,
    unpack_strings,
)


@dataclass(frozen=True)
class TaskEmbeddings:
    """Embeddings and what scoring must know of the clips they come from.

    Attributes:
        embeddings: (r, d) float32.
        clip_index: (r,) int64, the clip of each crop.
        role: (r,) int8, `hares.protocol.TRAIN_ROLE` or `EVALUATION_ROLE`.
        partner: (r,) int64, the clip mixed into the crop; the clip itself where nothing is.
        mix_weight: (r,) float32, the share of the crop's own clip; 1 where nothing is mixed in.
        clip_ids: c names.
        splits: c splits.
        groups: c speakers, recordings or instruments.
        labels: c lists of class ids.
    """

    embeddings: np.ndarray
    clip_index: np.ndarray
    role: np.ndarray
    partner: np.ndarray
    mix_weight: np.ndarray
    clip_ids: tuple[str, ...]
    splits: tuple[str, ...]
    groups: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        rows, clips = len(self.embeddings), len(self.clip_ids)
        row_sizes = {len(self.clip_index), len(self.role), len(self.partner), len(self.mix_weight), rows}
        clip_sizes = {len(self.splits), len(self.groups), len(self.labels), clips}
        if self.embeddings.ndim != 2 or len(row_sizes) != 1 or len(clip_sizes) != 1:
            raise ValueError(
                f"embeddings of shape {self.embeddings.shape} with {sorted(row_sizes)} entries a crop and "
                f"{sorted(clip_sizes)} a clip; each must be one number, and the shape (crops, size)"
            )
        indices = np.concatenate([self.clip_index, self.partner])
        if indices.size and (indices.min() < 0 or indices.max() >= clips):
            raise ValueError(
                f"crops point at clips {indices.min()} to {indices.max()}, but there are only {clips}"
            )

    def rows(self, clips: np.ndarray, role: int) -> np.ndarray:
        """Indices of the crops of `clips` (any,) in `role`, in the order of the crops."""
        wanted = np.zeros(len(self.clip_ids), bool)
        wanted[clips] = True
        return np.flatnonzero(wanted[self.clip_index] & (self.role == role))

    def clips_in(self, splits: Iterable[str]) -> np.ndarray:
        """Indices of the clips of `splits`, in order."""
        wanted = frozenset(splits)
        return np.asarray([i for i, split in enumerate(self.splits) if split in wanted], np.int64)


def empty_embeddings(size: int = 0) -> TaskEmbeddings:
    """No clips at all, of embedding size `size`: what a split without clips gives."""
    rows = np.zeros(0, np.int64)
    return TaskEmbeddings(
        embeddings=np.zeros((0, size), np.float32),
        clip_index=rows,
        role=rows.astype(np.int8),
        partner=rows,
        mix_weight=rows.astype(np.float32),
        clip_ids=(),
        splits=(),
        groups=(),
        labels=(),
    )


def concatenate(parts: Sequence[TaskEmbeddings], embeddings: np.ndarray | None = None) -> TaskEmbeddings:
    """All clips of all parts, in order.

    Args:
        parts: any number of shards.
        embeddings: (r, d) the rows of all parts where they are joined already; None to join them here.

    Raises:
        ValueError: the parts differ in embedding size, or two hold the same clip.
    """
    filled = [part for part in parts if part.clip_ids]
    if not filled:
        return empty_embeddings()
    sizes = {part.embeddings.shape[1] for part in filled}
    if len(sizes) > 1:
        raise ValueError(f"embeddings of sizes {sorted(sizes)} cannot be one task's: are two encoders mixed?")
    clip_ids = tuple(name for part in filled for name in part.clip_ids)
    if len(set(clip_ids)) != len(clip_ids):
        seen: set[str] = set()
        twice = next(name for name in clip_ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"clip {twice!r} is in two shards: was the same shard read twice?")
    first_clip = np.cumsum([0] + [len(part.clip_ids) for part in filled])
    return TaskEmbeddings(
        embeddings=np.concatenate([p.embeddings for p in filled]) if embeddings is None else embeddings,
        clip_index=np.concatenate([p.clip_index + a for p, a in zip(filled, first_clip, strict=False)]),
        role=np.concatenate([part.role for part in filled]),
        partner=np.concatenate([p.partner + a for p, a in zip(filled, first_clip, strict=False)]),
        mix_weight=np.concatenate([part.mix_weight for part in filled]),
        clip_ids=clip_ids,
        splits=tuple(split for part in filled for split in part.splits),
        groups=tuple(group for part in filled for group in part.groups),
        labels=tuple(labels for part in filled for labels in part.labels),
    )


def encode_shard(data: TaskEmbeddings) -> bytes:
    """The npz archive of `data`, for a file system that is not the local one."""
    return npz_bytes(
        {
            "embeddings": data.embeddings.astype(np.float32, copy=False),
            "clip_index": data.clip_index.astype(np.int64, copy=False),
            "role": data.role.astype(np.int8, copy=False),
            "partner": data.partner.astype(np.int64, copy=False),
            "mix_weight": data.mix_weight.astype(np.float32, copy=False),
            **pack_strings("clip_ids", data.clip_ids),
            **pack_strings("splits", data.splits),
            **pack_strings("groups", data.groups),
            **pack_lists("labels", data.labels),
        }
    )


def decode_shard(content: bytes, path: str) -> TaskEmbeddings:
    """The embeddings of an archive that `encode_shard` made.

    Raises:
        ValueError: not such an archive; the message names `path`.
    """
    arrays = npz_arrays(content, path)
    try:
        return TaskEmbeddings(
            embeddings=arrays["embeddings"],
            clip_index=arrays["clip_index"],
            role=arrays["role"],
            partner=arrays["partner"],
            mix_weight=arrays["mix_weight"],
            clip_ids=unpack_strings("clip_ids", arrays),
            splits=unpack_strings("splits", arrays),
            groups=unpack_strings("groups", arrays),
            labels=unpack_lists("labels", arrays),
        )
    except KeyError as error:
        raise ValueError(
            f"{path}: no array {error}; found {', '.join(sorted(arrays))}. Is this a shard of embeddings?"
        ) from error
