"""NFNet: one pathway of normaliser-free blocks over a log-mel spectrogram, as over an image.

Paper, table 2 (NFNet-F0 [18]); Brock et al., "High-performance large-scale image recognition without
normalization". `nfnet_f0` has 68,415,996 parameters (the paper's 68m) and computes what DeepMind's definition
does, with one input channel and without a classifier; `nfnet_tiny` is the same code with small numbers.

- Four 3x3 convolutions are the stem; both middle convolutions of a block are 3x3, the first of them strided.
- The embedding is the activated final convolution, averaged over time and frequency; `features` are the pooled
  maps before it.
- The activation is GELU in its tanh form, scaled to unit variance everywhere, after the final convolution too.
- Stochastic depth grows from 0 in the first block to almost 0.1 in the last and never rescales: the rate that
  the paper gives for its Slowfast NFNet, as it gives none for this network. NFNet's own dropout belongs to the
  classifier, which is left out.

Deviation: squeeze-excite kernels start from an untruncated normal distribution.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels and strides are (time, frequency).
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from models.encoder import EncoderRecord
from models.encoders._normalizer_free import (
    Block,
    BlockConfig,
    NormalizerFreeEncoder,
    StandardisedConv,
    Stem,
    betas,
    global_average,
)


@dataclass(frozen=True)
class NFNetConfig:
    """Numbers of the network; the defaults are F0's.

    Attributes:
        stem_channels: of the stem's last convolution; the three before have 1/8, 1/4 and 1/2 of them.
        widths: output channels of the blocks, by stage.
        depths: blocks by stage.
        group_width: channels of one group of the two middle convolutions.
        final_channels: of the final convolution, which is the embedding's size.
        alpha: weight of a block's residual branch.
        stochastic_depth: rate that the depth's share of is the chance to drop a block.
    """

    stem_channels: int = 128
    widths: tuple[int, int, int, int] = (256, 512, 1536, 1536)
    depths: tuple[int, int, int, int] = (1, 2, 6, 3)
    group_width: int = 128
    final_channels: int = 3072
    alpha: float = 0.2
    stochastic_depth: float = 0.1


STAGE_STRIDES = (1, 2, 2, 2)
F0 = NFNetConfig()
TINY = NFNetConfig(
    stem_channels=32, widths=(64, 96, 192, 192), depths=(1, 1, 2, 1), group_width=16, final_channels=384
)


def network_blocks(config: NFNetConfig) -> tuple[BlockConfig, ...]:
    """The blocks, in order."""
    blocks: list[BlockConfig] = []
    channels = config.stem_channels
    for stage, stage_betas in enumerate(betas(config.depths, config.alpha)):
        for position, beta in enumerate(stage_betas):
            stride = STAGE_STRIDES[stage] if position == 0 else 1
            blocks.append(
                BlockConfig(
                    name=f"block{len(blocks)}",
                    in_channels=channels,
                    out_channels=config.widths[stage],
                    group_width=config.group_width,
                    kernels=((3, 3), (3, 3)),
                    stride=(stride, stride),
                    beta=beta,
                    alpha=config.alpha,
                    drop_rate=config.stochastic_depth * len(blocks) / sum(config.depths),
                )
            )
            channels = config.widths[stage]
    return tuple(blocks)


class NFNet(NormalizerFreeEncoder):
    """The network of NFNet's paper over a spectrogram.

    `encoder(x, training, noise)` takes standardised log-mel (b, t, f, 1), any t and f, and returns `embedding`:
    (b, final_channels), and `features`: (b, c), the last stage pooled, both float32.

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
        config: NFNetConfig,
        seed: int,
        fold: bool = False,
        dtype: tf.keras.mixed_precision.Policy | None = None,
    ) -> None:
        super().__init__("nfnet", config, dtype)
        self.stem = Stem("", config.stem_channels, [(3, 3)] * 4, None if fold else seed)
        blocks = network_blocks(config)
        self.blocks = [Block(block, seed, fold) for block in blocks]
        self.final_conv = StandardisedConv(
            "final_conv", config.widths[-1], config.final_channels, (1, 1), seed=None if fold else seed
        )
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
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, survives.get(block.name))
        embedding = global_average(self.final_conv.activated(x)) * self.final_conv.gelu_scale
        return {"embedding": embedding, "features": global_average(x)}


def _record(name: str, config: NFNetConfig, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=config.final_channels,
        parameters=parameters,
        build=lambda seed: NFNet(config, seed),
    )


ENCODERS = {
    record.name: record
    for record in (_record("nfnet_f0", F0, 68_415_996), _record("nfnet_tiny", TINY, 492_081))
}
