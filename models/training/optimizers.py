"""The optimizers of pretraining: Adam (paper, section 3), and LAMB for large batches.

Adam has the defaults of its paper (0.9, 0.999, epsilon 1e-8; Keras' own epsilon is 1e-7). LAMB is TensorFlow
Addons', and this is one of the two files that import that package; it has no weight decay, so that it differs
from Adam in the layer-wise step alone.

Both are Keras optimizers of the TF 2.0 kind: Adam's is one fused kernel a variable, LAMB exists in no other,
and their slots can be made before a checkpoint is restored, so that damage in it is seen at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from models.training.config import TrainingConfig
from models.training.schedule import WarmupCosine
from workarounds.keras import create_slots


def build_optimizer(
    config: TrainingConfig, variables: Sequence[tf.Variable]
) -> tf.keras.optimizers.legacy.Optimizer:
    """The optimizer of `config`, with its slots for `variables`; call under the strategy's scope.

    Raises:
        ValueError: no optimizer has this name.
    """
    schedule = WarmupCosine(config.peak_learning_rate, config.warmup_steps, config.steps)
    if config.optimizer == "adam":
        optimizer = tf.keras.optimizers.legacy.Adam(schedule, epsilon=1e-8)
    elif config.optimizer == "lamb":
        # Imported on use: Addons warns at import that its development has ended.
        from tensorflow_addons.optimizers import LAMB

        optimizer = LAMB(schedule)
    else:
        raise ValueError(f"training: optimizer={config.optimizer!r} is not accepted; give adam or lamb")
    create_slots(optimizer, variables)
    return optimizer
