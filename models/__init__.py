"""Encoders, objectives and their training, in TensorFlow alone."""

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # `hares/__init__.py` says why
