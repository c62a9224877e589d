"""SimCLR: two random crops of a clip, each mixed with another clip, should find each other in the batch.

Paper, sections 2.2 and 3 (batch 4096, 200k steps, projector with 3 hidden layers of 4096) and appendix C
(temperature 0.1). The loss is SimCLR's NT-Xent: of the 2B - 1 other views of the global batch, which is the
other crop of this clip? It is asked of both crops and averaged over all 2B views.

- Negatives come from the global batch. Projections are gathered *without* stopping gradients: a view is also
  a negative of the views on other replicas, and that part of its gradient reaches it through the gather.
- Left open by the paper: the projector has ReLU between its layers, no normalisation, and no activation on
  its output.

Shapes: `b` clips on this replica, `B` clips of the global batch, `p` projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.objective import Batch, LossShare, Objective, ObjectiveRecord, Replicas
from models.training.config import TrainingConfig
from models.training.mixing import mixed_views

_SELF = -1e9  # logit of a view with itself: no weight left after the softmax


class SimCLR(Objective):
    """The projector and the contrastive loss.

    Args:
        embedding_size: d.
        hidden_sizes: the projector's hidden layers.
        projection_size: p.
        temperature: what cosine similarities are divided by.
        seed: decides the projector's first weights.
    """

    def __init__(
        self,
        embedding_size: int,
        hidden_sizes: Sequence[int],
        projection_size: int,
        temperature: float,
        seed: int,
    ) -> None:
        super().__init__(name="simclr")
        self._temperature = temperature
        self.projector = []
        size = embedding_size
        for index, width in enumerate([*hidden_sizes, projection_size]):
            initializer = tf.keras.initializers.GlorotUniform(seed=seed + index)
            layer = tf.keras.layers.Dense(width, kernel_initializer=initializer, name=f"projector{index}")
            layer.build((None, size))
            self.projector.append(layer)
            size = width

    def views(self, batch: Batch) -> tf.Tensor:
        """(2b, t, f, 1): the two crops of each clip, mixed and standardised."""
        return mixed_views(batch)

    def project(self, embedding: tf.Tensor) -> tf.Tensor:
        """(b, d) embeddings to (b, p) projections of length 1, float32."""
        hidden = embedding
        for layer in self.projector[:-1]:
            hidden = tf.nn.relu(layer(hidden))
        return tf.math.l2_normalize(tf.cast(self.projector[-1](hidden), tf.float32), axis=1)

    def loss(self, encoder: Encoder, batch: Batch, replicas: Replicas) -> LossShare:
        """NT-Xent over this replica's views, with alignment and uniformity of the projections.

        Metrics (Wang and Isola, 2020): `alignment`, the mean squared distance between a clip's two views;
        `uniformity`, the logarithm of the mean of exp(-2 * squared distance) between clips' first views.
        """
        noise = tf.concat(tf.unstack(batch["noise"], axis=1), axis=0)  # (2b, noise)
        embedding = encoder(self.views(batch), training=True, noise=noise)["embedding"]
        first, second = tf.split(self.project(embedding), 2)
        all_first, all_second = replicas.gather(first), replicas.gather(second)  # (B, p)
        rows = tf.shape(first)[0]
        own = replicas.index * rows + tf.range(rows)  # place of this replica's clips in the global batch
        total = tf.cast(tf.shape(all_first)[0], tf.float32)
        forward = self._nt_xent(first, all_first, all_second, own)  # (b,)
        backward = self._nt_xent(second, all_second, all_first, own)
        metrics = _geometry(first, second, all_first, replicas)
        return tf.reduce_sum(forward + backward) / (2.0 * total), metrics

    def _nt_xent(self, views: tf.Tensor, same: tf.Tensor, other: tf.Tensor, own: tf.Tensor) -> tf.Tensor:
        """Cross-entropy (b,) of finding each view's other crop among `other` and, but itself, `same`."""
        clips = tf.shape(same)[0]
        itself = tf.one_hot(own, clips, on_value=_SELF, off_value=0.0)
        to_other = tf.matmul(views, other, transpose_b=True) / self._temperature  # (b, B)
        to_same = tf.matmul(views, same, transpose_b=True) / self._temperature + itself
        logits = tf.concat([to_other, to_same], axis=1)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(own, logits)


def _geometry(
    first: tf.Tensor, second: tf.Tensor, all_first: tf.Tensor, replicas: Replicas
) -> dict[str, tf.Tensor]:
    first, second, all_first = (tf.stop_gradient(rows) for rows in (first, second, all_first))
    clips = tf.cast(tf.shape(all_first)[0], tf.float32)
    alignment = tf.reduce_sum(tf.square(first - second)) / clips
    # |x - y|^2 = 2 - 2 x.y on the unit sphere; each view's exp(0) with itself is taken off again.
    kernel = tf.exp(-2.0 * (2.0 - 2.0 * tf.matmul(first, all_first, transpose_b=True)))
    pairs = tf.reduce_sum(kernel) - tf.cast(tf.shape(first)[0], tf.float32)
    uniformity = tf.math.log(replicas.sum(pairs) / (clips * (clips - 1.0)))
    return {"alignment": alignment, "uniformity": uniformity / replicas.count}


def _build(
    config: TrainingConfig, encoder: EncoderRecord, num_classes: int, crop_shape: tuple[int, ...]
) -> SimCLR:
    return SimCLR(
        encoder.embedding_size,
        config.projector_sizes,
        config.projection_size,
        config.temperature,
        config.seed,
    )


OBJECTIVE = ObjectiveRecord(
    name="simclr",
    num_views=2,
    mixes=True,
    input_kind="log_mel",
    metrics=("alignment", "uniformity"),
    build=_build,
)
