"""ResNet-50 over a log-mel spectrogram, as over an image.

Paper, table 2 (ResNet50 [19]). Keras applications' network with one input channel: 23,501,760 parameters (the
paper's 23m). `resnet50_tiny` is the same network with an eighth of the channels.

Deviations from Keras' network are those of `_keras_application.py`; the one that shows in the count is that
convolutions have no bias, as in the network's original, since a batch normalisation follows each.
"""

from __future__ import annotations

import tensorflow as tf

from models.encoder import EncoderRecord
from models.encoders._keras_application import KerasApplication

WIDTH = 2048


def _record(name: str, width_divisor: int, parameters: int) -> EncoderRecord:
    return EncoderRecord(
        name=name,
        input_kind="log_mel",
        embedding_size=WIDTH // width_divisor,
        parameters=parameters,
        build=lambda seed: KerasApplication(
            "resnet50", tf.keras.applications.ResNet50, seed, width_divisor=width_divisor
        ),
        batch_normalised=True,
    )


ENCODERS = {
    record.name: record
    for record in (_record("resnet50", 1, 23_501_760), _record("resnet50_tiny", 8, 373_368))
}
