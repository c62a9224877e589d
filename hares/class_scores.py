"""What lies under a score: recall or average precision class by class, macro recall, and what is mistaken for what.

Counts are means over the seeds of the probe. Macro recall is the mean over the true answers (for slots, over
their combinations) of the share that is right: beside the accuracy it shows whether rare classes are heard.

Shapes: `c` clips, `k` classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hares.metrics import RankedScores, multi_hot
from hares.predictions import Predictions

LARGEST_MATRIX = 64  # classes; above that only the commonest confusions are listed
CONFUSIONS_LISTED = 20


def class_scores(predictions: Predictions) -> list[dict[str, Any]]:
    """Of every class with test clips: `slot`, `name`, `clips`, and `score`, its recall or average precision."""
    if predictions.metric == "mAP":
        return _average_precisions(predictions)
    rows = []
    for place, slot in enumerate(predictions.slots):
        counts = _confusion(predictions, place)
        for label, name in enumerate(slot.classes):
            clips = counts[label].sum()
            if clips:
                score = float(counts[label, label] / clips)
                rows.append({"slot": slot.name, "name": name, "clips": round(clips), "score": score})
    return rows


def macro_recall(predictions: Predictions) -> float | None:
    """Mean over the true answers of the share of their clips that is right; None for mAP."""
    if predictions.metric == "mAP":
        return None
    right = predictions.correct().mean(axis=0)
    numbers: dict[tuple[int, ...], int] = {}
    ids = [numbers.setdefault(labels, len(numbers)) for labels in predictions.labels]
    return float((np.bincount(ids, weights=right) / np.bincount(ids)).mean())


def confusion(predictions: Predictions) -> list[dict[str, Any]]:
    """Of each slot, what was answered for what; empty for mAP, where clips have any number of classes.

    `pairs` lists the commonest mistakes (`truth`, `answer`, `clips`); `classes` and `matrix` (truth by answer)
    hold everything of slots with at most 64 classes that occur, and are empty above.
    """
    if predictions.metric == "mAP":
        return []
    found = []
    for place, slot in enumerate(predictions.slots):
        counts = _confusion(predictions, place)
        occurs = np.flatnonzero(counts.sum(axis=0) + counts.sum(axis=1))
        small = occurs.size <= LARGEST_MATRIX
        wrong = counts - np.diag(np.diag(counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS_LISTED]
        pairs = [divmod(int(cell), len(slot.classes)) for cell in order if wrong.flat[cell] > 0]
        found.append(
            {
                "slot": slot.name,
                "classes": [slot.classes[label] for label in occurs] if small else [],
                "matrix": counts[np.ix_(occurs, occurs)].round(3).tolist() if small else [],
                "pairs": [
                    {
                        "truth": slot.classes[truth],
                        "answer": slot.classes[answer],
                        "clips": round(float(wrong[truth, answer]), 3),
                    }
                    for truth, answer in pairs
                ],
            }
        )
    return found


def _confusion(predictions: Predictions, place: int) -> np.ndarray:
    """Clips by true class and answer of one slot (k, k), the mean over seeds."""
    size = len(predictions.slots[place].classes)
    truth = np.asarray([labels[place] for labels in predictions.labels])
    answers = predictions.answers()[..., place]
    cells = np.bincount((truth * size + answers).ravel(), minlength=size * size)
    return cells.reshape(size, size) / len(answers)


def _average_precisions(predictions: Predictions) -> list[dict[str, Any]]:
    (slot,) = predictions.slots
    targets = multi_hot(predictions.labels, len(slot.classes))
    ones = np.ones(len(targets))
    rows = []
    for label in np.flatnonzero(targets.any(axis=0)):
        own = targets[:, label : label + 1]
        precisions = [
            RankedScores(seed[:, label : label + 1], own).mean_average_precision(ones)
            for seed in predictions.scores
        ]
        rows.append(
            {
                "slot": slot.name,
                "name": slot.classes[label],
                "clips": int(own.sum()),
                "score": float(np.mean(precisions)),
            }
        )
    return rows
