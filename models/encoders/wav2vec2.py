"""wav2vec 2.0: convolutions over the waveform, then a transformer over their frames.

Paper, table 2 and reference 16 (Baevski et al., 2020). `wav2vec2_base` has 94,371,712 parameters (the paper's
95m) and computes what the published Base model computes; `wav2vec2_tiny` is the same code with small numbers.
The embedding is the mean over frames of the last layer's output, which is returned too, as `context`.

Variables have the names of the published PyTorch state (`encoder.layers.0.attention.q_proj.weight`), and its
tensors with their axes in reverse order, so a published checkpoint is loaded by transposing each array.

- The waveform is standardised inside, as published checkpoints expect: minus its mean, over its deviation.
- A window is 400 samples and frames are 320 apart: 49 frames of a second.
- `masked_spec_embed` stands in for masked frames. Only masked prediction trains it; no embedding depends on it.
- Left out: dropout (0.1 in the original). LayerDrop is drawn for each clip by itself from `noise`, not once for
  the batch, so that what is learnt does not depend on the number of replicas; its rate is the original's 0.05.

Shapes: `b` batch, `n` samples, `t` frames, `c` channels of the convolutions, `d` embedding, `h` heads.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.encoders._waveform import Conv, Dense, LayerNorm, TimeNorm, normal, standardised

_WEIGHT_DEVIATION = 0.02  # of the transformer's kernels at the start


@dataclass(frozen=True)
class Wav2Vec2Config:
    """Numbers of the network; the defaults are those of wav2vec 2.0 Base.

    Attributes:
        kernels, strides: of the convolutions.
        channels: c.
        width: d.
        layers: of the transformer.
        heads: h of each; they divide `width`.
        hidden: width of a layer's feed-forward part.
        position_kernel, position_groups: of the convolution that tells positions apart.
        layer_drop: chance to skip a layer for a clip in training.
    """

    kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    channels: int = 512
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    position_kernel: int = 128
    position_groups: int = 16
    layer_drop: float = 0.05

    @property
    def window(self) -> int:
        """Samples that one frame sees."""
        window, hop = 1, 1
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            window, hop = window + (kernel - 1) * hop, hop * stride
        return window


BASE = Wav2Vec2Config()
TINY = Wav2Vec2Config(
    channels=32, width=48, layers=2, heads=4, hidden=96, position_kernel=16, position_groups=4
)


def gelu(x: tf.Tensor) -> tf.Tensor:
    """GELU in its erf form."""
    return tf.nn.gelu(x, approximate=False)


class Positions(tf.keras.layers.Layer):
    """A wide grouped convolution with weight normalisation: one magnitude for each tap of its kernel."""

    def __init__(self, name: str, config: Wav2Vec2Config, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        width, taps = config.width, config.position_kernel
        weights = f"{name}.parametrizations.weight"
        direction = normal(
            f"{weights}.original1",
            (taps, width // config.position_groups, width),
            2.0 / np.sqrt(taps * width),
            seed,
        )
        magnitude = np.sqrt(np.square(direction).sum(axis=(1, 2), keepdims=True))
        self.magnitude = tf.Variable(magnitude, name=f"{weights}.original0")
        self.direction = tf.Variable(direction, name=f"{weights}.original1")
        self.bias = tf.Variable(tf.zeros([width]), name=f"{name}.bias")
        self._padding = taps // 2

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, d) -> (b, t, d)."""
        squares = tf.reduce_sum(tf.square(self.direction), axis=[1, 2], keepdims=True)
        kernel = tf.cast(self.direction * (self.magnitude * tf.math.rsqrt(squares)), x.dtype)
        # An even kernel needs one frame less on the right to keep the number of frames.
        padded = tf.pad(x, [[0, 0], [self._padding, self._padding - 1], [0, 0]])
        y = tf.nn.conv2d(padded[:, tf.newaxis], kernel[tf.newaxis], 1, "VALID")[:, 0]
        return gelu(y + tf.cast(self.bias, x.dtype))


class TransformerLayer(tf.keras.layers.Layer):
    """Attention and a feed-forward part, each added to its input and then normalised."""

    def __init__(self, name: str, config: Wav2Vec2Config, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        width, self._heads = config.width, config.heads

        def dense(part: str, inputs: int, outputs: int) -> Dense:
            return Dense(f"{name}.{part}", inputs, outputs, _WEIGHT_DEVIATION, seed)

        self.query, self.key, self.value, self.out = (
            dense(f"attention.{part}_proj", width, width) for part in ("q", "k", "v", "out")
        )
        self.layer_norm = LayerNorm(f"{name}.layer_norm", width)
        self.intermediate = dense("feed_forward.intermediate_dense", width, config.hidden)
        self.output_dense = dense("feed_forward.output_dense", config.hidden, width)
        self.final_layer_norm = LayerNorm(f"{name}.final_layer_norm", width)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, d) -> (b, t, d)."""
        x = self.layer_norm(x + self.attention(x))
        return self.final_layer_norm(x + self.output_dense(gelu(self.intermediate(x))))

    def attention(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, d) -> (b, t, d)."""
        b, t, width = tf.shape(x)[0], tf.shape(x)[1], x.shape[2]
        size = width // self._heads
        query, key, value = (
            tf.reshape(dense(x), [b, t, self._heads, size]) for dense in (self.query, self.key, self.value)
        )
        scores = tf.einsum("bqhs,bkhs->bhqk", query * size**-0.5, key)
        weights = tf.cast(tf.nn.softmax(tf.cast(scores, tf.float32)), x.dtype)
        mixed = tf.einsum("bhqk,bkhs->bqhs", weights, value)
        return self.out(tf.reshape(mixed, [b, t, width]))


