"""The function that the Trainer calls."""

from pipeline.training import run_fn

__all__ = ["run_fn"]
