"""The number type that an encoder computes in; its weights are float32 whichever it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def computing_in(compute_dtype: str) -> Iterator[None]:
    """Keras layers made inside compute in "float32" or "bfloat16", and keep float32 weights."""
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy(
        "float32" if compute_dtype == "float32" else f"mixed_{compute_dtype}"
    )
    try:
        yield
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
