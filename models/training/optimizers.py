"""The optimizers of pretraining: Adam (paper, section 3) or LAMB for large batches, and their learning rate.

Adam has the defaults of its paper (0.9, 0.999, epsilon 1e-8; Keras' own epsilon is 1e-7). LAMB is TensorFlow
Addons' (`workarounds.addons`); it has no weight decay, so that it differs from Adam in the layer-wise step alone.

LAMB gives a layer's step the length of its weights. What starts at zero would never leave it: the gains that open the
residual branches of a normaliser-free network (paper, appendix C), the last kernels of branches that start closed.
Such weights, and scalars and vectors (biases, gains) as in LARS and in LAMB's own BERT, take Adam's step.

Both are Keras optimizers of the TF 2.0 kind: Adam's is one fused kernel a variable, LAMB exists in no other,
and their slots can be made before a checkpoint is restored, so that damage in it is seen at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from models.training.config import TrainingConfig
from workarounds.addons import lamb
from workarounds.keras import create_slots


class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `peak` over `warmup_steps`, then a half cosine to 0 at `steps` (paper, appendix C).

    So step 0 has a learning rate of 0, as the paper words it.

    Args:
        peak: learning rate at step `warmup_steps`.
        warmup_steps: at most `steps`; 0 for no warm-up.
        steps: length of the run.

    Raises:
        ValueError: the warm-up is longer than the run.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int) -> None:
        super().__init__()
        if not 0 <= warmup_steps <= steps:
            raise ValueError(f"schedule: warmup_steps={warmup_steps} must lie in 0..steps ({steps})")
        self._peak = peak
        self._warmup_steps = warmup_steps
        self._steps = steps

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """Learning rate (scalar float32) of the update that starts after `step` updates."""
        step = tf.cast(step, tf.float32)
        warmup = step / max(1, self._warmup_steps)
        decayed = (step - self._warmup_steps) / max(1, self._steps - self._warmup_steps)
        cosine = 0.5 * (1.0 + tf.cos(math.pi * tf.clip_by_value(decayed, 0.0, 1.0)))
        return self._peak * tf.where(step < self._warmup_steps, warmup, cosine)

    def get_config(self) -> dict[str, Any]:
        """Arguments that build this schedule again (asked for by Keras)."""
        return {"peak": self._peak, "warmup_steps": self._warmup_steps, "steps": self._steps}


def build_optimizer(
    config: TrainingConfig, variables: Sequence[tf.Variable]
) -> tf.keras.optimizers.legacy.Optimizer:
    """The optimizer of `config`, with its slots for `variables`; call under the strategy's scope.

    The variables must have their initial values: LAMB takes those of them that are zero in Adam's steps.

    Raises:
        ValueError: no optimizer has this name.
    """
    schedule = WarmupCosine(config.peak_learning_rate, config.warmup_steps, config.steps)
    if config.optimizer == "adam":
        optimizer = tf.keras.optimizers.legacy.Adam(schedule, epsilon=1e-8)
    elif config.optimizer == "lamb":
        optimizer = lamb(schedule, _unadapted(variables))
    else:
        raise ValueError(f"training: optimizer={config.optimizer!r} is not accepted; give adam or lamb")
    create_slots(optimizer, variables)
    return optimizer


def _unadapted(variables: Sequence[tf.Variable]) -> list[str]:
    """Names of the weights whose length says nothing about how long their steps should be."""
    return [v.name for v in variables if v.shape.rank < 2 or not np.any(v.numpy())]
