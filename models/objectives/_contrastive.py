"""What the contrastive objectives share: a projector, and NT-Xent over the global batch.

Negatives come from the global batch. Projections are gathered *without* stopping gradients: a view is also a
negative of the views on other replicas, and that part of its gradient reaches it through the gather.

Shapes: `b` clips on this replica, `B` clips of the global batch, `p` projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models.objective import LossShare, Replicas

_SELF = -1e9  # logit of a view with itself: no weight left after the softmax


def projector(
    embedding_size: int, sizes: Sequence[int], seed: int, use_bias: bool = True
) -> list[tf.keras.layers.Dense]:
    """Layers of a projector from (b, d) to (b, sizes[-1]); their first weights come from the seed."""
    layers = []
    size = embedding_size
    for index, width in enumerate(sizes):
        initializer = tf.keras.initializers.GlorotUniform(seed=seed + index)
        layer = tf.keras.layers.Dense(
            width, use_bias=use_bias, kernel_initializer=initializer, name=f"projector{index}"
        )
        layer.build((None, size))
        layers.append(layer)
        size = width
    return layers


def project(layers: Sequence[tf.keras.layers.Dense], embedding: tf.Tensor) -> tf.Tensor:
    """(b, d) embeddings to (b, p) projections of length 1, float32; ReLU between the layers."""
    hidden = embedding
    for layer in layers[:-1]:
        hidden = tf.nn.relu(layer(hidden))
    return tf.math.l2_normalize(tf.cast(layers[-1](hidden), tf.float32), axis=1)


def first_then_second(rows: tf.Tensor) -> tf.Tensor:
    """(b, v, ...) to (v * b, ...): all first views before all second ones."""
    return tf.concat(tf.unstack(rows, axis=1), axis=0)


def own_columns(rows: tf.Tensor, replicas: Replicas) -> tf.Tensor:
    """Places (b,) of this replica's rows in the gathered ones."""
    count = tf.shape(rows)[0]
    return replicas.index * count + tf.range(count)


def contrast(first: tf.Tensor, second: tf.Tensor, temperature: float, replicas: Replicas) -> LossShare:
    """NT-Xent over this replica's views, with alignment and uniformity of the projections.

    Args:
        first: (b, p) projections of length 1 of each clip's first view.
        second: (b, p), of its second view.
        temperature: what cosine similarities are divided by.
        replicas: what is known of the other replicas.

    Metrics (Wang and Isola, 2020): `alignment`, the mean squared distance between a clip's two views;
    `uniformity`, the logarithm of the mean of exp(-2 * squared distance) between clips' first views.
    """
    all_first, all_second = replicas.gather(first), replicas.gather(second)  # (B, p)
    own = own_columns(first, replicas)
    total = tf.cast(tf.shape(all_first)[0], tf.float32)
    forward = _nt_xent(first, all_first, all_second, own, temperature)  # (b,)
    backward = _nt_xent(second, all_second, all_first, own, temperature)
    metrics = _geometry(first, second, all_first, replicas)
    return tf.reduce_sum(forward + backward) / (2.0 * total), metrics


def _nt_xent(
    views: tf.Tensor, same: tf.Tensor, other: tf.Tensor, own: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Cross-entropy (b,) of finding each view's other crop among `other` and, but itself, `same`."""
    clips = tf.shape(same)[0]
    itself = tf.one_hot(own, clips, on_value=_SELF, off_value=0.0)
    to_other = tf.matmul(views, other, transpose_b=True) / temperature  # (b, B)
    to_same = tf.matmul(views, same, transpose_b=True) / temperature + itself
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
