"""BYOL-A's network: three small convolutions, then two dense layers on the features of each frame.

Paper, table 2 (BYOL-A); Niizumi et al., "BYOL for audio" (AudioNTT2020, d = 2048). `byola_cnn` has 5,321,856
parameters at BYOL-A's 64 mel bins (the paper's 5.3m) and 5,584,000 at 80: its first dense layer sees every bin, so
each eight bins bring a row for each of 64 channels. The encoder takes the number of bins from its first input, and
later inputs must have as many; bins beyond a multiple of eight are not seen. `byola_cnn_tiny` is the same code with
small numbers.

- Pools halve time and frequency three times and round down. Clips of fewer than 8 frames are filled with zeros.
- Convolutions have a bias, as the original's do; in training the normalisation takes it away again.
- The embedding is the maximum over time plus the mean over time.

Deviation from BYOL-A's network: the dropout (0.3) between the dense layers is left out, because what an update draws
must be a function of (seed, step, example), and one example would need 2048 numbers a frame. Left open by the
paper: first kernels are He's normal ones.

Shapes: `b` batch, `t` frames, `f` mel bins, `c` channels; kernels are (time, frequency).
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord
from models.encoders._batch_norm import BatchNorm
from models.encoders._plain_layers import HE_SCALE, Conv, Dense, at_least, max_and_mean, require_log_mel

MOMENTUM = 0.9
EPSILON = 1e-5
BLOCKS = 3
MEL_BINS = 64


@dataclass(frozen=True)
class BYOLAConfig:
    """Numbers of the network.

    Attributes:
        channels: of each convolution.
        width: of both dense layers, and d.
    """

    channels: int = 64
    width: int = 2048


class BYOLACNN(Encoder):
    """BYOL-A's AudioNTT2020.

    `encoder(x, training)` takes standardised log-mel (b, t, f, 1), any t, and the f of its first input. It returns
    `embedding`: (b, d) float32, and needs no noise. It computes in the Keras policy it was built under; statistics
    and pooling over time are always float32.

    Args:
        config: the numbers.
        seed: of the first weights.
        dtype: Keras policy; None takes the global one.
    """

    def __init__(
        self, config: BYOLAConfig, seed: int, dtype: tf.keras.mixed_precision.Policy | None = None
    ) -> None:
        super().__init__(name="byola_cnn", dtype=dtype)
        self._config, self._seed = config, seed
        channels = config.channels
        # The numbers in the names are places in the original's list of layers.
        self.convs = [
            Conv(
                f"features/{4 * i}",
                channels if i else 1,
                channels,
                (3, 3),
                seed=seed,
                scale=HE_SCALE,
                bias=True,
            )
            for i in range(BLOCKS)
        ]
        self.norms = [
            BatchNorm(f"features/{4 * i + 1}", channels, momentum=MOMENTUM, epsilon=EPSILON)
            for i in range(BLOCKS)
        ]
        self.fc3 = Dense("fc/3", config.width, config.width, seed=seed, scale=HE_SCALE)

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the dense layer that sees the mel bins; Keras calls it at the first input."""
        self._mel_bins = input_shape[2]
        features = self._config.channels * max(1, self._mel_bins // 2**BLOCKS)
        # Keras would put the encoder's own name before those of the variables.
        with tf.name_scope(""):
            self.fc0 = Dense("fc/0", features, self._config.width, seed=self._seed, scale=HE_SCALE)
        self.built = True

    def call(
        self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Runs the network; shapes are those of the class.

        Raises:
            ValueError: an input that is not (b, t, f, 1), or has another f than the first one.
        """
        require_log_mel(self.name, inputs)
        if inputs.shape[2] != self._mel_bins:
            raise ValueError(
                f"byola_cnn: it was made for {self._mel_bins} mel bins and got {inputs.shape[2]}; build another "
                "encoder"
            )
        x = at_least(tf.cast(inputs, self.compute_dtype), 2**BLOCKS, 2**BLOCKS)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = tf.nn.relu(norm(conv(x), training=training))
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        frames = tf.reshape(x, [tf.shape(x)[0], -1, x.shape[2] * x.shape[3]])  # mel outer, channel inner
        frames = tf.nn.relu(self.fc3(tf.nn.relu(self.fc0(frames))))  # (b, t // 8, d)
        return {"embedding": max_and_mean(frames)}


def _record(name: str, config: BYOLAConfig, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=config.width,
        parameters=parameters,
        build=lambda seed: BYOLACNN(config, seed),
        batch_normalised=True,
        mel_bins=MEL_BINS,
    )


ENCODERS = {
    record.name: record
    for record in (
        _record("byola_cnn", BYOLAConfig(), 5_321_856),
        _record("byola_cnn_tiny", BYOLAConfig(channels=16, width=128), 37_920),
    )
}
