"""A task scored by the classifier that pretraining itself trained, without a probe.

Paper, section 3 and appendix A: "For supervised classification, we do not perform a second stage of fine-tuning to
evaluate the representations on the AudioSet benchmark." The classifier is a head on the embedding, so the cached
embeddings of the evaluation crops are all it needs (`hares.probes._own_classifier` scores with it).

Shapes: `d` embedding size, `k` classes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

METADATA_FILE = "hares_metadata.json"
SIGNATURE = "classify"
NOTE = "scored by the encoder's own classifier, without a second stage (paper, section 3)"


@dataclass(frozen=True)
class OwnClassifier:
    """What an encoder pretrained by classification brings along.

    Attributes:
        task: the task whose classes it knows.
        classify: embeddings (rows, d) to scores (rows, k) in [0, 1].
    """

    task: str
    classify: Callable[[np.ndarray], np.ndarray]


def own_classifier(folder: str) -> OwnClassifier | None:
    """The classifier of an exported encoder (`models.export`), or None where it has none.

    Args:
        folder: of the SavedModel, on any file system TensorFlow knows.
    """
    import tensorflow as tf

    path = os.path.join(folder, METADATA_FILE)
    if not tf.io.gfile.exists(path):
        return None
    with tf.io.gfile.GFile(path, "r") as file:
        task = json.loads(file.read()).get("classifier_task")
    if not task:
        return None
    model = tf.saved_model.load(folder)
    signature = model.signatures[SIGNATURE]

    def classify(embeddings: np.ndarray) -> np.ndarray:
        # `model` is kept alive by the closure: its variables belong to it and not to the signature.
        assert model is not None
        scores: np.ndarray = signature(embedding=tf.constant(embeddings, tf.float32))["scores"].numpy()
        return scores

    return OwnClassifier(str(task), classify)
