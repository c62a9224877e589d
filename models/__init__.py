"""Encoders, objectives and their training, in TensorFlow alone."""

import importlib.util
import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # `hares/__init__.py` says why

# From TensorFlow 2.16 on `tf.keras` is Keras 3, unless this is set before it is first used. Our networks are of Keras
# 2, which is then the package tf_keras. `hares` leaves `tf.keras` alone: an encoder that it scores may be of Keras 3.
if importlib.util.find_spec("tf_keras") is not None:
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
