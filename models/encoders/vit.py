"""ViT: a transformer over 16x16 patches of a log-mel spectrogram.

Paper, table 2 (ViT-Base); Dosovitskiy et al., "An image is worth 16x16 words". `vit_base` has 85,326,336 parameters
(the paper's 86m): with a table of 19 x 5 positions, that of the paper's crops of 3 s (298 frames) and 80 mel bins.
`vit_tiny` is the same code with small numbers (it is not the ViT-Ti of the literature).

- The patches are cut time outer, frequency inner. The embedding is the mean of their last, normalised states: "global
  average pooling is applied to the representations from the last layer" (section 3). So there is no class token, as in
  the original code's own variant with that pooling (`classifier='gap'`).
- Blocks normalise before attention and before the MLP; GELU is exact.
- Clips whose frames or mel bins are no multiple of 16 are filled up at the end with zeros, which is the mean of a
  standardised clip.
- For other numbers of patches the table of positions is interpolated linearly in both directions, ends meeting ends,
  so a place in the table stands for a share of the clip, and of the mel range, whatever their sizes. Weights and
  their number are the same for all sizes.

Left open by the paper: dropout and stochastic depth are off. First kernels are normal with deviation 0.02 (the
original's truncate them), the patches' with variance one over the fan-in.

Shapes: `b` batch, `t` frames, `f` mel bins, `p` patches, `h` heads, `c` channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.encoders._normalizer_free import fan_in_normal
from models.encoders._plain_layers import Dense, LayerNorm, pad_to_multiple, require_log_mel

EPSILON = 1e-6
INITIAL_DEVIATION = 0.02


@dataclass(frozen=True)
class ViTConfig:
    """Numbers of the network; the defaults are those of ViT-Base.

    Attributes:
        width: channels of a patch, and d.
        depth: blocks.
        heads: of the attention; they share the channels.
        mlp_width: hidden channels of the MLP.
        patch: frames and mel bins of a patch.
        positions: patches in (time, frequency) of the table of positions.
    """

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    patch: int = 16
    positions: tuple[int, int] = (19, 5)


class Attention(tf.keras.layers.Layer):
    """Self-attention; softmax in float32. One kernel makes queries, keys and values, in that order."""

    def __init__(self, name: str, config: ViTConfig, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        self._heads = config.heads
        self._head_width = config.width // config.heads
        scale = INITIAL_DEVIATION * np.sqrt(config.width)
        self.qkv = Dense(f"{name}/qkv", config.width, 3 * config.width, seed=seed, scale=scale)
        self.proj = Dense(f"{name}/proj", config.width, config.width, seed=seed, scale=scale)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, p, c) -> (b, p, c)."""
        batch, patches = tf.shape(x)[0], tf.shape(x)[1]
        split = tf.reshape(self.qkv(x), [batch, patches, 3, self._heads, self._head_width])
        queries, keys, values = tf.unstack(tf.transpose(split, [2, 0, 3, 1, 4]))  # each (b, h, p, c / h)
        logits = tf.matmul(queries, keys, transpose_b=True) * tf.cast(self._head_width**-0.5, x.dtype)
        weights = tf.cast(tf.nn.softmax(tf.cast(logits, tf.float32)), x.dtype)
        heads = tf.transpose(tf.matmul(weights, values), [0, 2, 1, 3])
        return self.proj(tf.reshape(heads, [batch, patches, self._heads * self._head_width]))


