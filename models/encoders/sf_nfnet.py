"""Slowfast NFNet: two pathways of normaliser-free blocks over one log-mel spectrogram.

Paper, section 2.3, appendix B and table 5. `sf_nfnet_f0` has 62,970,654 parameters (the paper's 63m) and
computes what the authors' released network computes; `sf_nfnet_tiny` is the same code with small numbers,
for tests, for the demonstration and for small corpora.

Where the authors' network and table 5 differ, the network counts:

- The slow pathway's input is max-pooled over time by 4, not strided.
- The strides of the stem are 2, 1, 1, 2 in both directions; its kernels are 1x3, 1x3, 1x3, 3x3 (slow) and
  3x3, 1x3, 1x3, 3x3 (fast).
- After the last stage a 1x1 convolution doubles each pathway, so the embedding has 3456 numbers; the
  table's 1728 are the pooled maps before it, and are returned too, as `features`.
- The activation is GELU in its tanh form, scaled to unit variance in stems and blocks, unscaled in the
  fusions and after the final convolution.
- Stochastic depth grows from 0 in the first block to almost 0.1 in the last, and never rescales.

Deviation from the authors' network: squeeze-excite kernels start from an untruncated normal distribution.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels and strides are (time, frequency).
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from models.encoder import EncoderRecord
from models.encoders._normalizer_free import (
    Block,
    BlockConfig,
    Kernel,
    NormalizerFreeEncoder,
    StandardisedConv,
    Stem,
    betas,
    gelu,
    global_average,
)


@dataclass(frozen=True)
class PathwayConfig:
    """Numbers of one pathway.

    Attributes:
        name: "slow" or "fast", the first part of its variables' names.
        stem_channels: channels of the stem's last convolution; the three before have 1/8, 1/4 and 1/2 of
            them.
        stem_kernels: kernels of the stem's four convolutions.
        widths: output channels of the blocks, by stage.
        group_width: channels of one group of the two middle convolutions.
        time_kernels: kernels of the first middle convolution, by stage.
    """

    name: str
    stem_channels: int
    stem_kernels: tuple[Kernel, Kernel, Kernel, Kernel]
    widths: tuple[int, int, int, int]
    group_width: int
    time_kernels: tuple[Kernel, Kernel, Kernel, Kernel]


@dataclass(frozen=True)
class SlowFastConfig:
    """Numbers of the network; the defaults are those of the paper's NFNet-F0.

    Attributes:
        slow: the pathway with many channels and few frames.
        fast: the pathway with few channels and every frame.
        fusion_channels: channels that the fast pathway lends the slow one, before each stage.
        depths: blocks by stage.
        time_ratio: frames of the fast pathway to one of the slow.
        alpha: weight of a block's residual branch.
        stochastic_depth: rate that the depth's share of is the chance to drop a block.
    """

    slow: PathwayConfig
    fast: PathwayConfig
    fusion_channels: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    time_ratio: int = 4
    alpha: float = 0.2
    stochastic_depth: float = 0.1


STAGE_STRIDES = ((1, 1), (1, 2), (1, 2), (1, 2))
FUSION_KERNEL = (7, 1)

SLOW_F0 = PathwayConfig(
    name="slow",
    stem_channels=128,
    stem_kernels=((1, 3), (1, 3), (1, 3), (3, 3)),
    widths=(256, 512, 1536, 1536),
    group_width=128,
    time_kernels=((1, 1), (1, 1), (3, 1), (3, 1)),
)
FAST_F0 = PathwayConfig(
    name="fast",
    stem_channels=16,
    stem_kernels=((3, 3), (1, 3), (1, 3), (3, 3)),
    widths=(32, 64, 192, 192),
    group_width=16,
    time_kernels=((3, 1), (3, 1), (3, 1), (3, 1)),
)
F0 = SlowFastConfig(SLOW_F0, FAST_F0, fusion_channels=(64, 256, 512, 1024), depths=(1, 2, 6, 3))

# Stems have half the channels of the first stage, and fusions scale with the slow pathway, both as in F0.
TINY = SlowFastConfig(
    slow=PathwayConfig(
        "slow",
        32,
        SLOW_F0.stem_kernels,
        (64, 96, 192, 192),
        group_width=16,
        time_kernels=SLOW_F0.time_kernels,
    ),
    fast=PathwayConfig(
        "fast", 8, FAST_F0.stem_kernels, (16, 32, 48, 48), group_width=8, time_kernels=FAST_F0.time_kernels
    ),
    fusion_channels=(16, 64, 96, 128),
    depths=(1, 1, 2, 1),
)


def pathway_blocks(config: SlowFastConfig, pathway: PathwayConfig) -> tuple[tuple[BlockConfig, ...], ...]:
    """The blocks of one pathway, by stage."""
    lent = config.fusion_channels if pathway is config.slow else (0, 0, 0, 0)
    stages = []
    channels, index = pathway.stem_channels, 0
    for stage, stage_betas in enumerate(betas(config.depths, config.alpha)):
        channels += lent[stage]
        blocks = []
        for position, beta in enumerate(stage_betas):
            blocks.append(
                BlockConfig(
                    name=f"{pathway.name}/block{index}",
                    in_channels=channels,
                    out_channels=pathway.widths[stage],
                    group_width=pathway.group_width,
                    kernels=(pathway.time_kernels[stage], (1, 3)),
                    stride=STAGE_STRIDES[stage] if position == 0 else (1, 1),
                    beta=beta,
                    alpha=config.alpha,
                    drop_rate=config.stochastic_depth * index / sum(config.depths),
                )
            )
            channels, index = pathway.widths[stage], index + 1
        stages.append(tuple(blocks))
    return tuple(stages)


class Pathway(tf.keras.layers.Layer):
    """One pathway: its stem, its blocks by stage, and its final convolution."""

    def __init__(self, config: SlowFastConfig, pathway: PathwayConfig, seed: int, folded: bool) -> None:
        super().__init__(name=pathway.name, autocast=False)
        kernel_seed = None if folded else seed
        self.stem = Stem(f"{self.name}/", pathway.stem_channels, pathway.stem_kernels, kernel_seed)
        self.stages = [
            [Block(block, seed, folded) for block in stage] for stage in pathway_blocks(config, pathway)
        ]
        width = pathway.widths[-1]
        self.final_conv = StandardisedConv(
            f"{self.name}/final_conv", width, 2 * width, (1, 1), seed=kernel_seed
        )

    def head(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, c) -> (b, 2 * c) float32."""
        return global_average(self.final_conv.activated(x)) / self.final_conv.gelu_times


