"""What all probes do before and after: standardise embeddings, and average scores over a clip's subclips.

Shapes: `d` embedding size, `k` logits, `r` training crops, `c` clips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hares.embeddings import TaskEmbeddings
from hares.protocol import EVALUATION_ROLE

SCORING_ROWS = 4_096  # crops that are scored at once: bounds memory, changes nothing


def standardisation(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (d,) of rows (r, d), the latter 1 where a number never varies."""
    mean = rows.mean(axis=0, dtype=np.float64)
    deviation = rows.std(axis=0, dtype=np.float64)
    # Below rounding of the mean, what looks like variation is noise, and dividing by it would make it signal.
    constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-6)
    return mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32)


def average_over_crops(
    data: TaskEmbeddings, clips: np.ndarray, score: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Means of the scores of each clip's evaluation crops.

    Args:
        data: embeddings of the task.
        clips: (c,) clips to score, each with at least one evaluation crop.
        score: embeddings (rows, d) to scores (rows, k).

    Returns:
        (c, k) float32 in the order of `clips`.
    """
    rows = data.rows(clips, EVALUATION_ROLE)
    place = np.zeros(len(data.clip_ids), np.int64)
    place[clips] = np.arange(len(clips))
    totals: np.ndarray | None = None
    for first in range(0, len(rows), SCORING_ROWS):
        part = rows[first : first + SCORING_ROWS]
        scores = score(data.embeddings[part]).astype(np.float64)
        totals = np.zeros((len(clips), scores.shape[1])) if totals is None else totals
        np.add.at(totals, place[data.clip_index[part]], scores)
    counts = np.bincount(place[data.clip_index[rows]], minlength=len(clips))
    if totals is None or counts.min() == 0:
        raise ValueError(f"{np.count_nonzero(counts == 0)} test clips have no evaluation crop")
    return (totals / counts[:, np.newaxis]).astype(np.float32)
