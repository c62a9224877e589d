"""HARES: twelve tasks that say how universal an audio representation is (the paper, section 2). No TFX."""

import os

# TensorFlow reads it when it is first imported. Without oneDNN, which it takes by itself only on CPUs with AVX-512, it
# has no gradient of grouped convolutions, and the NFNets cannot be trained.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
