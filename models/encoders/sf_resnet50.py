"""Slowfast ResNet-50 with a choice of normalisers: batch, layer, instance, or none.

Paper, section 2.3 and tables 3, 8 and 9; Kazakos et al., "Slow-fast auditory streams for audio recognition"
[17]. With batch normalisation it has 25,967,208 parameters (the paper's 26m) and computes what the authors'
PyTorch network does, head left out, the 2048 slow features before the 256 fast ones. With layer or instance
normalisation it has as many parameters, with none 25,936,864. Each variant has a `_tiny` sibling, the same code
with small numbers. The layout is in `_slowfast_resnet.py`.

- Convolutions and pools have PyTorch's symmetric padding, which differs from TensorFlow's SAME where there is a
  stride.
- `bn` normalises by the statistics of the global batch (see `_batch_norm.py`). The other variants look at one
  clip alone, so its embedding does not depend on its neighbours.
- The last normalisation of a residual branch starts at scale 0, as in [17], so a block starts as its shortcut.

Left open by the paper:

- `ln` takes its statistics over time, frequency and channels of one clip, and scales and shifts each channel,
  as instance normalisation does; all normalisers have epsilon 1e-5.
- `none` leaves the normaliser out and gives each convolution the bias that the normaliser would have brought.
  The last convolution of a residual branch starts at 0, or activations would grow with depth.
- `in` is TensorFlow Addons' layer (`workarounds.addons`). It computes in float32.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels and strides are (time, frequency).
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.encoders._batch_norm import BatchNorm
from models.encoders._normalizer_free import Kernel, fan_in_normal, global_average
from models.encoders._slowfast_resnet import (
    POOL_STRIDE,
    POOL_WINDOW,
    R50,
    STEM_STRIDE,
    TINY,
    BlockConfig,
    PathwayConfig,
    SlowFastResNetConfig,
    pathway_blocks,
    run_pathways,
)
from workarounds.addons import instance_normalization

Normaliser = Literal["bn", "ln", "in", "none"]
EPSILON = 1e-5
MOMENTUM = 0.9


class LayerNorm(tf.keras.layers.Layer):
    """Normalises each clip over time, frequency and channels; variables `<name>/{gamma,beta}` of (c,)."""

    def __init__(self, name: str, channels: int, initial_gamma: float) -> None:
        super().__init__(name=name, autocast=False)
        self.gamma = tf.Variable(tf.fill([channels], initial_gamma), name=f"{name}/gamma")
        self.beta = tf.Variable(tf.zeros([channels]), name=f"{name}/beta")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, c) -> the same shape and type."""
        exact = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(exact, [1, 2, 3], keepdims=True)
        normalised = tf.nn.batch_normalization(exact, mean, variance, self.beta, self.gamma, EPSILON)
        return tf.cast(normalised, x.dtype)


