"""Learning rate of all pretraining: linear warm-up from 0, then cosine to 0 (paper, appendix C)."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf


class WarmupCosine(tf.keras.optimizers.schedules.LearningRateSchedule):
    """Linear from 0 to `peak` over `warmup_steps`, then a half cosine down to 0 at `steps`.

    Step 0 therefore has a learning rate of 0, as the paper's wording has it.

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
