"""The wrong answers given with the highest scores: where a listener should look first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hares.metrics import multi_hot
from hares.predictions import Predictions

MISTAKES_SHOWN = 5


@dataclass(frozen=True)
class Mistake:
    """One wrong answer: the clip, what it truly is, what was answered, and the score of that answer."""

    clip_id: str
    truth: str
    answer: str
    score: float


def worst_mistakes(answers: Predictions) -> tuple[Mistake, ...]:
    """The clips answered wrong with the highest mean score over the probe's seeds, the worst first.

    For a multi-label task: the clips to which a class that they do not have was given the highest scores.
    """
    scores = answers.scores.mean(axis=0)
    if answers.metric == "mAP":
        wrong = np.where(multi_hot(answers.labels, scores.shape[1]), -np.inf, scores)
        chosen = wrong.argmax(axis=1)[:, np.newaxis]
        sureness = wrong.max(axis=1)
    else:
        seed_answers = answers.answers()
        # The answers of the first seed: a mean of scores may answer what no seed did.
        chosen = seed_answers[0]
        sureness = np.where(answers.correct()[0], -np.inf, answers.scores[0].max(axis=1))
    order = np.argsort(-sureness, kind="stable")[:MISTAKES_SHOWN]
    return tuple(
        Mistake(
            answers.clip_ids[clip],
            _truth(answers, clip),
            _named(answers, tuple(int(label) for label in chosen[clip])),
            float(sureness[clip]),
        )
        for clip in order
        if np.isfinite(sureness[clip])
    )


def _truth(answers: Predictions, clip: int) -> str:
    labels = answers.labels[clip]
    if answers.metric != "mAP":
        return _named(answers, labels)
    return ", ".join(answers.slots[0].classes[label] for label in labels) or "none of the classes"


def _named(answers: Predictions, labels: tuple[int, ...]) -> str:
    return ", ".join(slot.classes[label] for slot, label in zip(answers.slots, labels, strict=True))
