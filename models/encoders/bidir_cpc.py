"""Bidirectional CPC: convolutions over the waveform, then one causal network forward and one backward in time.

Paper, table 2 (38m parameters) and reference 23 (Wang et al., 2020), of which there is no public code. So the
layout is reference 23's (a strided encoder, and two context networks that see only the past, and only the
future), and the numbers below are ours, chosen to come near the paper's count: `bidir_cpc` has 38,312,960
parameters without the objective's predictors, the paper's 38m. `bidir_cpc_tiny` is the same code with small
numbers.

- Five convolutions of 512 channels, kernels 10, 8, 4, 4, 4 and strides 5, 4, 2, 2, 2, as CPC's own: a window of
  465 samples, and 10 ms from frame to frame. Layer norm over channels and GELU after each, where CPC has batch
  normalisation: a clip must not see its neighbours.
- A context network is nine residual blocks: layer norm, a causal convolution of 6 taps, GELU, a 1x1 convolution.
  Dilations 1, 2, 4, three times over: 106 frames, about a second. A convolution and not CPC's GRU, which cannot
  be computed for all frames at once.
- The waveform is standardised inside, so loudness does not count.
- The embedding is the mean over frames of both contexts, forward first; the frames are returned as `context`.

Shapes: `b` batch, `n` samples, `t` frames, `c` channels, `d` embedding, which is 2 * c.
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.encoders._waveform import Conv, Dense, LayerNorm, standardised


@dataclass(frozen=True)
class BidirCpcConfig:
    """Numbers of the network.

    Attributes:
        kernels, strides: of the encoder's convolutions.
        channels: c.
        taps: of a block's causal convolution.
        dilations: of the blocks of a context network, first to last.
    """

    kernels: tuple[int, ...] = (10, 8, 4, 4, 4)
    strides: tuple[int, ...] = (5, 4, 2, 2, 2)
    channels: int = 512
    taps: int = 6
    dilations: tuple[int, ...] = (1, 2, 4) * 3

    @property
    def window(self) -> int:
        """Samples that one latent frame sees."""
        window, hop = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            window, hop = window + (kernel - 1) * hop, hop * stride
        return window


FULL = BidirCpcConfig()
TINY = BidirCpcConfig(channels=32, taps=3, dilations=(1, 2))


class Block(tf.keras.layers.Layer):
    """A residual block that sees frames up to its own."""

    def __init__(self, name: str, config: BidirCpcConfig, dilation: int, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        channels = config.channels
        self._past = (config.taps - 1) * dilation
        self.norm = LayerNorm(f"{name}.norm", channels)
        self.conv = Conv(f"{name}.conv", channels, channels, config.taps, dilation=dilation, seed=seed)
        self.pointwise = Dense(f"{name}.pointwise", channels, channels, channels**-0.5, seed)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, c) -> (b, t, c)."""
        past = tf.pad(self.norm(x), [[0, 0], [self._past, 0], [0, 0]])
        return x + self.pointwise(tf.nn.gelu(self.conv(past)))


class ContextNetwork(tf.keras.layers.Layer):
    """Blocks that see the past only, and a layer norm behind them."""

    def __init__(self, name: str, config: BidirCpcConfig, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        self.blocks = [
            Block(f"{name}.block{i}", config, dilation, seed) for i, dilation in enumerate(config.dilations)
        ]
        self.norm = LayerNorm(f"{name}.norm", config.channels)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, c) -> (b, t, c)."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class BidirCpc(Encoder):
    """The encoder and its two context networks.

    `encoder(x, training, noise)` takes waveforms (b, n) in [-1, 1] at 16 kHz, any n from 465, and returns
    `embedding`: (b, d), and `context`: (b, t, d), both float32. It needs no noise. Predicting the future needs
    the two halves by themselves: `latents`, and `contexts`.

    It computes in the Keras policy it was built under (float32 or mixed_bfloat16); normalisation and the mean
    over frames are always float32.

    Args:
        config: the numbers.
        seed: of the initial weights, which depend on (seed, variable name) alone.
    """

    def __init__(self, config: BidirCpcConfig, seed: int) -> None:
        super().__init__(name="bidir_cpc")
        self._config = config
        self.convs, self.norms = [], []
        for i, (kernel, stride) in enumerate(zip(config.kernels, config.strides, strict=True)):
            inputs = config.channels if i else 1
            self.convs.append(Conv(f"conv{i}", inputs, config.channels, kernel, stride=stride, seed=seed))
            self.norms.append(LayerNorm(f"conv{i}.norm", config.channels))
        self.forward = ContextNetwork("forward", config, seed)
        self.backward = ContextNetwork("backward", config, seed)
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: an input that is not (b, n) with n from 465.
        """
        context = tf.concat(self.contexts(self.latents(inputs)), axis=-1)
        return {"embedding": tf.reduce_mean(context, axis=1), "context": context}

    def latents(self, waveform: tf.Tensor) -> tf.Tensor:
        """(b, n) -> (b, t, c): what the convolutions make of the waveform, in the compute type."""
        x = standardised(self.name, waveform, self._config.window)
        x = tf.cast(x[..., tf.newaxis], self.compute_dtype)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = tf.nn.gelu(norm(conv(x)))
        return x

    def contexts(self, latents: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Latents (b, t, c) -> forward and backward contexts, each (b, t, c) float32.

        Frame i of the forward context has seen latents 0 to i; of the backward one, i to the last.
        """
        backward = tf.reverse(self.backward(tf.reverse(latents, [1])), [1])
        return tf.cast(self.forward(latents), tf.float32), tf.cast(backward, tf.float32)


def _record(name: str, config: BidirCpcConfig, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="waveform",
        embedding_size=2 * config.channels,
        parameters=parameters,
        frames="causal",
        latent_size=config.channels,
        build=lambda seed: BidirCpc(config, seed),
    )


ENCODERS = {
    record.name: record
    for record in (_record("bidir_cpc", FULL, 38_312_960), _record("bidir_cpc_tiny", TINY, 38_016))
}