class Fusion(tf.keras.layers.Layer):
    """Appends a convolution of the fast pathway, at the slow one's frame rate, to the slow pathway."""

    def __init__(
        self, name: str, in_channels: int, out_channels: int, time_ratio: int, seed: int | None
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.conv = StandardisedConv(
            name, in_channels, out_channels, FUSION_KERNEL, stride=(time_ratio, 1), seed=seed
        )

    def call(self, slow: tf.Tensor, fast: tf.Tensor) -> tf.Tensor:
        """(b, t, f, slow), (b, 4 * t, f, fast) -> (b, t, f, slow + out_channels)."""
        return tf.concat([slow, gelu(self.conv(fast))], axis=-1)


class SlowFastNFNet(NormalizerFreeEncoder):
    """The network of the paper's table 5.

    `encoder(x, training, noise)` takes standardised log-mel (b, t, f, 1), any t and f, and returns
    `embedding`: (b, 2 * c), pooled after the final convolutions, and `features`: (b, c), pooled before
    them, both float32 and with the fast pathway first; c is the width of both last stages together.

    It computes in the Keras policy it was built under (float32 or mixed_bfloat16); statistics of kernels,
    gates and pooling are always float32.

    Args:
        config: the numbers.
        seed: of the initial weights, which depend on (seed, variable name) alone.
        fold: make the folded form, whose kernels `folded()` fills in.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self,
        config: SlowFastConfig,
        seed: int,
        fold: bool = False,
        dtype: tf.keras.mixed_precision.Policy | None = None,
    ) -> None:
        super().__init__("sf_nfnet", config, dtype)
        self.slow = Pathway(config, config.slow, seed, fold)
        self.fast = Pathway(config, config.fast, seed, fold)
        fast_channels = (config.fast.stem_channels, *config.fast.widths[:-1])
        self.fusions = [
            Fusion(
                f"fusion{i}",
                fast_channels[i],
                config.fusion_channels[i],
                config.time_ratio,
                None if fold else seed,
            )
            for i in range(4)
        ]
        # Noise columns: the fast pathway's droppable blocks in order, then the slow one's.
        blocks = [block.config for path in (self.fast, self.slow) for stage in path.stages for block in stage]
        self._take_noise({block.name: block.drop_rate for block in blocks})
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: training without noise (b, noise_size), or an input that is not (b, t, f, 1).
        """
        x, survives = self._input(inputs), self._survivors(training, noise)
        ratio = self._config.time_ratio
        fast = self.fast.stem(x)
        slow = self.slow.stem(tf.nn.max_pool2d(x, (ratio, 1), (ratio, 1), "SAME"))
        for fusion, fast_stage, slow_stage in zip(
            self.fusions, self.fast.stages, self.slow.stages, strict=True
        ):
            slow = fusion(slow, fast)
            for block in fast_stage:
                fast = block(fast, survives.get(block.name))
            for block in slow_stage:
                slow = block(slow, survives.get(block.name))
        return {
            "embedding": tf.concat([self.fast.head(fast), self.slow.head(slow)], axis=-1),
            "features": tf.concat([global_average(fast), global_average(slow)], axis=-1),
        }


def _record(name: str, config: SlowFastConfig, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=2 * (config.slow.widths[-1] + config.fast.widths[-1]),
        parameters=parameters,
        build=lambda seed: SlowFastNFNet(config, seed),
    )


ENCODERS = {
    record.name: record
    for record in (_record("sf_nfnet_f0", F0, 62_970_654), _record("sf_nfnet_tiny", TINY, 597_795))
}