class Wav2Vec2(Encoder):
    """The network of wav2vec 2.0, with the layer norm after each part.

    `encoder(x, training, noise)` takes waveforms (b, n) in [-1, 1] at 16 kHz, any n from 400, and returns
    `embedding`: (b, d), and `context`: (b, t, d), both float32. Masked prediction needs the two halves by
    themselves: `latents`, and `contextualise` with a mask.

    It computes in the Keras policy it was built under (float32 or mixed_bfloat16); normalisation, attention
    weights and the mean over frames are always float32.

    Args:
        config: the numbers.
        seed: of the initial weights, which depend on (seed, variable name) alone.

    Attributes:
        masked_only: names of variables that only masked prediction trains.
    """

    masked_only = ("masked_spec_embed",)

    def __init__(self, config: Wav2Vec2Config, seed: int) -> None:
        super().__init__(name="wav2vec2")
        self._config = config
        self.convs = []
        for i, (kernel, stride) in enumerate(zip(config.kernels, config.strides, strict=True)):
            name = f"feature_extractor.conv_layers.{i}.conv"
            inputs = config.channels if i else 1
            self.convs.append(Conv(name, inputs, config.channels, kernel, stride=stride, seed=seed))
        self.first_norm = TimeNorm("feature_extractor.conv_layers.0.layer_norm", config.channels)
        self.latent_norm = LayerNorm("feature_projection.layer_norm", config.channels)
        self.projection = Dense(
            "feature_projection.projection", config.channels, config.width, config.channels**-0.5, seed
        )
        generator = np.random.Generator(np.random.PCG64([seed, zlib.crc32(b"masked_spec_embed")]))
        self.masked_spec_embed = tf.Variable(
            generator.random(config.width, np.float32), name="masked_spec_embed"
        )
        self.positions = Positions("encoder.pos_conv_embed.conv", config, seed)
        self.layer_norm = LayerNorm("encoder.layer_norm", config.width)
        self.transformer = [
            TransformerLayer(f"encoder.layers.{i}", config, seed) for i in range(config.layers)
        ]
        self.noise_size = config.layers if config.layer_drop > 0 else 0
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: training without noise (b, layers), or an input that is not (b, n) with n from 400.
        """
        context = self.contextualise(self.normalised(self.latents(inputs)), training, noise)
        return {"embedding": tf.reduce_mean(context, axis=1), "context": context}

    def latents(self, waveform: tf.Tensor) -> tf.Tensor:
        """(b, n) -> (b, t, c): what the convolutions make of the waveform, in the compute type."""
        x = standardised(self.name, waveform, self._config.window)
        x = tf.cast(x[..., tf.newaxis], self.compute_dtype)
        x = gelu(self.first_norm(self.convs[0](x)))
        for conv in self.convs[1:]:
            x = gelu(conv(x))
        return x

    def normalised(self, latents: tf.Tensor) -> tf.Tensor:
        """(b, t, c) -> (b, t, c): latents as the transformer, and the targets of masked prediction, see them."""
        return self.latent_norm(latents)

    def contextualise(
        self,
        normalised: tf.Tensor,
        training: bool = False,
        noise: tf.Tensor | None = None,
        mask: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """The transformer over normalised latents (b, t, c) -> (b, t, d) float32.

        Args:
            normalised: see `normalised`.
            training: whether layers are dropped.
            noise: (b, layers) uniform in [0, 1), in training.
            mask: (b, t) bool, frames that the transformer must do without; None for none.
        """
        x = self.projection(normalised)
        if training and mask is None:  # gives `masked_spec_embed` its gradient, which is zero
            mask = tf.zeros(tf.shape(x)[:2], tf.bool)
        if mask is not None:
            x = tf.where(mask[..., tf.newaxis], tf.cast(self.masked_spec_embed, x.dtype), x)
        x = self.layer_norm(x + self.positions(x))
        kept = self._kept(noise) if training and self.noise_size else None
        for i, layer in enumerate(self.transformer):
            y = layer(x)
            x = y if kept is None else tf.where(kept[:, i, tf.newaxis, tf.newaxis], y, x)
        return tf.cast(x, tf.float32)

    def _kept(self, noise: tf.Tensor | None) -> tf.Tensor:
        """(b, layers) bool: which layers see which clip."""
        if noise is None or noise.shape[-1] not in (None, self.noise_size):
            got = "none" if noise is None else noise.shape
            raise ValueError(f"wav2vec2: training needs noise (b, {self.noise_size}) in [0, 1), got {got}")
        return tf.cast(noise, tf.float32) < 1.0 - self._config.layer_drop


def _record(name: str, config: Wav2Vec2Config, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="waveform",
        embedding_size=config.width,
        parameters=parameters,
        frames="masked",
        latent_size=config.channels,
        build=lambda seed: Wav2Vec2(config, seed),
    )


ENCODERS = {
    record.name: record
    for record in (_record("wav2vec2_base", BASE, 94_371_712), _record("wav2vec2_tiny", TINY, 65_760))
}