class Block(tf.keras.layers.Layer):
    """Attention and MLP, each normalised before and added to its input."""

    def __init__(self, name: str, config: ViTConfig, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        width, hidden = config.width, config.mlp_width
        self.norm1 = LayerNorm(f"{name}/norm1", width, EPSILON)
        self.attn = Attention(f"{name}/attn", config, seed)
        self.norm2 = LayerNorm(f"{name}/norm2", width, EPSILON)
        self.fc1 = Dense(
            f"{name}/mlp/fc1", width, hidden, seed=seed, scale=INITIAL_DEVIATION * np.sqrt(width)
        )
        self.fc2 = Dense(
            f"{name}/mlp/fc2", hidden, width, seed=seed, scale=INITIAL_DEVIATION * np.sqrt(hidden)
        )

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, p, c) -> (b, p, c)."""
        x = x + self.attn(self.norm1(x))
        return x + self.fc2(tf.nn.gelu(self.fc1(self.norm2(x)), approximate=False))


class ViT(Encoder):
    """Vision transformer that averages over its patches.

    `encoder(x)` takes standardised log-mel (b, t, f, 1), any t and f, and returns `embedding`: (b, d) float32. It
    needs no noise. It computes in the Keras policy it was built under; normalisations and the softmax are always
    float32.

    Args:
        config: the numbers.
        seed: of the first weights.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self, config: ViTConfig, seed: int, dtype: tf.keras.mixed_precision.Policy | None = None
    ) -> None:
        super().__init__(name="vit", dtype=dtype)
        self._config = config
        width = config.width
        shape = (1, math.prod(config.positions), width)
        self.pos_embed = _normal("pos_embed", shape, INITIAL_DEVIATION, seed)
        self.patch_embed = Dense("patch_embed/proj", config.patch**2, width, seed=seed, scale=1.0)
        self.blocks = [Block(f"blocks/{i}", config, seed) for i in range(config.depth)]
        self.norm = LayerNorm("norm", width, EPSILON)
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: an input that is not (b, t, f, 1).
        """
        require_log_mel(self.name, inputs)
        x = self.tokens(tf.cast(inputs, self.compute_dtype))
        for block in self.blocks:
            x = block(x)
        return {"embedding": tf.reduce_mean(self.norm(tf.cast(x, tf.float32)), axis=1)}

    def tokens(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, 1) -> (b, p, c): patches, with their positions."""
        side = self._config.patch
        x = pad_to_multiple(x, (side, side))
        batch, rows, columns = tf.shape(x)[0], tf.shape(x)[1] // side, tf.shape(x)[2] // side
        cut = tf.transpose(tf.reshape(x, [batch, rows, side, columns, side]), [0, 1, 3, 2, 4])
        patches = self.patch_embed(tf.reshape(cut, [batch, rows * columns, side * side]))
        return patches + tf.cast(self.position_table(rows, columns), x.dtype)

    def position_table(self, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
        """Positions of rows x columns patches, (1, p, c) float32."""
        (times, bins), width = self._config.positions, self._config.width
        table = tf.reshape(self.pos_embed, [times, bins, width])
        table = tf.einsum("rt,tfc->rfc", _interpolation(rows, times), table)
        table = tf.einsum("qf,rfc->rqc", _interpolation(columns, bins), table)
        return tf.reshape(table, [1, -1, width])


def _interpolation(wanted: tf.Tensor, stored: int) -> tf.Tensor:
    """(wanted, stored) weights of linear interpolation between cells; the identity where both are equal."""
    centres = (tf.range(tf.cast(wanted, tf.float32)) + 0.5) * (stored / tf.cast(wanted, tf.float32)) - 0.5
    centres = tf.clip_by_value(centres, 0.0, stored - 1.0)
    return tf.maximum(0.0, 1.0 - tf.abs(centres[:, tf.newaxis] - tf.range(float(stored))))


def _normal(name: str, shape: tuple[int, ...], deviation: float, seed: int) -> tf.Variable:
    unit = fan_in_normal(name, shape, seed) * np.sqrt(np.prod(shape[:-1]), dtype=np.float32)
    return tf.Variable(np.float32(deviation) * unit, name=name)


def _record(name: str, config: ViTConfig, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=config.width,
        parameters=parameters,
        build=lambda seed: ViT(config, seed),
    )


ENCODERS = {
    record.name: record
    for record in (
        _record("vit_base", ViTConfig(), 85_326_336),
        _record("vit_tiny", ViTConfig(width=96, depth=3, heads=3, mlp_width=384), 369_504),
    )
}
