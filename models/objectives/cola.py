"""COLA: which of the batch's other crops is of the same clip? (Saeed, Grangier and Zeghidour, 2021.)

Paper, table 4 (its column COLA). Two crops of a clip are embedded and projected: a dense layer of 512, layer
normalisation, tanh. Similarity is bilinear, `x W y`, and the loss is the softmax cross-entropy of each first
crop over the second crops of the batch.

- Negatives come from the *global* batch, with gradients through the gather. The original's come from one
  replica, so what it learns depends on how many there are.
- `W` starts at zero, where the original draws it at random: every candidate is then as likely, so the first
  loss is the logarithm of the batch size, whatever the encoder's scale.
- Crops are standardised each by itself, as all our log-mels are. The original scales the whole clip's waveform to
  length 1, and adds noise of deviation 0.001 to the second crop's; our log-mels are made before crops are drawn, so
  that neither can be had.

Shapes: `b` clips on this replica, `B` clips of the global batch, `d` embedding, `p` projection.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.frontend import standardise
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.objectives._contrastive import first_then_second, own_columns, projector
from models.training.config import TrainingConfig


@dataclass(frozen=True)
class ColaSettings:
    """COLA's own settings.

    Attributes:
        projection_size: p.

    Raises:
        ValueError: a setting is out of range.
    """

    projection_size: int = 512

    def __post_init__(self) -> None:
        if self.projection_size < 1:
            raise ValueError(f"projection_size: got {self.projection_size}; accepted is 1 or more")


class Cola(Objective):
    """The projection, the bilinear similarity and the loss.

    Args:
        embedding_size: d.
        projection_size: p.
        seed: decides the projection's first weights.
    """

    def __init__(self, embedding_size: int, projection_size: int, seed: int) -> None:
        super().__init__(name="cola")
        (self.projection,) = projector(embedding_size, [projection_size], seed)
        self.normalisation = tf.keras.layers.LayerNormalization(dtype="float32")
        self.normalisation.build((None, projection_size))
        self.bilinear = tf.Variable(tf.zeros([projection_size, projection_size]), name="bilinear")

    def views(self, batch: Batch) -> tf.Tensor:
        """(2b, t, f, 1): the two crops of each clip, standardised."""
        return standardise(first_then_second(batch["clips"]))[..., tf.newaxis]

    def similarities(self, embedding: tf.Tensor, others: tf.Tensor, replicas: Replicas) -> tf.Tensor:
        """(b, B) of embeddings (b, d) with those of all replicas' `others` (b, d)."""
        rows, columns = (
            tf.tanh(self.normalisation(tf.cast(self.projection(part), tf.float32)))
            for part in (embedding, others)
        )
        return tf.matmul(tf.matmul(rows, self.bilinear), replicas.gather(columns), transpose_b=True)

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """Cross-entropy of finding the clip's second crop.

        Metrics: `accuracy`, the share of clips whose second crop is the most similar one.
        """
        noise = first_then_second(batch["noise"])
        embedding = encoder(self.views(batch), training=True, noise=noise)["embedding"]
        first, second = tf.split(embedding, 2)
        logits = self.similarities(first, second, replicas)
        own = own_columns(first, replicas)
        clips = tf.cast(tf.shape(logits)[1], tf.float32)
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)
        found = tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == own, tf.float32)
        return tf.reduce_sum(entropy) / clips, {"accuracy": tf.reduce_sum(found) / clips}


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> Cola:
    return Cola(encoder.embedding_size, OBJECTIVE.own_settings(config).projection_size, config.seed)


OBJECTIVE = ObjectiveRecord(
    name="cola",
    num_views=2,
    mixes=False,
    input_kind="log_mel",
    metrics=("accuracy",),
    build=_build,
    settings=ColaSettings,
)
