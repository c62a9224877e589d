"""Slowfast NF-ResNet-50: the Slowfast ResNet-50 with normaliser-free blocks in place of normalised ones.

Paper, section 3.2 and tables 3, 8 and 9 ("we adapt the NF ResNet50 [27] to the Slowfast setting"); Brock et al.,
"Characterizing signal propagation to close the performance gap in unnormalized ResNets". `sf_nf_resnet50` has
25,967,240 parameters (the paper states none): those of `sf_resnet50` with a normaliser, gains and biases in place
of scales and shifts, and 32 skip gains. `sf_nf_resnet50_tiny` is the same code with small numbers. The layout is
that of `sf_resnet50`, in `_slowfast_resnet.py`.

There is no public reference of this network. What the paper leaves open is done as in its Slowfast NFNet
(`sf_nfnet.py`) and in [27]:

- Every convolution has scaled weight standardisation, a gain, a bias and SAME padding.
- The activation is ReLU, scaled to unit variance (1.71396) in the blocks and before the embedding's average,
  unscaled in the fusions. The stem's convolution is followed by the maximum alone, as blocks activate first.
- A block is `shortcut + 0.2 * skip_gain * residual(activation(x) * beta)`; the skip gain starts at 0. As in [27]
  there is no squeeze-excite, and the shortcut of a first block is a strided 1x1 convolution of the activated
  input.
- Stochastic depth grows from 0 in a pathway's first block to almost 0.1 in its last, and never rescales: the paper
  states this rate for Slowfast NFNet-F0, and it is the default of the public NF-ResNets too.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels and strides are (time, frequency).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import tensorflow as tf

from models.encoder import EncoderRecord
from models.encoders._normalizer_free import NormalizerFreeEncoder, StandardisedConv, betas, global_average
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

# ReLU times this has unit variance for unit normal inputs. It is the originals' figure, estimated from samples;
# the exact one is sqrt(2 / (1 - 1 / pi)) = 1.71286.
RELU_GAIN = 1.7139588594436646


@dataclass(frozen=True)
class NFResNetConfig:
    """Numbers of the network.

    Attributes:
        layout: pathways, depths and fusions.
        alpha: weight of a block's residual branch.
        stochastic_depth: rate that the depth's share of is the chance to drop a block.
    """

    layout: SlowFastResNetConfig
    alpha: float = 0.2
    stochastic_depth: float = 0.1


class Stem(tf.keras.layers.Layer):
    """Convolution and maximum."""

    def __init__(self, pathway: PathwayConfig, seed: int | None) -> None:
        super().__init__(name=f"{pathway.name}/stem", autocast=False)
        self.conv = StandardisedConv(
            self.name, 1, pathway.stem_channels, pathway.stem_kernel, stride=STEM_STRIDE, seed=seed
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, 1) -> (b, ceil(t / 4), ceil(f / 4), stem_channels)."""
        return tf.nn.max_pool2d(self.conv(x), POOL_WINDOW, POOL_STRIDE, "SAME")


class Fusion(tf.keras.layers.Layer):
    """What the fast pathway lends the slow one: a convolution at the slow frame rate, and ReLU."""

    def __init__(self, config: SlowFastResNetConfig, stage: int, seed: int | None) -> None:
        super().__init__(name=f"fusion{stage}", autocast=False)
        channels = config.fusion_inputs[stage]
        self.conv = StandardisedConv(
            self.name,
            channels,
            config.fusion_ratio * channels,
            (config.fusion_kernel, 1),
            stride=(config.time_ratio, 1),
            seed=seed,
        )

    def call(self, fast: tf.Tensor) -> tf.Tensor:
        """(b, t, f, c) -> (b, ceil(t / time_ratio), f, fusion_ratio * c)."""
        return tf.nn.relu(self.conv(fast))


