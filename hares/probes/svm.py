"""The probe of ESC-50: scikit-learn's linear SVM over the official folds (paper appendix A, ESC-50).

There is one fit a fold whatever `probe_seeds` is: an SVM has no batches, and its optimum is one. liblinear
wants a fold's training crops in memory: ESC-50's are 16,000, 220 MB at 3456 numbers.

C is the value that scores best on the first fold after training on the others (of equals the smallest), and
all folds are scored with it. As in the paper the first fold thus both chooses and counts; that is the
protocol, and the report says which C it was. The paper names scikit-learn but not the class: `LinearSVC`
with its defaults (squared hinge, one against the rest).
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from hares.embeddings import TaskEmbeddings
from hares.probes import FOLDS, Fold, ProbeOutcome
from hares.probes._standard import average_over_crops, standardisation, standardise
from hares.protocol import TRAIN_ROLE, ProtocolSettings
from hares.task import Slot, Task


def run(
    task: Task, slots: tuple[Slot, ...], data: TaskEmbeddings, settings: ProtocolSettings
) -> ProbeOutcome:
    """Picks C on the first fold, then trains and scores each fold in turn.

    Args:
        task: the protocol's record; `label_kind` "single".
        slots: one slot, which names the classes.
        data: embeddings of the task, with clips in all five folds.
        settings: values of C and seed.

    Returns:
        Margins of all clips, fold after fold. `details` holds `C`, and as `unconverged` how many of the final
        fits ran out of iterations.

    Raises:
        ValueError: a test clip has no evaluation crop.
    """
    classes = len(slots[0].classes)
    folds = official_folds(data)
    labels = np.asarray([ids[0] for ids in data.labels], np.int64)
    tried = []
    for penalty in sorted(settings.penalties):
        scores, _ = _fit_and_score(data, labels, folds[0], penalty, classes, settings.seed)
        tried.append((float(np.mean(scores[0].argmax(axis=1) == labels[folds[0].test])), penalty))
    best = max(accuracy for accuracy, _ in tried)
    penalty = min(candidate for accuracy, candidate in tried if accuracy == best)
    fitted = [_fit_and_score(data, labels, fold, penalty, classes, settings.seed) for fold in folds]
    return ProbeOutcome(
        folds=folds,
        scores=np.concatenate([scores for scores, _ in fitted], axis=1),
        details={"C": penalty, "unconverged": float(sum(not converged for _, converged in fitted))},
    )


def official_folds(data: TaskEmbeddings) -> tuple[Fold, ...]:
    """Each official fold as the one that is scored, and the other four as those trained on."""
    return tuple(
        Fold(train=data.clips_in(set(FOLDS) - {held_out}), test=data.clips_in([held_out]))
        for held_out in FOLDS
    )


def _fit_and_score(
    data: TaskEmbeddings, labels: np.ndarray, fold: Fold, penalty: float, classes: int, seed: int
) -> tuple[np.ndarray, bool]:
    """Margins (1, test clips, classes) of an SVM fitted to a fold, and whether its fit converged."""
    rows = data.rows(fold.train, TRAIN_ROLE)
    mean, deviation = standardisation(data.embeddings, rows)
    machine = LinearSVC(C=penalty, random_state=seed, dual="auto")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        machine.fit(standardise(data.embeddings[rows], mean, deviation), labels[data.clip_index[rows]])

    def margins(embeddings: np.ndarray) -> np.ndarray:
        found = machine.decision_function(standardise(embeddings, mean, deviation))
        if found.ndim == 1:  # two classes share one margin
            found = np.stack([-found, found], axis=1)
        # A class that the training folds lack can never win.
        wide = np.full((len(found), classes), found.min() - 1.0)
        wide[:, machine.classes_] = found
        return wide[np.newaxis]

    converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
    return average_over_crops(data, fold.test, margins), converged
