"""A plugin for `hares run`: an encoder of one dense layer, so that the matrix spends its time on faults.

The mean of each band over time, through a dense layer: (b, t, 80, 1) -> (b, 16), 1,296 parameters. What is tried is
the chain around the encoder, which is the same for all of them.
"""

from __future__ import annotations

import tensorflow as tf

from models.encoder import Encoder, EncoderRecord

MELS, SIZE = 80, 16


class MeanBands(Encoder):
    """See the module."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="mean_bands")
        self.dense = tf.keras.layers.Dense(SIZE, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

    def call(self, inputs: tf.Tensor, training: bool = False, noise: tf.Tensor | None = None) -> dict:
        return {"embedding": self.dense(tf.reduce_mean(inputs, axis=[1, 3]))}


ENCODERS = {"mean_bands": EncoderRecord("mean_bands", "log_mel", SIZE, MELS * SIZE + SIZE, MeanBands)}
