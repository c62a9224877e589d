"""Parts of normaliser-free networks: scaled weight standardisation, squeeze-excite, initial values.

Paper, section 2.3 and appendix B; Brock et al., "High-performance large-scale image recognition without
normalization" (NFNet).

Every layer here computes in the type of its input; the encoder alone decides that type, variables stay
float32.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels are (time, frequency, in, out).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# GELU times this has unit variance for unit normal inputs.
GELU_GAIN = 1.7015043497085571

# Below this the variance of a kernel times its fan-in no longer counts: an all-equal kernel stays finite.
_SMALLEST_VARIANCE = 1e-4


def gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU in its tanh form, unscaled; the convolution that follows carries `GELU_GAIN` as `input_scale`."""
    return tf.nn.gelu(x, approximate=True)


def fan_in_normal(name: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """Normal numbers of variance 1 / fan-in, float32, a function of (seed, name, shape) alone."""
    generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(name.encode())]))
    return generator.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:-1])))


class StandardisedConv(tf.keras.layers.Layer):
    """Convolution (SAME) with scaled weight standardisation, a gain and a bias per output channel.

    The kernel in use is `(w - mean) * rsqrt(max(variance * fan_in, 1e-4)) * gain * input_scale`, statistics
    per output channel. `input_scale` stands for a constant factor on the input, such as the activation's
    gain: it is the same function, at the cost of a pass over the kernel instead of one over the
    activations.

    Args:
        name: canonical name; the variables are `<name>/w`, `<name>/gain` and `<name>/bias`.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: size in (time, frequency).
        stride: stride in (time, frequency).
        groups: number of channel groups.
        input_scale: constant factor on the input.
        seed: of the initial kernel; None makes a folded convolution, whose `w` is used as it is and which
            has no gain.
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, int],
        *,
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
        input_scale: float = 1.0,
        seed: int | None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        shape = (*kernel, in_channels // groups, out_channels)
        self._stride = stride
        self._input_scale = input_scale
        self._folded = seed is None
        initial = np.zeros(shape, np.float32) if seed is None else fan_in_normal(f"{name}/w", shape, seed)
        self.w = tf.Variable(initial, name=f"{name}/w")
        self.bias = tf.Variable(tf.zeros([out_channels]), name=f"{name}/bias")
        if not self._folded:
            self.gain = tf.Variable(tf.ones([out_channels]), name=f"{name}/gain")

    def kernel(self) -> tf.Tensor:
        """The kernel in use, (time, frequency, in / groups, out) float32."""
        w = tf.convert_to_tensor(self.w)
        if self._folded:
            return w
        mean, variance = tf.nn.moments(w, axes=[0, 1, 2], keepdims=True)
        fan_in = float(np.prod(w.shape[:-1]))
        inverse = tf.math.rsqrt(tf.maximum(variance * fan_in, _SMALLEST_VARIANCE))
        return (w - mean) * (inverse * self.gain * self._input_scale)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Convolves (b, t, f, c) -> (b, ceil(t / stride), ceil(f / stride), out_channels)."""
        y = tf.nn.conv2d(x, tf.cast(self.kernel(), x.dtype), strides=self._stride, padding="SAME")
        return tf.nn.bias_add(y, tf.cast(self.bias, x.dtype))


class SqueezeExcite(tf.keras.layers.Layer):
    """Channel gates from the mean over time and frequency; hidden width is half the channels.

    Variables are `<name>/{fc0,fc1}/{w,b}`, dense kernels (in, out).
    """

    def __init__(self, name: str, channels: int, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        hidden = channels // 2
        self.w0 = tf.Variable(fan_in_normal(f"{name}/fc0/w", (channels, hidden), seed), name=f"{name}/fc0/w")
        self.b0 = tf.Variable(tf.zeros([hidden]), name=f"{name}/fc0/b")
        self.w1 = tf.Variable(fan_in_normal(f"{name}/fc1/w", (hidden, channels), seed), name=f"{name}/fc1/w")
        self.b1 = tf.Variable(tf.zeros([channels]), name=f"{name}/fc1/b")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Gates in (0, 1): (b, t, f, c) -> (b, 1, 1, c) float32; the caller multiplies."""
        hidden = tf.nn.relu(tf.matmul(global_average(x), self.w0) + self.b0)
        gates = tf.sigmoid(tf.matmul(hidden, self.w1) + self.b1)
        return gates[:, tf.newaxis, tf.newaxis, :]


def global_average(x: tf.Tensor) -> tf.Tensor:
    """Mean over time and frequency in float32: (b, t, f, c) -> (b, c)."""
    return tf.reduce_mean(tf.cast(x, tf.float32), axis=[1, 2])
