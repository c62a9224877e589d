"""HARES: twelve tasks that say how universal an audio representation is (the paper, section 2). No TFX.

`hares.evaluate` scores an encoder; `hares.api` says how.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

# TensorFlow reads it when it is first imported. Without oneDNN, which it takes by itself only on CPUs with AVX-512, it
# has no gradient of grouped convolutions, and the NFNets cannot be trained.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__all__ = ["Result", "TaskResult", "evaluate"]

if TYPE_CHECKING:
    from hares.api import Result, TaskResult, evaluate


def __getattr__(name: str) -> Any:
    """Imports the API, and TensorFlow with it, when it is first used."""
    if name in __all__:
        return getattr(importlib.import_module("hares.api"), name)
    raise AttributeError(f"module 'hares' has no attribute {name!r}")
