"""Parts of normaliser-free networks: weight standardisation, squeeze-excite, the NFNet block, folding.

Paper, section 2.3 and appendix B; Brock et al., "High-performance large-scale image recognition without
normalization" (NFNet).

Every layer here computes in the type of its input; the encoder alone decides that type, variables stay
float32.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels are (time, frequency, in, out).
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from models.encoder import Encoder

Kernel = tuple[int, int]

STEM_STRIDES = ((2, 2), (1, 1), (1, 1), (2, 2))

# GELU times this has unit variance for unit normal inputs; and twice GELU, times half of it.
GELU_GAIN = 1.7015043497085571
DOUBLED_GELU_GAIN = GELU_GAIN / 2

_TANH_LINEAR = float(np.sqrt(2.0 / np.pi))
_TANH_CUBIC = 0.044715 * _TANH_LINEAR

# Below this the variance of a kernel times its fan-in no longer counts: an all-equal kernel stays finite.
_SMALLEST_VARIANCE = 1e-4


def gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU in its tanh form, unscaled."""
    return 0.5 * doubled_gelu(x)


def doubled_gelu(x: tf.Tensor) -> tf.Tensor:
    """Twice GELU in its tanh form: a convolution that follows has half the scale.

    GELU is memory-bound; this form makes two passes fewer over `x` than `tf.nn.gelu`. They are in float32
    whichever type `x` has: in bfloat16 each would round, and a CPU without bfloat16 arithmetic would convert back and
    forth at each.
    """
    wide = tf.cast(x, tf.float32)
    tanh = tf.tanh(wide * (_TANH_LINEAR + _TANH_CUBIC * tf.square(wide)))
    return tf.cast(wide * (1.0 + tanh), x.dtype)


def betas(depths: Sequence[int], alpha: float) -> tuple[tuple[float, ...], ...]:
    """One over the deviation expected of each block's input, by stage.

    The variance grows by alpha^2 a block. The first block of a stage has a convolution as its shortcut, which
    resets it to one, after that block.
    """
    stages = []
    expected_std = 1.0
    for depth in depths:
        stage = []
        for position in range(depth):
            stage.append(1.0 / expected_std)
            expected_std = float(np.hypot(1.0 if position == 0 else expected_std, alpha))
        stages.append(tuple(stage))
    return tuple(stages)


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

    Attributes:
        gelu_times: what `activated` puts out, as a multiple of GELU.
        gelu_scale: the `input_scale` of a convolution behind `activated` that brings it to unit variance.
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
        self.stride = stride
        self.input_scale = input_scale
        self._groups = groups
        self._folded = seed is None
        self._is_product = self._folded and kernel == (1, 1) and groups == 1
        self.gelu_times = 1.0 if self._is_product else 2.0
        self.gelu_scale = GELU_GAIN / self.gelu_times
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
        return (w - mean) * (inverse * self.gain * self.input_scale)

    def store_in(self, dtype: str) -> None:
        """Keeps kernel and bias in the type they are used in, so that no call has to convert them."""
        if self.w.dtype == dtype:
            return
        self.w = tf.Variable(tf.cast(self.w, dtype), name=self.w.name.removesuffix(":0"))
        self.bias = tf.Variable(tf.cast(self.bias, dtype), name=self.bias.name.removesuffix(":0"))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Convolves (b, t, f, c) -> (b, ceil(t / stride), ceil(f / stride), out_channels)."""
        if self._is_product:
            return self._product(x, tf.identity)
        y = tf.nn.conv2d(x, tf.cast(self.kernel(), x.dtype), strides=self.stride, padding="SAME")
        bias = tf.cast(self.bias, x.dtype)
        # On a CPU without oneDNN (in TensorFlow 2.15, one without AVX-512) the graph optimizer makes one operation of a
        # convolution and `bias_add`, which then refuses groups. A plain sum it leaves alone.
        return y + bias if self._groups > 1 else tf.nn.bias_add(y, bias)

    def activated(self, x: tf.Tensor) -> tf.Tensor:
        """`gelu_times` GELU of the convolution, shapes as in `call`."""
        if self._is_product:
            return self._product(x, functools.partial(tf.nn.gelu, approximate=True))
        return doubled_gelu(self(x))

    def _product(self, x: tf.Tensor, activation: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        """A folded 1x1 convolution as a matrix product.

        On a CPU, TensorFlow makes one operation of a product, its bias and `tf.nn.gelu`, so that GELU comes for next
        to nothing. Training would not gain from it, as gradients need what is between.
        """
        if self.stride != (1, 1):
            x = tf.nn.max_pool2d(x, 1, self.stride, "SAME")  # a slice in steps takes several times as long
        shape = tf.shape(x)
        _, _, fan_in, channels = self.w.shape
        kernel = tf.cast(tf.reshape(self.kernel(), [fan_in, channels]), x.dtype)
        y = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, fan_in]), kernel), tf.cast(self.bias, x.dtype))
        return tf.reshape(activation(y), [shape[0], shape[1], shape[2], channels])


class Stem(tf.keras.layers.Layer):
    """Four convolutions that double the channels, with GELU between them.

    Variables are `<prefix>stem_conv<i>/{w,gain,bias}`.

    Args:
        prefix: of the convolutions' names.
        out_channels: of the last convolution.
        kernels: one for each convolution.
        seed: as in `StandardisedConv`.
    """

    def __init__(
        self,
        prefix: str,
        out_channels: int,
        kernels: Sequence[Kernel],
        seed: int | None,
    ) -> None:
        super().__init__(name=f"{prefix}stem", autocast=False)
        channels = [1] + [out_channels // share for share in (8, 4, 2, 1)]
        self.convs: list[StandardisedConv] = []
        for i, (kernel, stride) in enumerate(zip(kernels, STEM_STRIDES, strict=True)):
            self.convs.append(
                StandardisedConv(
                    f"{prefix}stem_conv{i}",
                    channels[i],
                    channels[i + 1],
                    kernel,
                    stride=stride,
                    input_scale=self.convs[-1].gelu_scale if self.convs else 1.0,
                    seed=seed,
                )
            )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, 1) -> (b, ceil(t / 4), ceil(f / 4), out_channels)."""
        for conv in self.convs[:-1]:
            x = conv.activated(x)
        return self.convs[-1](x)


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


