"""`run_fn` of the Trainer: runs `pipeline.pretraining`, keeps its checkpoints and records its cost.

Checkpoints live under a digest of settings, code and data, so a run that was killed finds its own and never another's.
Progress goes to the listener, pictures go to TensorBoard, and the hours of all steps into the summary. Nothing here
decides a number of the model, so a change here retrains nothing: the Trainer's key begins at `pipeline.pretraining`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from typing import Any

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components.model_layout import summary_path
from hares.atomic_files import write_atomically
from models.training.distribution import make_strategy
from models.training.loop import FREE_SETTINGS, Progress
from models.training.pictures import ViewPictures
from pipeline.listener import tell
from pipeline.plugin import load_plugin
from pipeline.pretraining import export_untrained, pretrain, record_files
from pipeline.workspace import CHECKPOINT_DATA

_LOG = logging.getLogger(__name__)
_SECONDS_FILE = "training_seconds.txt"


def run_fn(fn_args: FnArgs) -> None:
    """Entry point of TFX's Trainer.

    `fn_args.custom_config` holds what `pipeline.pretraining` reads, and "code_digest" (all that decides the outputs),
    "checkpoint_code" (what decides the weights), "plugins" (path and digest of each) and "checkpoints" (the folder of
    all runs' checkpoints).

    Raises:
        ValueError: Transform wrote no records to train on, or the starting weights have changed since the run was
            submitted.
    """
    custom = fn_args.custom_config
    for path, digest in custom["plugins"]:  # a separate worker has not loaded them yet
        load_plugin(path, digest)
    files = record_files(fn_args)
    export_untrained(fn_args)
    checkpoints = os.path.join(custom["checkpoints"], _run_digest(custom, files))
    _name_data(checkpoints, _in_workspace(os.path.dirname(files[0]), custom["checkpoints"]))
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
    write_atomically(summary_path(fn_args.model_run_dir), json.dumps({**summary, **watched}, indent=1))


def _name_data(checkpoints: str, examples: str) -> None:
    """Records beside the checkpoints which records they were trained on; no run can go on without those."""
    path = os.path.join(checkpoints, CHECKPOINT_DATA)
    if not tf.io.gfile.exists(path):
        write_atomically(path, examples)


def _tell_progress(progress: Progress) -> None:
    minutes, seconds = divmod(round(progress.eta_seconds), 60)
    text = (
        f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  "
        f"{progress.clips_per_second:.0f} clips/s  {minutes}:{seconds:02d} left"
    )
    _LOG.info(text)
    tell(progress.step / progress.steps, text)


def _in_workspace(path: str, checkpoints: str) -> str:
    """A path relative to the workspace, so that it stays valid when the workspace is moved."""
    return path.removeprefix(f"{os.path.dirname(checkpoints.rstrip('/'))}/")


def _run_digest(custom: dict[str, Any], files: list[str]) -> str:
    """Names a run's checkpoints. An artifact's folder is written once, so paths within the workspace identify the data.

    Settings and code that do not change the result are left out, so they may change while a model is trained: what
    exports, records or shows it.
    """
    content = {
        "training": {name: value for name, value in custom["training"].items() if name not in FREE_SETTINGS},
        "frontend": custom["frontend"],
        "code": custom["checkpoint_code"],
        "warm_start": custom["warm_start"]["digest"] if custom["warm_start"] else "",
        "data": [
            (_in_workspace(file, custom["checkpoints"]), tf.io.gfile.stat(file).length) for file in files
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


class TrainingClock:
    """Seconds of training, over all processes of a run: a run that was stopped goes on in another one.

    A process that is killed loses what it spent since its last report of progress.

    Args:
        folder: of the run's checkpoints.
    """

    def __init__(self, folder: str):
        self._path = os.path.join(folder, _SECONDS_FILE)
        self._began = time.monotonic()
        self._before = 0.0
        if tf.io.gfile.exists(self._path):
            with tf.io.gfile.GFile(self._path, "r") as file:
                self._before = float(file.read())

    @property
    def seconds(self) -> float:
        """Seconds of this process and of the earlier ones."""
        return self._before + time.monotonic() - self._began

    def save(self) -> None:
        """Keeps the seconds for a later process."""
        write_atomically(self._path, f"{self.seconds:.3f}")


def hardware() -> str:
    """The devices that TensorFlow computes on, as in "4 x NVIDIA A100" or "CPU Intel(R) Xeon(R), 2 cores"."""
    tpus = tf.config.list_logical_devices("TPU")
    if tpus:
        return f"{len(tpus)} x TPU {os.environ.get('TPU_ACCELERATOR_TYPE', '')}".strip()
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        names = sorted(
            tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in gpus
        )
        return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    return f"CPU {_cpu_name()}, {os.cpu_count()} cores"


def replicas(strategy: str) -> int:
    """How many copies of the model a strategy trains, on this machine or over all machines."""
    return int(make_strategy(strategy).num_replicas_in_sync)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
