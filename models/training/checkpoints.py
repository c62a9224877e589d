"""Checkpoints of a run: saved whole, resumed exactly, and the one before where the newest is damaged.

A run's folder also holds `run.json`, the settings that decide its result, so that a run of other settings is
refused instead of continued.
"""

from __future__ import annotations

import json
import logging
import uuid
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import trackable_object_graph_pb2

from models.training.distribution import is_chief
from models.weights import load_weights, read_weights

_LOG = logging.getLogger(__name__)
# What TensorFlow raises on a checkpoint that is damaged, cut short or of something else. Its reader has no error of
# its own: a file that ends too early is an IndexError, other damage a RuntimeError.
_UNREADABLE = (tf.errors.OpError, ValueError, AssertionError, IndexError, RuntimeError)


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: local or remote folder; made where absent. Machines that train together must share it.
        keep: newest checkpoints kept.
        strategy: the run's. In a multi-worker run all workers must save; what all but the chief save goes to
            folders of their own, which nothing reads.
        settings: what decides the run's result, of JSON types.
        trackables: encoder, objective and optimizer, their variables made.

    Raises:
        ValueError: the folder holds a run of other settings; the message names them.
    """

    def __init__(
        self,
        directory: str,
        keep: int,
        strategy: tf.distribute.Strategy,
        settings: Mapping[str, Any],
        trackables: Mapping[str, Any],
    ) -> None:
        self._directory = directory
        with strategy.scope():
            self._step = tf.Variable(
                0, dtype=tf.int64, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA
            )
        self._checkpoint = tf.train.Checkpoint(step=self._step, **trackables)
        chief = is_chief(strategy)
        _claim(directory, settings, chief)
        own = (
            directory if chief else tf.io.gfile.join(directory, f"worker{strategy.cluster_resolver.task_id}")
        )
        self._manager = tf.train.CheckpointManager(self._checkpoint, own, max_to_keep=keep if chief else 1)
        self.latest: str | None = None

    def restore(self) -> int:
        """Restores the newest checkpoint that can be read; returns its step, or 0 where there is none.

        Raises:
            ValueError: there are checkpoints and none can be read.
        """
        state = tf.train.get_checkpoint_state(self._directory)
        paths = list(state.all_model_checkpoint_paths) if state else []
        for path in reversed(paths):
            try:
                self._checkpoint.restore(path).assert_existing_objects_matched()
            except _UNREADABLE as error:
                _LOG.warning("checkpoint %s cannot be read (%s); trying the one before", path, error)
                continue
            self.latest = path
            return int(self._step.numpy())
        if paths:
            raise ValueError(
                f"training: none of the {len(paths)} checkpoints in {self._directory} can be read; restore "
                "the folder from a copy, or remove it to start from step 0"
            )
        return 0

    def save(self, step: int) -> str:
        """Saves the state after `step` updates; returns the checkpoint's path."""
        self._step.assign(step)
        path: str = self._manager.save(checkpoint_number=step)
        self.latest = path
        return path


def read_encoder_weights(path: str) -> dict[str, np.ndarray]:
    """The encoder's weights, by canonical name, of a file of `models.weights.save_weights` or of a run's checkpoint.

    Args:
        path: the `.npz` file; or a checkpoint, or a run's folder, whose newest checkpoint is taken.

    Raises:
        ValueError: there are no weights at `path`, or they cannot be read; the message says which.
    """
    if path.endswith(".npz"):
        try:
            return read_weights(path)
        except (tf.errors.OpError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f"training: warm_start={path!r} cannot be read ({error})") from error
    found = tf.train.latest_checkpoint(path) if tf.io.gfile.isdir(path) else path
    if found is None or not tf.io.gfile.exists(f"{found}.index"):
        raise ValueError(f"training: warm_start={path!r} holds no checkpoint; give a run's checkpoint folder")
    try:
        reader = tf.train.load_checkpoint(found)
        keys = _encoder_keys(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        return {name: np.asarray(reader.get_tensor(key)) for name, key in sorted(keys.items())}
    except _UNREADABLE as error:
        raise ValueError(f"training: the checkpoint {found} cannot be read ({error})") from error


def restore_encoder(encoder: tf.keras.Model, path: str) -> None:
    """Sets an encoder's weights from another run's, leaving all else as it is.

    Args:
        encoder: with its variables made.
        path: as in `read_encoder_weights`.

    Raises:
        ValueError: as `read_encoder_weights`; or the weights are not of this encoder, and the message names the
            first variables that are missing, unexpected or of another shape.
    """
    try:
        load_weights(encoder, read_encoder_weights(path))
    except ValueError as error:
        raise ValueError(
            f"training: {error} (warm_start={path!r}); warm-start from a run of the same encoder"
        ) from error


def _encoder_keys(graph: bytes) -> dict[str, str]:
    """Canonical name to checkpoint key of the variables below the checkpoint's `encoder`."""
    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(graph).nodes
    pending = [child.node_id for child in nodes[0].children if child.local_name == "encoder"]
    seen: set[int] = set()
    keys: dict[str, str] = {}
    while pending:
        number = pending.pop()
        if number in seen:
            continue
        seen.add(number)
        keys.update({a.full_name: a.checkpoint_key for a in nodes[number].attributes if a.full_name})
        pending += [child.node_id for child in nodes[number].children]
    if not keys:
        raise ValueError("it holds no encoder; is it a checkpoint of `hares run`?")
    return keys


def _claim(directory: str, settings: Mapping[str, Any], chief: bool) -> None:
    path = tf.io.gfile.join(directory, "run.json")
    wanted = json.loads(json.dumps(settings))
    if not tf.io.gfile.exists(path):
        if chief:
            tf.io.gfile.makedirs(directory)
            part = f"{path}.{uuid.uuid4().hex}.part"  # other workers read it as soon as it has its name
            with tf.io.gfile.GFile(part, "w") as file:
                file.write(json.dumps(wanted, indent=2, sort_keys=True))
            tf.io.gfile.rename(part, path, overwrite=True)
        return
    with tf.io.gfile.GFile(path) as file:
        text = file.read()
    try:
        there = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"training: {path} is damaged ({error}); restore it from a copy, or remove {directory} to start from step 0"
        ) from error
    differ = sorted(key for key in {*wanted, *there} if wanted.get(key) != there.get(key))
    if differ:
        changes = ", ".join(f"{key} {there.get(key)!r} -> {wanted.get(key)!r}" for key in differ)
        raise ValueError(
            f"training: {directory} holds a run of other settings ({changes}); use a new folder, and "
            "warm_start to begin from that run's encoder"
        )
