"""Batch normalisation whose statistics are those of the global batch, whatever the number of replicas.

Ioffe and Szegedy, "Batch normalization"; the paper's table 3 compares encoders with it and without.

With batch normalisation the loss depends on which clips are normalised together. If each replica took its own
share's statistics, a run would learn something else on 2 devices than on 1. So the statistics are averaged over
the replicas, with their gradients, and every replica makes the same update of its moving statistics. Those are
variables of their own kind: each replica reads and writes its own copy, and a checkpoint holds the mean of the
copies, which are equal.

Deviation from Keras' own synchronised layer: on one replica the fused kernel computes the same function, which is
several times faster.

Shapes: `b` clips on this replica, `t` frames, `f` mel bins, `c` channels.
"""

from __future__ import annotations

import tensorflow as tf


class BatchNorm(tf.keras.layers.Layer):
    """Normalises each channel over batch, time and frequency, then scales and shifts it.

    In training by the statistics of the global batch, in inference by their moving averages. The output has the
    type of the input; statistics are float32. As in Keras and PyTorch the moving variance averages the unbiased
    variance. Replicas must have equally large shares of the batch, as those of the training loop do.

    Variables are `<name>/{gamma,beta}`, which are trained, and `<name>/{moving_mean,moving_variance}`.

    Args:
        name: canonical name.
        channels: c.
        momentum: what a moving statistic keeps of itself at each update.
        epsilon: added to the variance.
        initial_gamma: the first scale; 0 makes a residual branch start as nothing.
    """

    def __init__(
        self, name: str, channels: int, *, momentum: float, epsilon: float, initial_gamma: float = 1.0
    ) -> None:
        super().__init__(name=name, autocast=False)
        self._momentum = momentum
        self._epsilon = epsilon
        self.gamma = tf.Variable(tf.fill([channels], initial_gamma), name=f"{name}/gamma")
        self.beta = tf.Variable(tf.zeros([channels]), name=f"{name}/beta")
        self.moving_mean = _moving(tf.zeros([channels]), f"{name}/moving_mean")
        self.moving_variance = _moving(tf.ones([channels]), f"{name}/moving_variance")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        """(b, t, f, c) -> the same shape and type."""
        if not training:
            return self._fused(x, self.moving_mean, self.moving_variance, training=False)[0]
        context = tf.distribute.get_replica_context()
        count = context.num_replicas_in_sync
        if count == 1:
            normalised, mean, unbiased = self._fused(x, [], [], training=True)
        else:
            local_mean, local_variance = tf.nn.moments(tf.cast(x, tf.float32), [0, 1, 2])
            mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, local_mean)
            spread = local_variance + tf.math.squared_difference(local_mean, mean)
            variance = context.all_reduce(tf.distribute.ReduceOp.MEAN, spread)
            factor = self.gamma * tf.math.rsqrt(variance + self._epsilon)
            offset = self.beta - mean * factor
            normalised = tf.cast(tf.cast(x, tf.float32) * factor + offset, x.dtype)
            values = tf.cast(count * tf.size(x) // x.shape[-1], tf.float32)
            unbiased = variance * values / tf.maximum(values - 1.0, 1.0)
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, unbiased)
        return normalised

    def _fused(
        self, x: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The normalised input, and mean and unbiased variance of the batch where `training`."""
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=self.gamma,
            offset=self.beta,
            mean=mean,
            variance=variance,
            epsilon=self._epsilon,
            is_training=training,
        )
        return outputs.y, outputs.batch_mean, outputs.batch_variance

    def _move(self, moving: tf.Variable, value: tf.Tensor) -> None:
        moving.assign(self._momentum * moving + (1.0 - self._momentum) * tf.stop_gradient(value))


def _moving(initial: tf.Tensor, name: str) -> tf.Variable:
    return tf.Variable(
        initial,
        trainable=False,
        name=name,
        synchronization=tf.VariableSynchronization.ON_READ,
        aggregation=tf.VariableAggregation.MEAN,
    )
