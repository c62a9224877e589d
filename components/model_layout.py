"""Where the Trainer's artifacts hold what."""

import os


def untrained_model_dir(model_run_uri: str) -> str:
    """SavedModel of the encoder before training, inside the ModelRun artifact."""
    return os.path.join(model_run_uri, "untrained")


def bfloat16_model_dir(model_run_uri: str) -> str:
    """SavedModel of the trained encoder that computes in bfloat16, inside the ModelRun artifact."""
    return os.path.join(model_run_uri, "bfloat16")


def logs_dir(model_run_uri: str) -> str:
    """TensorBoard logs, inside the ModelRun artifact."""
    return os.path.join(model_run_uri, "logs")


def summary_path(model_run_uri: str) -> str:
    """Summary of the training run as JSON, inside the ModelRun artifact."""
    return os.path.join(model_run_uri, "summary.json")
