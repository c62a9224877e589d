"""The probe of ESC-50: scikit-learn's linear SVM over the official folds (paper appendix A, ESC-50).

There is one fit a fold whatever `probe_seeds` is: an SVM has no batches, and its optimum is one. liblinear
wants a fold's training crops in memory: ESC-50's are 16,000, 220 MB at 3456 numbers.

C is the value that scores best on the first fold after training on the others (the smallest of ties), and
all folds are scored with it. As in the paper the first fold thus both chooses and counts; that is the
protocol, and the report says which C it was. The paper names scikit-learn but not the class: `LinearSVC`
with its defaults (squared hinge, one against the rest).

Where a fold has fewer training crops than the embedding has numbers, the crops are rotated into the space they
span, which changes no distance and so no margin, and leaves the solver less to multiply.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC

from hares.embedding.collector import take_rows
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.probes import Fold, ProbeOutcome
from hares.probes._standard import average_over_crops, standardisation, standardise
from hares.protocol import TRAIN_ROLE, ProtocolSettings
from hares.task import FOLDS, Slot, Task


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
    first = _FoldCrops(data, labels, folds[0])
    tried = {penalty: first.fit_and_score(penalty, classes, settings.seed) for penalty in settings.penalties}
    answers = labels[folds[0].test]
    accuracy = {
        penalty: float(np.mean(scores[0].argmax(axis=1) == answers)) for penalty, (scores, _) in tried.items()
    }
    penalty = min(candidate for candidate in tried if accuracy[candidate] == max(accuracy.values()))
    fitted = [tried[penalty]] + [
        _FoldCrops(data, labels, fold).fit_and_score(penalty, classes, settings.seed) for fold in folds[1:]
    ]
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


class _FoldCrops:
    """The training crops of a fold as the solver sees them: standardised, and rotated where that is smaller."""

    def __init__(self, data: TaskEmbeddings, labels: np.ndarray, fold: Fold) -> None:
        rows = data.rows(fold.train, TRAIN_ROLE)
        self._data, self._fold = data, fold
        self._labels = labels[data.clip_index[rows]]
        self._mean, self._deviation = standardisation(data.embeddings, rows)
        inputs = standardise(take_rows(data.embeddings, rows), self._mean, self._deviation)
        # scikit-learn's own rule for the solver, by the shape before the rotation.
        self._dual = inputs.shape[0] < inputs.shape[1]
        self._rotation = np.linalg.qr(inputs.T.astype(np.float64))[0] if self._dual else None
        self._inputs = self._rotated(inputs)

    def fit_and_score(self, penalty: float, classes: int, seed: int) -> tuple[np.ndarray, bool]:
        """Margins (1, test clips, classes) of an SVM fitted to the fold, and whether its fit converged."""
        machine = LinearSVC(C=penalty, random_state=seed, dual=self._dual)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            machine.fit(self._inputs, self._labels)

        def margins(embeddings: np.ndarray) -> np.ndarray:
            inputs = self._rotated(standardise(embeddings, self._mean, self._deviation))
            found = machine.decision_function(inputs)
            if found.ndim == 1:  # two classes share one margin
                found = np.stack([-found, found], axis=1)
            # A class that the training folds lack can never win.
            wide = np.full((len(found), classes), found.min() - 1.0)
            wide[:, machine.classes_] = found
            return wide[np.newaxis]

        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        return average_over_crops(self._data, self._fold.test, margins), converged

    def _rotated(self, inputs: np.ndarray) -> np.ndarray:
        return inputs if self._rotation is None else inputs.astype(np.float64) @ self._rotation
