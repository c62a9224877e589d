"""EfficientNet-B0 over a log-mel spectrogram, as over an image.

Paper, table 2 (EfficientNet-B0, as in COLA [8]). Keras applications' network with one input channel and without its
rescaling and normalisation of pixels: 4,006,972 parameters (the paper's 4.0m). `efficientnet_b0_tiny` is the same
network with a quarter of the channels; `efficientnet_b0_max` takes the maximum of the last map, as COLA's public code
does, where this paper takes the average.

Stochastic depth is Keras': from 0 to almost 0.2, rescaled in training. Other deviations are those of
`_keras_application.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from models.encoder import EncoderRecord
from models.encoders._keras_application import KerasApplication, global_maximum
from models.encoders._normalizer_free import global_average

WIDTH = 1280


def _record(
    name: str,
    parameters: int,
    width_divisor: int = 1,
    pool: Callable[[tf.Tensor], tf.Tensor] = global_average,
) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=WIDTH // width_divisor,
        parameters=parameters,
        build=lambda seed: KerasApplication(
            "efficientnet_b0",
            tf.keras.applications.EfficientNetB0,
            seed,
            width_divisor=width_divisor,
            pool=pool,
        ),
        batch_normalised=True,
    )


ENCODERS = {
    record.name: record
    for record in (
        _record("efficientnet_b0", 4_006_972),
        _record("efficientnet_b0_max", 4_006_972, pool=global_maximum),
        _record("efficientnet_b0_tiny", 294_053, width_divisor=4),
    )
}
