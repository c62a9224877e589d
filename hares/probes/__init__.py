"""What is trained on frozen embeddings: one module a kind of probe, found by the name in `Task.probe`.

A probe's module exposes `run(task, slots, data, settings) -> ProbeOutcome`. Modules whose names begin with
an underscore are shared parts. All probes standardise embeddings by the mean and standard deviation of their
training rows: an affine map that a linear layer could undo, so the hypotheses are the same, but Adam's one step
size then suits encoders of any scale. A clip's scores are the means of its subclips' probabilities (paper:
"scores averaged over subclips", without saying of what).

Probes compute with numpy, scipy and scikit-learn alone, whatever the encoder computes with. Their BLAS has one thread
while a probe runs, so that no score depends on the number of cores; it does depend on BLAS itself, that is on numpy's
version and the processor's kind, in its last digits.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from hares.embedding.task_embeddings import TaskEmbeddings
from hares.protocol import ProtocolSettings
from hares.task import ProbeKind, Slot, Task


@dataclass(frozen=True)
class Fold:
    """One division into clips trained on and clips scored: (any,) int64 indices of clips."""

    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class ProbeOutcome:
    """Scores of the test clips.

    Attributes:
        folds: one, or five for ESC-50; the scores follow their test clips, fold after fold.
        scores: (seeds, test clips, logits) float32: averaged probabilities, or margins of the SVM. Higher is
            likelier.
        details: what the probe found out or settled on, such as the SVM's C, for the report.
    """

    folds: tuple[Fold, ...]
    scores: np.ndarray
    details: dict[str, float]


Run = Callable[[Task, tuple[Slot, ...], TaskEmbeddings, ProtocolSettings], ProbeOutcome]


def load_probe(kind: ProbeKind) -> Run:
    """The `run` of the probe of this kind, with BLAS on one thread."""
    run: Run = importlib.import_module(f"hares.probes.{kind}").run
    return threadpool_limits.wrap(limits=1, user_api="blas")(run)


def train_test_fold(data: TaskEmbeddings) -> Fold:
    """The one fold of a data set with a training and a test split."""
    return Fold(train=data.clips_in(["train"]), test=data.clips_in(["test"]))
