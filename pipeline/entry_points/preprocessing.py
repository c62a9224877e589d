"""The function that Transform calls."""

from pipeline.preprocessing import preprocessing_fn

__all__ = ["preprocessing_fn"]
