"""An encoder of three numbers a waveform: in numpy, and in TensorFlow as the models under test compute it."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from hares.preflight import synthetic_crops

WAVES = synthetic_crops(1.0)


def features(waveforms: np.ndarray) -> np.ndarray:
    """Three numbers a waveform, which every model below computes too."""
    return np.stack(
        [waveforms.mean(1), np.abs(waveforms).mean(1), np.square(waveforms).mean(1)], axis=1
    ).astype(np.float32)


def tf_features(waveforms: tf.Tensor) -> tf.Tensor:
    """The same of tensors."""
    parts = [tf.reduce_mean(f(waveforms), axis=-1) for f in (tf.identity, tf.abs, tf.square)]
    return tf.stack(parts, axis=-1)
