"""Layers of the convolutional and transformer baselines, with PyTorch's conventions of padding and epsilon.

Every layer computes in the type of its input; variables stay float32. First weights depend on (seed, variable
name) alone.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels are (time, frequency, in, out), dense ones (in,
out).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.encoders._normalizer_free import Kernel, fan_in_normal

# Deviation of He's kernels, relative to one over the root of the fan-in.
HE_SCALE = 2.0**0.5


def xavier_scale(in_size: int, out_size: int) -> float:
    """Deviation of Xavier's kernels, relative to one over the root of the fan-in; sizes are channels."""
    return float(np.sqrt(2.0 * in_size / (in_size + out_size)))


class Conv(tf.keras.layers.Layer):
    """Convolution, zeros of half the kernel at both ends where it has no stride; variables `<name>/{w,b}`.

    Args:
        name: canonical name.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: odd size in (time, frequency).
        seed: of the first kernel, which is normal.
        scale: its deviation times the root of the fan-in.
        bias: whether there is one; it starts at 0.
        stride: stride in (time, frequency); with one, zeros are added at the end alone, until whole strides fill
            the length.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        kernel: Kernel,
        *,
        seed: int,
        scale: float,
        bias: bool,
        stride: Kernel = (1, 1),
    ) -> None:
        super().__init__(name=name, autocast=False)
        self._stride = stride
        shape = (*kernel, in_channels, out_channels)
        self.w = tf.Variable(np.float32(scale) * fan_in_normal(f"{name}/w", shape, seed), name=f"{name}/w")
        self.b = tf.Variable(tf.zeros([out_channels]), name=f"{name}/b") if bias else None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, in) -> (b, ceil(t / stride), ceil(f / stride), out)."""
        if self._stride != (1, 1):
            x = pad_to_multiple(x, self._stride)
        y = tf.nn.conv2d(x, tf.cast(self.w, x.dtype), strides=self._stride, padding="SAME")
        return y if self.b is None else tf.nn.bias_add(y, tf.cast(self.b, x.dtype))


class Dense(tf.keras.layers.Layer):
    """Dense layer over the last axis; variables `<name>/{w,b}`; arguments as those of `Conv`."""

    def __init__(self, name: str, in_size: int, out_size: int, *, seed: int, scale: float) -> None:
        super().__init__(name=name, autocast=False)
        kernel = fan_in_normal(f"{name}/w", (in_size, out_size), seed)
        # numpy 2 makes float64 of float32 times the float64 that `np.sqrt` returns.
        self.w = tf.Variable(np.float32(scale) * kernel, name=f"{name}/w")
        self.b = tf.Variable(tf.zeros([out_size]), name=f"{name}/b")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., in) -> (..., out)."""
        return tf.matmul(x, tf.cast(self.w, x.dtype)) + tf.cast(self.b, x.dtype)


class LayerNorm(tf.keras.layers.Layer):
    """Layer normalisation over the last axis, in float32; variables `<name>/{gamma,beta}`."""

    def __init__(self, name: str, size: int, epsilon: float) -> None:
        super().__init__(name=name, autocast=False)
        self._epsilon = epsilon
        self.gamma = tf.Variable(tf.ones([size]), name=f"{name}/gamma")
        self.beta = tf.Variable(tf.zeros([size]), name=f"{name}/beta")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(..., c) -> the same shape and type."""
        exact = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(exact, axes=[-1], keepdims=True)
        y = (exact - mean) * (tf.math.rsqrt(variance + self._epsilon) * self.gamma) + self.beta
        return tf.cast(y, x.dtype)


def require_log_mel(name: str, inputs: tf.Tensor) -> None:
    """Raises ValueError where an input of encoder `name` is not (b, t, f, 1)."""
    if inputs.shape.rank != 4 or inputs.shape[-1] != 1:
        raise ValueError(f"{name}: input must be (b, t, f, 1), got {inputs.shape}; add a channel axis")


def pad_to_multiple(x: tf.Tensor, multiples: Kernel) -> tf.Tensor:
    """Zeros at the ends of time and frequency of (b, t, f, c), until both are whole multiples."""
    missing = [_short_of_multiple(x, axis, size) for axis, size in zip((1, 2), multiples, strict=True)]
    return _pad(x, missing)


def at_least(x: tf.Tensor, frames: int, bins: int) -> tf.Tensor:
    """Zeros at the ends of (b, t, f, c) where it has fewer frames or bins than that."""
    missing = []
    for axis, size in ((1, frames), (2, bins)):
        static = x.shape[axis]
        missing.append(
            max(0, size - static) if static is not None else tf.maximum(0, size - tf.shape(x)[axis])
        )
    return _pad(x, missing)


def max_and_mean(x: tf.Tensor) -> tf.Tensor:
    """Maximum plus mean over time in float32: (b, t, c) -> (b, c)."""
    exact = tf.cast(x, tf.float32)
    return tf.reduce_max(exact, axis=1) + tf.reduce_mean(exact, axis=1)


def _short_of_multiple(x: tf.Tensor, axis: int, size: int) -> int | tf.Tensor:
    static = x.shape[axis]
    return -static % size if static is not None else -tf.shape(x)[axis] % size


def _pad(x: tf.Tensor, missing: list[int | tf.Tensor]) -> tf.Tensor:
    if all(isinstance(n, int) and n == 0 for n in missing):
        return x
    return tf.pad(x, [[0, 0], [0, missing[0]], [0, missing[1]], [0, 0]])
