"""What the training tests share: tiny encoders, records, and a digest of weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.encoder import Encoder, EncoderRecord


class ToyEncoder(Encoder):
    noise_size = 2

    def __init__(self, seed: int) -> None:
        super().__init__(name="toy")
        initializer = tf.keras.initializers.GlorotUniform
        self._conv = tf.keras.layers.Conv2D(
            6,
            (5, 8),
            strides=(2, 4),
            activation="gelu",
            kernel_initializer=initializer(seed=seed),
            name="conv",
        )
        self._dense = tf.keras.layers.Dense(10, kernel_initializer=initializer(seed=seed + 1), name="dense")

    def call(self, inputs, training=False, noise=None):
        hidden = tf.reduce_mean(self._conv(inputs), axis=[1, 2])
        if training:
            hidden *= tf.cast(tf.where(noise[:, :1] < 0.9, 1.0, 0.5), hidden.dtype)
        return {"embedding": tf.cast(self._dense(hidden), tf.float32)}


class ToyWaveEncoder(Encoder):
    """Log magnitudes of learnt filters of 64 samples, averaged over time, standardised, and two dense layers."""

    def __init__(self, seed: int) -> None:
        super().__init__(name="toy_wave")
        initializer = tf.keras.initializers.GlorotUniform
        self._filters = tf.keras.layers.Conv1D(64, 64, strides=16, kernel_initializer=initializer(seed=seed))
        self._hidden = tf.keras.layers.Dense(64, "gelu", kernel_initializer=initializer(seed=seed + 1))
        self._dense = tf.keras.layers.Dense(32, kernel_initializer=initializer(seed=seed + 2))

    def call(self, inputs, training=False, noise=None):
        heard = tf.reduce_mean(tf.abs(self._filters(inputs[..., tf.newaxis])), axis=1)
        heard = tf.math.log(tf.cast(heard, tf.float32) + 1e-4)
        mean, variance = tf.nn.moments(heard, axes=[1], keepdims=True)
        hidden = self._hidden((heard - mean) * tf.math.rsqrt(variance + 1e-3))
        return {"embedding": tf.cast(self._dense(hidden), tf.float32)}


RECORD = EncoderRecord("toy", "log_mel", embedding_size=10, parameters=316, build=ToyEncoder)
WAVE_RECORD = EncoderRecord("toy_wave", "waveform", embedding_size=32, parameters=10400, build=ToyWaveEncoder)


def serialize(clip_id: str, content: np.ndarray, labels: Sequence[int], kind: str = "log_mel") -> bytes:
    if kind == "log_mel":
        data = tf.io.serialize_tensor(content.astype(np.float16)).numpy()
    else:
        data = content.astype("<i2").tobytes()
    feature = {
        "clip_id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[clip_id.encode()])),
        "group": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"speaker"])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=labels)),
        kind: tf.train.Feature(bytes_list=tf.train.BytesList(value=[data])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(path: Path, records: Sequence[bytes]) -> str:
    compression = "GZIP" if path.suffix == ".gz" else ""
    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            writer.write(record)
    return str(path)


def write_random_clips(folder: Path, files: int = 3, clips: int = 7) -> list[str]:
    rng = np.random.default_rng(0)
    paths = []
    for file in range(files):
        contents = [rng.normal(size=(int(rng.integers(5, 60)), 80)) for _ in range(clips)]
        records = [serialize(f"{file}-{i}", content, range(i % 3)) for i, content in enumerate(contents)]
        paths.append(write(folder / f"clips-{file}.tfrecord", records))
    return paths


def weights_digest(result) -> str:
    digest = hashlib.sha256()
    for variable in [*result.encoder.variables, *result.objective.variables]:
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
