"""One linear layer from an embedding to logits, and the losses that go on logits.

The layer starts from zeros: the loss is convex, so where it starts does not matter, and no seed enters.

Shapes: `b` batch, `d` embedding size, `k` logits.
"""

from __future__ import annotations

import tensorflow as tf

from hares.probes._training import Loss, Weights


def zero_layer(inputs: int, outputs: int) -> list[tf.Tensor]:
    """Weights (inputs, outputs) and biases (outputs,) of zeros."""
    return [tf.zeros((inputs, outputs)), tf.zeros((outputs,))]


def linear_logits(weights: Weights, inputs: tf.Tensor) -> tf.Tensor:
    """Inputs (b, d) to logits (b, k)."""
    return tf.matmul(inputs, weights[0]) + weights[1]


def sigmoid_loss(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Binary cross entropies (b, k), summed over classes and averaged over the batch; targets may be soft."""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(targets, tf.float32), logits=logits)
    return tf.reduce_mean(tf.reduce_sum(losses, axis=1))


def softmax_loss(sizes: tuple[int, ...]) -> Loss:
    """The sum of one cross entropy a slot, for logits (b, sum of `sizes`) and class ids (b, slots)."""

    def loss(logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        parts = tf.split(logits, sizes, axis=1)
        losses = [
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets[:, slot], logits=part)
            for slot, part in enumerate(parts)
        ]
        return tf.reduce_mean(tf.add_n(losses))

    return loss


def softmax_probabilities(sizes: tuple[int, ...], logits: tf.Tensor) -> tf.Tensor:
    """One softmax a slot over logits (b, sum of `sizes`)."""
    return tf.concat([tf.nn.softmax(part) for part in tf.split(logits, sizes, axis=1)], axis=1)
