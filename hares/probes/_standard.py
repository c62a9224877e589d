"""What all probes do before and after: standardise embeddings, and average scores over a clip's subclips.

Everything passes in blocks of rows, so that embeddings which are mapped from a file never fill memory.

Shapes: `d` embedding size, `k` logits, `r` training crops, `c` clips, `s` seeds.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hares.embedding.collector import take_rows
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.protocol import EVALUATION_ROLE

BLOCK_ROWS = 2_048  # crops that are looked at at once: bounds memory


def standardisation(embeddings: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) of `rows` (r,) of `embeddings`; the latter 1 where a number is constant.

    Sums are in float64, block by block, around the first row, so that large means cost no digits.
    """
    origin = embeddings[rows[0]].astype(np.float64)
    total = np.zeros_like(origin)
    squares = np.zeros_like(origin)
    for first in range(0, len(rows), BLOCK_ROWS):
        block = take_rows(embeddings, rows[first : first + BLOCK_ROWS]) - origin
        total += block.sum(axis=0)
        squares += np.einsum("rd,rd->d", block, block)
    shift = total / len(rows)
    mean = origin + shift
    deviation = np.sqrt(np.maximum(squares / len(rows) - shift**2, 0.0))
    # Below rounding of the mean, what looks like variation is noise, and dividing by it would make it signal.
    constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32)


def standardise(embeddings: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Embeddings (r, d), which must be a copy of the caller's, moved and scaled in place."""
    rows = np.asarray(embeddings, np.float32)
    rows -= mean
    rows /= deviation
    return rows


def average_over_crops(
    data: TaskEmbeddings, clips: np.ndarray, score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Means of the scores of each clip's evaluation crops.

    Args:
        data: embeddings of the task.
        clips: (c,) clips to score, each with at least one evaluation crop.
        score: embeddings (rows, d), a copy, to scores (s, rows, k).

    Returns:
        (s, c, k) float32 in the order of `clips`.

    Raises:
        ValueError: a clip has no evaluation crop.
    """
    rows = data.rows(clips, EVALUATION_ROLE)
    place = np.zeros(len(data.clip_ids), np.int64)
    place[clips] = np.arange(len(clips))
    counts = np.bincount(place[data.clip_index[rows]], minlength=len(clips))
    if not len(clips) or counts.min() == 0:
        raise ValueError(f"{np.count_nonzero(counts == 0)} test clips have no evaluation crop")
    totals: np.ndarray | None = None
    for first in range(0, len(rows), BLOCK_ROWS):
        part = rows[first : first + BLOCK_ROWS]
        scores = score(take_rows(data.embeddings, part))
        if totals is None:
            totals = np.zeros((len(scores), len(clips), scores.shape[2]))
        for total, of_seed in zip(totals, scores, strict=True):
            np.add.at(total, place[data.clip_index[part]], of_seed)
    assert totals is not None
    return (totals / counts[:, np.newaxis]).astype(np.float32)