class InstanceNorm(tf.keras.layers.Layer):
    """Normalises each channel of each clip over time and frequency; variables `<name>/{gamma,beta}` of (c,)."""

    def __init__(self, name: str, channels: int, initial_gamma: float) -> None:
        super().__init__(name=name, autocast=False)
        self._layer = instance_normalization(EPSILON, initial_gamma)
        with tf.name_scope(name):
            self._layer.build(tf.TensorShape([None, None, None, channels]))

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, c) -> the same shape and type."""
        return tf.cast(self._layer(tf.cast(x, tf.float32)), x.dtype)


class ConvNorm(tf.keras.layers.Layer):
    """Convolution with symmetric padding, then the normaliser, or a bias where there is none.

    Variables are `<name>/w` and `<name>/norm/...`, or `<name>/bias`.

    Args:
        name: canonical name.
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: odd sizes in (time, frequency).
        normaliser: what follows the convolution.
        stride: stride in (time, frequency).
        starts_at_zero: whether the output is 0 with the first weights.
        seed: of the first kernel, normal of variance 2 / fan-out as in [17].
    """

    def __init__(
        self,
        name: str,
        in_channels: int,
        out_channels: int,
        kernel: Kernel,
        *,
        normaliser: Normaliser,
        stride: tuple[int, int] = (1, 1),
        starts_at_zero: bool = False,
        seed: int,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self._stride = stride
        self._padding = [[0, 0], *([size // 2, size // 2] for size in kernel), [0, 0]]
        to_fan_out = np.sqrt(np.float32(2.0 * in_channels / out_channels))
        initial = fan_in_normal(f"{name}/w", (*kernel, in_channels, out_channels), seed) * to_fan_out
        if normaliser == "none" and starts_at_zero:
            initial = np.zeros_like(initial)
        self.w = tf.Variable(initial, name=f"{name}/w")
        gamma = 0.0 if starts_at_zero else 1.0
        self.norm: tf.keras.layers.Layer | None = None
        if normaliser == "none":
            self.bias = tf.Variable(tf.zeros([out_channels]), name=f"{name}/bias")
        elif normaliser == "bn":
            self.norm = BatchNorm(
                f"{name}/norm", out_channels, momentum=MOMENTUM, epsilon=EPSILON, initial_gamma=gamma
            )
        elif normaliser == "ln":
            self.norm = LayerNorm(f"{name}/norm", out_channels, gamma)
        else:
            self.norm = InstanceNorm(f"{name}/norm", out_channels, gamma)

    def call(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """(b, t, f, in) -> (b, ceil(t / stride), ceil(f / stride), out)."""
        y = tf.nn.conv2d(x, tf.cast(self.w, x.dtype), self._stride, self._padding)
        if self.norm is None:
            return tf.nn.bias_add(y, tf.cast(self.bias, x.dtype))
        return self.norm(y, training=training) if isinstance(self.norm, BatchNorm) else self.norm(y)


class Stem(tf.keras.layers.Layer):
    """Convolution, normaliser, ReLU, maximum."""

    def __init__(self, pathway: PathwayConfig, normaliser: Normaliser, seed: int) -> None:
        super().__init__(name=f"{pathway.name}/stem", autocast=False)
        self.conv = ConvNorm(
            self.name,
            1,
            pathway.stem_channels,
            pathway.stem_kernel,
            stride=STEM_STRIDE,
            normaliser=normaliser,
            seed=seed,
        )

    def call(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """(b, t, f, 1) -> (b, ceil(t / 4), ceil(f / 4), stem_channels)."""
        padding = [[0, 0], *([size // 2, size // 2] for size in POOL_WINDOW), [0, 0]]
        return tf.nn.max_pool2d(tf.nn.relu(self.conv(x, training)), POOL_WINDOW, POOL_STRIDE, padding)


class Fusion(tf.keras.layers.Layer):
    """What the fast pathway lends the slow one: convolution at the slow frame rate, normaliser, ReLU."""

    def __init__(self, config: SlowFastResNetConfig, stage: int, normaliser: Normaliser, seed: int) -> None:
        super().__init__(name=f"fusion{stage}", autocast=False)
        channels = config.fusion_inputs[stage]
        self.conv = ConvNorm(
            self.name,
            channels,
            config.fusion_ratio * channels,
            (config.fusion_kernel, 1),
            stride=(config.time_ratio, 1),
            normaliser=normaliser,
            seed=seed,
        )

    def call(self, fast: tf.Tensor, training: bool) -> tf.Tensor:
        """(b, t, f, c) -> (b, ceil(t / time_ratio), f, fusion_ratio * c)."""
        return tf.nn.relu(self.conv(fast, training))


class Bottleneck(tf.keras.layers.Layer):
    """Residual block; normaliser after each convolution, ReLU after each but the last and after the sum."""

    def __init__(self, config: BlockConfig, normaliser: Normaliser, seed: int) -> None:
        super().__init__(name=config.name, autocast=False)
        conv = functools.partial(ConvNorm, normaliser=normaliser, seed=seed)
        inner, out, stride = config.inner_channels, config.out_channels, (1, config.frequency_stride)
        self.conv_a = conv(f"{self.name}/conv_a", config.in_channels, inner, (config.time_kernel, 1))
        self.conv_b = conv(f"{self.name}/conv_b", inner, inner, (1, 3), stride=stride)
        self.conv_c = conv(f"{self.name}/conv_c", inner, out, (1, 1), starts_at_zero=True)
        self.shortcut = None
        if config.projects:
            self.shortcut = conv(f"{self.name}/shortcut", config.in_channels, out, (1, 1), stride=stride)

    def call(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """(b, t, f, in) -> (b, t, ceil(f / stride), out)."""
        residual = tf.nn.relu(self.conv_a(x, training))
        residual = tf.nn.relu(self.conv_b(residual, training))
        residual = self.conv_c(residual, training)
        shortcut = x if self.shortcut is None else self.shortcut(x, training)
        return tf.nn.relu(shortcut + residual)


class SlowFastResNet(Encoder):
    """The network of Slowfast ResNet-50 without its head.

    `encoder(x, training)` takes standardised log-mel (b, t, f, 1), any t and f, and returns `embedding`: (b, d)
    float32, the averages of the slow and the fast map.

    It computes in the Keras policy it was built under (float32 or mixed_bfloat16); statistics and pooling are
    always float32.

    Args:
        config: the numbers.
        normaliser: "bn", "ln", "in" or "none".
        seed: of the initial weights, which depend on (seed, variable name) alone.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self,
        config: SlowFastResNetConfig,
        normaliser: Normaliser,
        seed: int,
        dtype: tf.keras.mixed_precision.Policy | None = None,
    ) -> None:
        super().__init__(name="sf_resnet50", dtype=dtype)
        self._config = config
        pathways = (config.slow, config.fast)
        self.slow_stem, self.fast_stem = (Stem(pathway, normaliser, seed) for pathway in pathways)
        self.fusions = [Fusion(config, stage, normaliser, seed) for stage in range(4)]
        self.slow_stages, self.fast_stages = (
            [
                [Bottleneck(block, normaliser, seed) for block in stage]
                for stage in pathway_blocks(config, pathway)
            ]
            for pathway in pathways
        )
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class. It needs no noise.

        Raises:
            ValueError: an input that is not (b, t, f, 1).
        """
        if inputs.shape.rank != 4 or inputs.shape[-1] != 1:
            raise ValueError(
                f"{self.name}: input must be (b, t, f, 1), got {inputs.shape}; add a channel axis"
            )
        slow, fast = run_pathways(
            tf.cast(inputs, self.compute_dtype),
            self._config.time_ratio,
            (self.slow_stem, self.fast_stem),
            self.fusions,
            (self.slow_stages, self.fast_stages),
            training=training,
        )
        return {"embedding": tf.concat([global_average(slow), global_average(fast)], axis=-1)}


def _record(
    normaliser: Normaliser, suffix: str, config: SlowFastResNetConfig, parameters: int
) -> EncoderRecord:
    return EncoderRecord(
        name=f"sf_resnet50_{normaliser}{suffix}",
        input_kind="log_mel",
        embedding_size=config.slow.widths[-1] + config.fast.widths[-1],
        parameters=parameters,
        build=lambda seed: SlowFastResNet(config, normaliser, seed),
        batch_normalised=normaliser == "bn",
    )


# Every normaliser has a scale and a shift for each channel; where there is none, the bias is the shift.
ENCODERS = {
    record.name: record
    for record in (
        *(_record(name, "", R50, 25_967_208) for name in ("bn", "ln", "in")),
        _record("none", "", R50, 25_936_864),
        *(_record(name, "_tiny", TINY, 201_264) for name in ("bn", "ln", "in")),
        _record("none", "_tiny", TINY, 199_384),
    )
}
