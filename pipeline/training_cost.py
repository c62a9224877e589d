"""What a model cost to train: on what hardware, and how many hours its steps took.

A run that was stopped goes on in another process, so the seconds are kept beside its checkpoints: the cost is that
of all processes together. One that was killed loses what it spent since its last report of progress.
"""

from __future__ import annotations

import os
import platform
import time

import tensorflow as tf

from hares.atomic_files import write_atomically
from models.training.distribution import make_strategy

_FILE = "training_seconds.txt"


class TrainingClock:
    """Counts from when it is made, on top of what earlier processes left in the folder.

    Args:
        folder: of the run's checkpoints.
    """

    def __init__(self, folder: str):
        self._path = os.path.join(folder, _FILE)
        self._began = time.monotonic()
        self._before = 0.0
        if tf.io.gfile.exists(self._path):
            with tf.io.gfile.GFile(self._path, "r") as file:
                self._before = float(file.read())

    @property
    def seconds(self) -> float:
        """Seconds of this process and those before it."""
        return self._before + time.monotonic() - self._began

    def save(self) -> None:
        """Leaves the seconds for a later process; the file is whole at any time."""
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
