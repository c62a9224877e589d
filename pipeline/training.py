"""`run_fn` of the Trainer: `pipeline.pretraining`, with a place for its checkpoints, and watched.

Checkpoints live under a digest of settings, code and data, so that a run that was killed finds its own and never
another's. Progress goes to whoever listens, pictures to TensorBoard, hours into the summary. Nothing here decides a
number of the model, so a change here trains nothing anew: the Trainer's key begins at `pipeline.pretraining`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from typing import Any

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components.model_layout import summary_path
from models.plugin import load_plugin
from models.training.loop import FREE_SETTINGS, Progress
from models.training.pictures import ViewPictures
from pipeline.listener import tell
from pipeline.pretraining import export_untrained, pretrain, record_files
from pipeline.training_cost import TrainingClock, hardware, replicas
from pipeline.workspace import CHECKPOINT_DATA

_LOG = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Entry point of TFX's Trainer.

    `fn_args.custom_config` holds what `pipeline.pretraining` reads, and "code_digest" (all that decides the outputs),
    "checkpoint_code" (what decides the weights), "plugins" (path and digest of each) and "checkpoints" (the folder of
    all runs' checkpoints).

    Raises:
        ValueError: Transform wrote no records to train on, or the weights to start from are not those any more that
            were there when the run was submitted.
    """
    custom = fn_args.custom_config
    for path, digest in custom["plugins"]:  # a worker of its own has not loaded them yet
        load_plugin(path, digest)
    files = record_files(fn_args)
    export_untrained(fn_args)
    checkpoints = os.path.join(custom["checkpoints"], _run_digest(custom, files))
    _name_data(checkpoints, os.path.dirname(files[0]))
    clock = TrainingClock(checkpoints)

    def report(progress: Progress) -> None:
        clock.save()
        _tell_progress(progress)

    summary = pretrain(fn_args, files, checkpoints, report, ViewPictures)
    clock.save()
    watched = {
        "hardware": hardware(),
        "replicas": replicas(custom["training"]["strategy"]),
        "step_hours": clock.seconds / 3600,
        "checkpoints": os.path.basename(checkpoints),
    }
    with tf.io.gfile.GFile(summary_path(fn_args.model_run_dir), "w") as file:
        file.write(json.dumps({**summary, **watched}, indent=1))


def _name_data(checkpoints: str, examples: str) -> None:
    """Leaves beside the checkpoints which records they stand on: without those no run can go on from them."""
    path = os.path.join(checkpoints, CHECKPOINT_DATA)
    if not tf.io.gfile.exists(path):
        tf.io.gfile.makedirs(checkpoints)
        with tf.io.gfile.GFile(path, "w") as file:
            file.write(examples)


def _tell_progress(progress: Progress) -> None:
    minutes, seconds = divmod(round(progress.eta_seconds), 60)
    text = (
        f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  "
        f"{progress.clips_per_second:.0f} clips/s  {minutes}:{seconds:02d} left"
    )
    _LOG.info(text)
    tell(progress.step / progress.steps, text)


def _run_digest(custom: dict[str, Any], files: list[str]) -> str:
    """Names a run's checkpoints. An artifact's folder is written once, so the files' paths stand for the data.

    Settings that do not change the result are left out, so that a run goes on under other ones. So is code that does
    not: what exports, records or shows a model may change while it is trained.
    """
    content = {
        "training": {name: value for name, value in custom["training"].items() if name not in FREE_SETTINGS},
        "frontend": custom["frontend"],
        "code": custom["checkpoint_code"],
        "warm_start": custom["warm_start"],
        "data": [(file, tf.io.gfile.stat(file).length) for file in files],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
