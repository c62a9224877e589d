"""Where training runs: a TPU, several GPUs, several machines, or one device (paper: 32 TPU v3 cores)."""

from __future__ import annotations

import functools
import json
import os

import tensorflow as tf


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute` strategy of that name.

    - "tpu": the TPU named by the environment variable TPU_NAME, else the one of this TPU VM.
    - "multi_worker": the workers of the environment variable TF_CONFIG, as Vertex AI and Kubeflow set it.
    - "mirrored": all GPUs of this machine; without GPUs, all its logical CPU devices.
    - "single": one device.
    - "auto": the first of these that is available: a TPU, two or more workers, two or more GPUs, one device.

    Raises:
        ValueError: the name is unknown, or what it needs is missing; the message says what.
    """
    chosen = _detect() if name == "auto" else name
    if chosen == "tpu":
        return _tpu_strategy()
    if chosen == "multi_worker":
        if not _workers():
            raise ValueError(
                "training: strategy='multi_worker' reads its workers from the environment variable "
                "TF_CONFIG, which is not set; set it, or use strategy='mirrored'"
            )
        return _multi_worker_strategy()
    if chosen == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return _mirrored_strategy(tuple(device.name for device in devices))
    if chosen == "single":
        return tf.distribute.get_strategy()
    raise ValueError(
        f"training: strategy={name!r} is not accepted; give auto, tpu, mirrored, multi_worker or single"
    )


def require_accelerator(kind: str) -> None:
    """Checks that TensorFlow sees the accelerator that a step asked its machine for: else it would take the CPU.

    Args:
        kind: "GPU" or "TPU".

    Raises:
        ValueError: it sees none; the message says what may be missing.
    """
    seen = _detect() == "tpu" if kind == "TPU" else bool(tf.config.list_physical_devices(kind))
    if seen:
        return
    built = tf.test.is_built_with_cuda()
    missing = (
        "the image holds no TPU build of TensorFlow with its library (target `tpu`), or the machine has no TPU"
        if kind == "TPU"
        else "the image lacks the CUDA libraries (target `gpu`), or the machine has no driver or no GPU left"
        if built
        else "this TensorFlow is not built for CUDA"
    )
    raise ValueError(
        f"the step asks for a {kind}, and TensorFlow {tf.__version__} sees none: {missing}. It would run on the CPU, "
        "so it ends here; give it such an image and machine, or no accelerator"
    )


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes checkpoints and logs that others read."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return True
    has_chief = bool(resolver.cluster_spec().as_dict().get("chief"))
    return resolver.task_type == "chief" or (not has_chief and resolver.task_id in (0, None))


def _detect() -> str:
    if os.environ.get("TPU_NAME") or tf.config.list_physical_devices("TPU"):
        return "tpu"
    if len(_workers()) > 1:
        return "multi_worker"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "single"


def _workers() -> list[str]:
    cluster = json.loads(os.environ.get("TF_CONFIG") or "{}").get("cluster", {})
    return [address for kind in ("chief", "worker") for address in cluster.get(kind, [])]


# One strategy a process: TensorFlow numbers the collective operations of each from the same start, and a second
# one over the same devices would answer for the first one's numbers.
@functools.cache
def _mirrored_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(list(devices))


@functools.cache
def _multi_worker_strategy() -> tf.distribute.Strategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


@functools.cache
def _tpu_strategy() -> tf.distribute.Strategy:
    name = os.environ.get("TPU_NAME") or "local"
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise ValueError(
            f"training: strategy='tpu' found no usable TPU {name!r} ({error}); set TPU_NAME, run on a TPU VM "
            "with TensorFlow's TPU build, or use strategy='auto'"
        ) from error
    return tf.distribute.TPUStrategy(resolver)