class NFBottleneck(tf.keras.layers.Layer):
    """Pre-activation residual block; the convolution behind an activation carries its scale (and `beta`)."""

    def __init__(self, config: BlockConfig, beta: float, alpha: float, seed: int | None) -> None:
        super().__init__(name=config.name, autocast=False)
        self._alpha = alpha
        self._stride = config.frequency_stride
        conv = functools.partial(StandardisedConv, seed=seed)
        inner, out, outer_scale = config.inner_channels, config.out_channels, RELU_GAIN * beta
        self.conv_a = conv(
            f"{self.name}/conv_a", config.in_channels, inner, (config.time_kernel, 1), input_scale=outer_scale
        )
        self.conv_b = conv(
            f"{self.name}/conv_b", inner, inner, (1, 3), stride=(1, self._stride), input_scale=RELU_GAIN
        )
        self.conv_c = conv(f"{self.name}/conv_c", inner, out, (1, 1), input_scale=RELU_GAIN)
        self.shortcut = None
        if config.projects:
            self.shortcut = conv(
                f"{self.name}/shortcut", config.in_channels, out, (1, 1), input_scale=outer_scale
            )
        self.skip_gain = tf.Variable(0.0, name=f"{self.name}/skip_gain")

    def call(self, x: tf.Tensor, survives: tf.Tensor | None = None) -> tf.Tensor:
        """(b, t, f, in) -> (b, t, ceil(f / stride), out).

        `survives` is (b,) of 0 and 1, or None for all.
        """
        activated = tf.nn.relu(x)
        shortcut = x if self.shortcut is None else self.shortcut(activated[:, :, :: self._stride])
        residual = tf.nn.relu(self.conv_a(activated))
        residual = tf.nn.relu(self.conv_b(residual))
        gain = self._alpha * self.skip_gain
        if survives is not None:
            gain *= survives[:, tf.newaxis, tf.newaxis, tf.newaxis]
        return shortcut + self.conv_c(residual) * tf.cast(gain, x.dtype)


class SlowFastNFResNet(NormalizerFreeEncoder):
    """Slowfast NF-ResNet-50 without a head.

    `encoder(x, training, noise)` takes standardised log-mel (b, t, f, 1), any t and f, and returns `embedding`: (b, d)
    float32, the averages of the activated slow and fast map. Noise is (b, noise_size) in [0, 1), for stochastic depth
    in training.

    It computes in the Keras policy it was built under (float32 or mixed_bfloat16); statistics of kernels and
    pooling are always float32.

    Args:
        config: the numbers.
        seed: of the initial weights, which depend on (seed, variable name) alone.
        fold: make the folded form, whose kernels `folded()` fills in.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self,
        config: NFResNetConfig,
        seed: int,
        fold: bool = False,
        dtype: tf.keras.mixed_precision.Policy | None = None,
    ) -> None:
        super().__init__("sf_nf_resnet50", config, dtype)
        layout, kernel_seed = config.layout, None if fold else seed
        pathways = (layout.slow, layout.fast)
        stage_betas = betas(layout.depths, config.alpha)
        self.slow_stem, self.fast_stem = (Stem(pathway, kernel_seed) for pathway in pathways)
        self.fusions = [Fusion(layout, stage, kernel_seed) for stage in range(4)]
        self.slow_stages, self.fast_stages = (
            [
                [
                    NFBottleneck(block, stage_betas[block.stage][block.position], config.alpha, kernel_seed)
                    for block in stage
                ]
                for stage in pathway_blocks(layout, pathway)
            ]
            for pathway in pathways
        )
        # Noise columns: the fast pathway's droppable blocks in order, then the slow one's.
        rate = config.stochastic_depth / sum(layout.depths)
        paths = (
            [block for stage in stages for block in stage] for stages in (self.fast_stages, self.slow_stages)
        )
        self._take_noise({block.name: rate * place for path in paths for place, block in enumerate(path)})
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: training without noise (b, noise_size), or an input that is not (b, t, f, 1).
        """
        x, survives = self._input(inputs), self._survivors(training, noise)
        slow_stages, fast_stages = (
            [
                [functools.partial(block.__call__, survives=survives.get(block.name)) for block in stage]
                for stage in stages
            ]
            for stages in (self.slow_stages, self.fast_stages)
        )
        maps = run_pathways(
            x,
            self._config.layout.time_ratio,
            (self.slow_stem, self.fast_stem),
            self.fusions,
            (slow_stages, fast_stages),
        )
        pooled = [global_average(tf.nn.relu(last)) * RELU_GAIN for last in maps]
        return {"embedding": tf.concat(pooled, axis=-1)}


def _record(name: str, layout: SlowFastResNetConfig, parameters: int) -> EncoderRecord:
    config = NFResNetConfig(layout)
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=layout.slow.widths[-1] + layout.fast.widths[-1],
        parameters=parameters,
        build=lambda seed: SlowFastNFResNet(config, seed),
    )


ENCODERS = {
    record.name: record
    for record in (_record("sf_nf_resnet50", R50, 25_967_240), _record("sf_nf_resnet50_tiny", TINY, 201_274))
}
