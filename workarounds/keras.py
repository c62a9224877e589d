"""Keras, tried on 2.15 (TensorFlow 2.15.1)."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def create_slots(optimizer: tf.keras.optimizers.legacy.Optimizer, variables: Sequence[tf.Variable]) -> None:
    """Creates an optimizer's slot variables now, not at its first step, so a checkpoint restores into them at once.

    Unnecessary with the optimizers of Keras 3: their `build(variables)` is public.
    """
    optimizer._create_all_weights(variables)
