"""Parts of encoders of waveforms: standardised input, convolutions and dense layers over frames, layer norm.

Variables carry the names they are given. Their axes are those of PyTorch's tensors in reverse order: a dense
kernel is (in, out), a convolution's (width, in / groups, out). Every layer here computes in the type of its
input, with statistics in float32; the encoder alone decides that type, variables stay float32.

Shapes: `b` batch, `n` samples, `t` frames, `c` channels.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

LAYER_NORM_EPSILON = 1e-5
# Keeps a silent clip finite; wav2vec 2.0's.
_SMALLEST_VARIANCE = 1e-7


def normal(name: str, shape: Sequence[int], deviation: float, seed: int) -> np.ndarray:
    """Normal numbers of a deviation, float32, a function of (seed, name, shape) alone."""
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return generator.standard_normal(shape, np.float32) * np.float32(deviation)


def standardised(name: str, waveform: tf.Tensor, shortest: int) -> tf.Tensor:
    """Each waveform (b, n) with mean 0 and deviation 1, float32.

    Raises:
        ValueError: the input is not (b, n), or known to be too short.
        tf.errors.InvalidArgumentError: a clip turns out to have fewer than `shortest` samples, which make no
            frame.
    """
    if waveform.shape.rank != 2:
        raise ValueError(f"{name}: input must be waveforms (b, n), got {waveform.shape}")
    too_short = f"{name}: clips must fill one window of {shortest} samples"
    samples = waveform.shape[1]
    if samples is not None and samples < shortest:
        raise ValueError(f"{too_short}, got {samples}")
    # All that follows waits for it, so that no convolution is the first to fail, with a message about its own.
    check = tf.debugging.assert_greater_equal(tf.shape(waveform)[1], shortest, too_short)
    with tf.control_dependencies([] if check is None else [check]):
        x = tf.cast(waveform, tf.float32)
    mean, variance = tf.nn.moments(x, axes=[1], keepdims=True)
    return (x - mean) * tf.math.rsqrt(variance + _SMALLEST_VARIANCE)


class LayerNorm(tf.keras.layers.Layer):
    """Layer normalisation over channels; variables `<name>.weight` and `<name>.bias`."""

    def __init__(self, name: str, channels: int) -> None:
        super().__init__(name=name, autocast=False)
        self.weight = tf.Variable(tf.ones([channels]), name=f"{name}.weight")
        self.bias = tf.Variable(tf.zeros([channels]), name=f"{name}.bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, c) -> (b, t, c)."""
        return self.normalise(x, axis=-1)

    def normalise(self, x: tf.Tensor, axis: int) -> tf.Tensor:
        wide = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(wide, axes=[axis], keepdims=True)
        scaled = (wide - mean) * (tf.math.rsqrt(variance + LAYER_NORM_EPSILON) * self.weight)
        return tf.cast(scaled + self.bias, x.dtype)


class TimeNorm(LayerNorm):
    """Each channel normalised over time, by itself: group normalisation with one group a channel."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, c) -> (b, t, c)."""
        return self.normalise(x, axis=1)


class Dense(tf.keras.layers.Layer):
    """A dense layer; variables `<name>.weight` (in, out) and `<name>.bias`."""

    def __init__(self, name: str, inputs: int, outputs: int, deviation: float, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        kernel = f"{name}.weight"
        self.weight = tf.Variable(normal(kernel, (inputs, outputs), deviation, seed), name=kernel)
        self.bias = tf.Variable(tf.zeros([outputs]), name=f"{name}.bias")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, in) -> (b, t, out)."""
        y = tf.einsum("bti,io->bto", x, tf.cast(self.weight, x.dtype))
        return y + tf.cast(self.bias, x.dtype)


class Conv(tf.keras.layers.Layer):
    """A convolution over time without bias and without padding; variable `<name>.weight` (width, in, out)."""

    def __init__(
        self,
        name: str,
        inputs: int,
        outputs: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        seed: int,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self._stride, self._dilation = stride, dilation
        kernel, deviation = f"{name}.weight", float(np.sqrt(2.0 / (width * inputs)))
        self.weight = tf.Variable(normal(kernel, (width, inputs, outputs), deviation, seed), name=kernel)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, in) -> (b, (t - reach) // stride + 1, out)."""
        kernel = tf.cast(self.weight, x.dtype)
        return tf.nn.conv1d(x, kernel, self._stride, "VALID", dilations=self._dilation)
