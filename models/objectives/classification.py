"""Supervised multi-label classification of AudioSet's 527 classes with example mixing.

Paper, sections 2.2 and 3 (batch 1024, 100k steps). A linear layer on the embedding, sigmoid cross-entropy
averaged over classes and clips. The paper leaves open, and we chose:

- Labels of a mixture: `ratio * labels + (1 - ratio) * partner's labels`, as in PANNs (its reference 11).
- The head starts at zero weights: the first loss is log 2, whatever the encoder's scale.
"""

from __future__ import annotations

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.training.config import TrainingConfig
from models.training.mixing import mixed_views


class Classification(Objective):
    """A linear head and the sigmoid cross-entropy of mixed labels.

    Args:
        embedding_size: d.
        num_classes: k.
    """

    def __init__(self, embedding_size: int, num_classes: int) -> None:
        super().__init__(name="classification")
        self.head = tf.keras.layers.Dense(num_classes, kernel_initializer="zeros", dtype="float32")
        self.head.build((None, embedding_size))

    def views(self, batch: Batch) -> tf.Tensor:
        """(b, t, f, 1): the one crop of each clip, mixed and standardised."""
        return mixed_views(batch)

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """Cross-entropy summed over this replica's clips, over the global batch; no further metrics."""
        embedding = encoder(self.views(batch), training=True, noise=batch["noise"][:, 0])["embedding"]
        ratio = batch["ratio"]  # (b, 1)
        labels = ratio * batch["labels"] + (1.0 - ratio) * batch["partner_labels"][:, 0]  # (b, k)
        entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels, self.head(embedding))  # (b, k)
        clips = tf.shape(labels)[0] * replicas.count
        return tf.reduce_sum(tf.reduce_mean(entropy, axis=1)) / tf.cast(clips, tf.float32), {}

    def classifier(self) -> tf.Module:
        """The head with its sigmoid: the paper scores AudioSet with it, without a second stage (section 3)."""
        return _SigmoidHead(self.head)


class _SigmoidHead(tf.Module):
    """(b, d) embedding to (b, k) probabilities. Keeps variables and not the layer, for the export."""

    def __init__(self, head: tf.keras.layers.Dense) -> None:
        super().__init__(name="sigmoid_head")
        self.kernel, self.bias = head.kernel, head.bias

    def __call__(self, embedding: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(tf.matmul(embedding, self.kernel) + self.bias)


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> Classification:
    if num_classes < 1:
        raise ValueError(
            f"classification: the data has {num_classes} classes; give the size of its label set, or train "
            "with objective simclr, which needs no labels"
        )
    return Classification(encoder.embedding_size, num_classes)


OBJECTIVE = ObjectiveRecord(
    name="classification", num_views=1, mixes=True, input_kind="log_mel", metrics=(), build=_build
)
