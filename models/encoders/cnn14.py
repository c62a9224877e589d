"""CNN14: six blocks of 3x3 convolutions over a log-mel spectrogram, as over an image.

Paper, table 2 (CNN14); Kong et al., "PANNs: large-scale pretrained audio neural networks". `cnn14` computes what
PANNs' network does without its classifier: 79,673,824 parameters at 80 mel bins, and two fewer for each bin fewer
(the first normalisation has a scale and a shift a bin), so 79,673,792 at PANNs' 64. The paper's 71m comes from none
of its parts: without the last dense layer there are 75,477,472. `cnn14_tiny` is the same code with small numbers.

- The first normalisation is of each mel bin over batch and time, so the encoder takes the number of bins from its
  first input, and later inputs must have as many.
- Pools halve time and frequency five times and round down. Clips of fewer than 32 frames, or bins, are filled with
  zeros, which is the mean of a standardised clip.
- The embedding is the activated dense layer of PANNs' embedding, 2048 numbers.

Deviations from PANNs' network: dropout (0.2 after each block, 0.5 at the dense layer) is left out, because what an
update draws must be a function of (seed, step, example), and one example would need as many numbers as it has
activations. First kernels are normal with the variance of PANNs' uniform ones (Xavier).

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels are (time, frequency).
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.encoders._batch_norm import BatchNorm
from models.encoders._plain_layers import Conv, Dense, at_least, max_and_mean, require_log_mel, xavier_scale

MOMENTUM = 0.9
EPSILON = 1e-5


@dataclass(frozen=True)
class CNN14Config:
    """Numbers of the network: channels by block; the last are those of the embedding too."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)


class ConvBlock(tf.keras.layers.Layer):
    """Two 3x3 convolutions, each normalised and rectified, then 2x2 means where `pools`."""

    def __init__(self, name: str, in_channels: int, out_channels: int, pools: bool, seed: int) -> None:
        super().__init__(name=name, autocast=False)
        self._pools = pools
        self.convs, self.norms = [], []
        for place, channels in ((1, in_channels), (2, out_channels)):
            self.convs.append(
                Conv(
                    f"{name}/conv{place}",
                    channels,
                    out_channels,
                    (3, 3),
                    seed=seed,
                    scale=xavier_scale(channels, out_channels),
                    bias=False,
                )
            )
            self.norms.append(
                BatchNorm(f"{name}/bn{place}", out_channels, momentum=MOMENTUM, epsilon=EPSILON)
            )

    def call(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        """(b, t, f, in) -> (b, t // 2, f // 2, out), or (b, t, f, out) where it does not pool."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = tf.nn.relu(norm(conv(x), training=training))
        return tf.nn.avg_pool2d(x, 2, 2, "VALID") if self._pools else x


class CNN14(Encoder):
    """PANNs' CNN14 without its classifier.

    `encoder(x, training)` takes standardised log-mel (b, t, f, 1), any t, and the f of its first input. It returns
    `embedding`: (b, d) float32, and needs no noise. It computes in the Keras policy it was built under; statistics,
    pooling and the dense layer are always float32.

    Args:
        config: the numbers.
        seed: of the first weights.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self, config: CNN14Config, seed: int, dtype: tf.keras.mixed_precision.Policy | None = None
    ) -> None:
        super().__init__(name="cnn14", dtype=dtype)
        widths = config.widths
        self._shrinks = 2 ** (len(widths) - 1)
        self.blocks = [
            ConvBlock(f"conv_block{i + 1}", before, after, i < len(widths) - 1, seed)
            for i, (before, after) in enumerate(zip((1, *widths[:-1]), widths, strict=True))
        ]
        size = widths[-1]
        self.fc1 = Dense("fc1", size, size, seed=seed, scale=xavier_scale(size, size))

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the normalisation of mel bins; Keras calls it at the first input."""
        # Keras would put the encoder's own name before those of the variables.
        with tf.name_scope(""):
            self.bn0 = BatchNorm("bn0", input_shape[2], momentum=MOMENTUM, epsilon=EPSILON)
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: an input that is not (b, t, f, 1), or has another f than the first one.
        """
        require_log_mel(self.name, inputs)
        bins = self.bn0.gamma.shape[0]
        if inputs.shape[2] != bins:
            raise ValueError(
                f"cnn14: it was made for {bins} mel bins and got {inputs.shape[2]}; build another encoder"
            )
        x = tf.cast(inputs, self.compute_dtype)
        by_bin = self.bn0(tf.transpose(x, [0, 1, 3, 2]), training=training)  # (b, t, 1, f)
        x = at_least(tf.transpose(by_bin, [0, 1, 3, 2]), self._shrinks, self._shrinks)
        for block in self.blocks:
            x = block(x, training)
        pooled = max_and_mean(tf.reduce_mean(tf.cast(x, tf.float32), axis=2))  # (b, c)
        return {"embedding": tf.nn.relu(self.fc1(pooled))}


def _record(name: str, config: CNN14Config, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=config.widths[-1],
        parameters=parameters,
        build=lambda seed: CNN14(config, seed),
        batch_normalised=True,
        mel_bins=80,
    )


ENCODERS = {
    record.name: record
    for record in (
        _record("cnn14", CNN14Config(), 79_673_824),
        _record("cnn14_tiny", CNN14Config((8, 12, 16, 24, 32, 48)), 69_240),
    )
}
