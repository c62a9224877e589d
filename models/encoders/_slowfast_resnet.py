"""The auditory Slowfast ResNet-50's layout: which frames, which blocks, how the pathways meet.

Paper, section 2.3 and table 3; Kazakos et al., "Slow-fast auditory streams for audio recognition" [17]. The
encoders that have this layout bring their own convolutions and blocks: `sf_resnet50` with a choice of
normalisers, `sf_nf_resnet50` without any.

Any clip length works. The slow pathway has floor(t / 4) frames (one at least), and after the stems the fast map
has ceil(t / 4), so what the fast pathway lends is in some lengths one frame longer than the slow map: its last
frame is then left out. Where both agree, as for 300 and 400 frames, nothing is.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels and strides are (time, frequency).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from models.encoders._normalizer_free import Kernel


@dataclass(frozen=True)
class PathwayConfig:
    """Numbers of one pathway.

    Attributes:
        name: "slow" or "fast", the first part of its variables' names.
        stem_channels: channels of the stem.
        stem_kernel: kernel of the stem's convolution.
        widths: output channels of the blocks, by stage; the inner convolutions have a quarter of them.
        time_kernels: frames that a block's first convolution spans, by stage.
    """

    name: str
    stem_channels: int
    stem_kernel: Kernel
    widths: tuple[int, int, int, int]
    time_kernels: tuple[int, int, int, int]


@dataclass(frozen=True)
class SlowFastResNetConfig:
    """Numbers of the network; the defaults are those of Slowfast ResNet-50 on audio.

    Attributes:
        slow: the pathway with many channels and few frames.
        fast: the pathway with few channels and every frame.
        depths: blocks by stage.
        time_ratio: frames of the fast pathway to one of the slow.
        fusion_ratio: channels that a fusion lends to one of the fast pathway's.
        fusion_kernel: frames that a fusion spans.
    """

    slow: PathwayConfig = PathwayConfig("slow", 64, (1, 7), (256, 512, 1024, 2048), (1, 1, 3, 3))
    fast: PathwayConfig = PathwayConfig("fast", 8, (5, 7), (32, 64, 128, 256), (3, 3, 3, 3))
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    time_ratio: int = 4
    fusion_ratio: int = 2
    fusion_kernel: int = 7

    @property
    def fusion_inputs(self) -> tuple[int, int, int, int]:
        """Channels of the fast pathway before each stage."""
        first, second, third, _ = self.fast.widths
        return (self.fast.stem_channels, first, second, third)


R50 = SlowFastResNetConfig()
TINY = SlowFastResNetConfig(
    slow=PathwayConfig("slow", 16, R50.slow.stem_kernel, (32, 64, 128, 256), R50.slow.time_kernels),
    fast=PathwayConfig("fast", 4, R50.fast.stem_kernel, (8, 16, 32, 64), R50.fast.time_kernels),
    depths=(1, 1, 2, 1),
)

STEM_STRIDE = (2, 2)
POOL_WINDOW, POOL_STRIDE = (3, 3), (2, 2)
FREQUENCY_STRIDES = (1, 2, 2, 2)


@dataclass(frozen=True)
class BlockConfig:
    """Numbers of one bottleneck: `time_kernel` x 1, 1 x 3 with the stride, 1 x 1.

    Attributes:
        name: the first part of its variables' names.
        stage: 0 to 3.
        position: its place in the stage.
        in_channels: channels of its input.
        out_channels: channels of its output.
        time_kernel: frames that the first convolution spans.
        frequency_stride: stride over frequency.
    """

    name: str
    stage: int
    position: int
    in_channels: int
    out_channels: int
    time_kernel: int
    frequency_stride: int

    @property
    def inner_channels(self) -> int:
        """Channels of the first two convolutions."""
        return self.out_channels // 4

    @property
    def projects(self) -> bool:
        """Whether the shortcut is a convolution."""
        return self.in_channels != self.out_channels or self.frequency_stride != 1


def pathway_blocks(
    config: SlowFastResNetConfig, pathway: PathwayConfig
) -> tuple[tuple[BlockConfig, ...], ...]:
    """The blocks of one pathway, by stage."""
    stages = []
    channels, index = pathway.stem_channels, 0
    for stage, depth in enumerate(config.depths):
        if pathway is config.slow:
            channels += config.fusion_ratio * config.fusion_inputs[stage]
        blocks = []
        for position in range(depth):
            blocks.append(
                BlockConfig(
                    name=f"{pathway.name}/block{index}",
                    stage=stage,
                    position=position,
                    in_channels=channels,
                    out_channels=pathway.widths[stage],
                    time_kernel=pathway.time_kernels[stage],
                    frequency_stride=FREQUENCY_STRIDES[stage] if position == 0 else 1,
                )
            )
            channels, index = pathway.widths[stage], index + 1
        stages.append(tuple(blocks))
    return tuple(stages)


def slow_frames(x: tf.Tensor, ratio: int) -> tf.Tensor:
    """The slow pathway's frames: (b, t, f, c) -> (b, max(1, t // ratio), f, c).

    They are picked, not averaged, at evenly spaced places from the first frame to the last, both included,
    rounded down: of 400 frames 0, 4, 8, ..., 399.
    """
    frames = tf.cast(tf.shape(x)[1], tf.int64)
    count = tf.maximum(frames // ratio, 1)
    index = tf.range(count) * (frames - 1) // tf.maximum(count - 1, 1)
    return tf.gather(x, index, axis=1)


def run_pathways(
    x: tf.Tensor,
    time_ratio: int,
    stems: tuple[Callable[..., tf.Tensor], Callable[..., tf.Tensor]],
    fusions: Sequence[Callable[..., tf.Tensor]],
    stages: tuple[Sequence[Sequence[Callable[..., tf.Tensor]]], Sequence[Sequence[Callable[..., tf.Tensor]]]],
    **options: Any,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Runs both pathways.

    Args:
        x: (b, t, f, 1).
        time_ratio: frames of the fast pathway to one of the slow.
        stems: of the slow and the fast pathway, (b, t, f, 1) -> (b, t / 4, f / 4, c), rounded up.
        fusions: before each stage, (b, t, f, fast) -> (b, ceil(t / time_ratio), f, c).
        stages: blocks of the slow and the fast pathway, by stage.
        **options: given to every layer.

    Returns:
        The last maps of the slow and the fast pathway.
    """
    slow_stem, fast_stem = stems
    slow, fast = slow_stem(slow_frames(x, time_ratio), **options), fast_stem(x, **options)
    for fusion, slow_blocks, fast_blocks in zip(fusions, *stages, strict=True):
        lent = fusion(fast, **options)[:, : tf.shape(slow)[1]]
        slow = tf.concat([slow, lent], axis=-1)
        for block in slow_blocks:
            slow = block(slow, **options)
        for block in fast_blocks:
            fast = block(fast, **options)
    return slow, fast