@dataclass(frozen=True)
class BlockConfig:
    """Numbers of one NFNet block.

    Attributes:
        name: the first part of its variables' names.
        in_channels: channels of its input.
        out_channels: channels of its output; the inner convolutions have half of them.
        group_width: channels of one group of the two middle convolutions.
        kernels: of the two middle convolutions.
        stride: of the first middle convolution and the shortcut, in (time, frequency).
        beta: one over the deviation expected of its input.
        alpha: weight of the residual branch.
        drop_rate: chance of the residual branch to be dropped in training.
    """

    name: str
    in_channels: int
    out_channels: int
    group_width: int
    kernels: tuple[Kernel, Kernel]
    stride: tuple[int, int]
    beta: float
    alpha: float
    drop_rate: float


class Block(tf.keras.layers.Layer):
    """Pre-activation bottleneck: 1x1, two grouped convolutions, 1x1, squeeze-excite.

    The scale of each activation (and `beta`) is carried by the convolution behind it, and the constants of
    the residual branch by the squeeze-excite gates, which are small.
    """

    def __init__(self, config: BlockConfig, seed: int, folded: bool) -> None:
        super().__init__(name=config.name, autocast=False)
        self.config = config
        inner = config.out_channels // 2
        groups = inner // config.group_width
        conv = functools.partial(StandardisedConv, seed=None if folded else seed)
        outer_scale = DOUBLED_GELU_GAIN * config.beta
        # Where the strided kernel is one step wide, what it would step over is not computed to begin with: the 1x1
        # before it takes the stride, and the function is the same.
        time, frequency = (k == 1 for k in config.kernels[0])
        skipped = (config.stride[0] if time else 1, config.stride[1] if frequency else 1)
        stride = (config.stride[0] // skipped[0], config.stride[1] // skipped[1])
        self.conv0 = conv(
            f"{self.name}/conv0", config.in_channels, inner, (1, 1), stride=skipped, input_scale=outer_scale
        )
        self.conv1 = conv(
            f"{self.name}/conv1",
            inner,
            inner,
            config.kernels[0],
            stride=stride,
            groups=groups,
            input_scale=self.conv0.gelu_scale,
        )
        self.conv1b = conv(
            f"{self.name}/conv1b",
            inner,
            inner,
            config.kernels[1],
            groups=groups,
            input_scale=self.conv1.gelu_scale,
        )
        self.conv2 = conv(
            f"{self.name}/conv2", inner, config.out_channels, (1, 1), input_scale=self.conv1b.gelu_scale
        )
        self.conv_shortcut = None
        if config.stride != (1, 1) or config.in_channels != config.out_channels:
            self.conv_shortcut = conv(
                f"{self.name}/conv_shortcut",
                config.in_channels,
                config.out_channels,
                (1, 1),
                input_scale=outer_scale,
            )
        self.se = SqueezeExcite(f"{self.name}/se", config.out_channels, seed)
        self.skip_gain = tf.Variable(0.0, name=f"{self.name}/skip_gain")

    def call(self, x: tf.Tensor, survives: tf.Tensor | None = None) -> tf.Tensor:
        """(b, t, f, in) -> (b, ceil(t / stride), ceil(f / stride), out).

        `survives` is (b,) of 0 and 1, or None for all.
        """
        activated = doubled_gelu(x)
        shortcut = x
        if self.conv_shortcut is not None:
            pooled = activated
            if self.config.stride != (1, 1):
                pooled = tf.nn.avg_pool2d(activated, self.config.stride, self.config.stride, "SAME")
            shortcut = self.conv_shortcut(pooled)
        residual = self.conv0.activated(activated)
        residual = self.conv1.activated(residual)
        residual = self.conv1b.activated(residual)
        residual = self.conv2(residual)
        gates = self.se(residual) * (2.0 * self.config.alpha * self.skip_gain)
        if survives is not None:
            gates *= survives[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return residual * tf.cast(gates, x.dtype) + shortcut


class NormalizerFreeEncoder(Encoder):
    """Base of encoders of standardised convolutions: folding, and stochastic depth by given noise.

    Args:
        name: of the encoder, for its errors.
        config: the numbers, which are also what the folded form is made of.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(self, name: str, config: Any, dtype: tf.keras.mixed_precision.Policy | None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._config = config
        self._drop_rates: dict[str, float] = {}

    def folded(self) -> NormalizerFreeEncoder:
        """The same function with standardised kernels, gains and activation scales folded into constants."""
        twin = type(self)(self._config, seed=0, fold=True, dtype=self.dtype_policy)  # type: ignore[call-arg]
        convolutions = {m.name: m for m in twin.submodules if isinstance(m, StandardisedConv)}
        values = {v.name: v for v in self.variables}
        for own in (m for m in self.submodules if isinstance(m, StandardisedConv)):
            values[own.w.name] = own.kernel() * (convolutions[own.name].input_scale / own.input_scale)
        for variable in twin.variables:
            variable.assign(values[variable.name])
        for conv in convolutions.values():
            conv.store_in(self.compute_dtype)
        return twin

    def _input(self, inputs: tf.Tensor) -> tf.Tensor:
        """The input in the type that the encoder computes in; ValueError where it is not (b, t, f, 1)."""
        if inputs.shape.rank != 4 or inputs.shape[-1] != 1:
            raise ValueError(
                f"{self.name}: input must be (b, t, f, 1), got {inputs.shape}; add a channel axis"
            )
        return tf.cast(inputs, self.compute_dtype)

    def _take_noise(self, drop_rates: Mapping[str, float]) -> None:
        """Noise columns are those of the blocks, by name, that may be dropped, in this order."""
        self._drop_rates = {name: rate for name, rate in drop_rates.items() if rate > 0}
        self.noise_size = len(self._drop_rates)

    def _survivors(self, training: bool, noise: tf.Tensor | None) -> dict[str, tf.Tensor]:
        """Per droppable block (b,) float32 of 0 (dropped) and 1; nothing in inference."""
        if not training or not self.noise_size:
            return {}
        if noise is None or noise.shape[-1] not in (None, self.noise_size):
            got = "none" if noise is None else noise.shape
            raise ValueError(f"{self.name}: training needs noise (b, {self.noise_size}) in [0, 1), got {got}")
        rates = tf.constant(list(self._drop_rates.values()))
        kept = tf.cast(tf.cast(noise, tf.float32) < 1.0 - rates, tf.float32)
        return {name: kept[:, i] for i, name in enumerate(self._drop_rates)}
