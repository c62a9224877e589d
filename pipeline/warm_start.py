"""Whose encoder a run starts from (retraining): found, held against the run's own and given a digest, at submit time.

`pretraining.warm_start` names it:

- "latest_blessed": the latest blessed model of this pipeline in the workspace; before there is one, fresh weights;
- a workspace of `hares run`: its latest blessed model;
- a SavedModel that `hares` exported, pushed or not: it holds its training weights beside the folded ones;
- a `.npz` file of `models.weights.save_weights`;
- a checkpoint of a training run, or its folder. Checkpoints are deleted as the run goes on, so its encoder is kept in
  the workspace, under its digest.

Optimizer, step number and objective start anew: only the encoder is taken over.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from models.encoder import EncoderRecord, built_encoder
from models.export import METADATA_FILE, read_metadata
from models.frontend import FrontendConfig
from models.training.checkpoints import read_encoder_weights
from models.weights import arrays_digest, load_weights, save_arrays, training_weights_path
from pipeline.lineage.store import latest_blessed_model, open_store
from pipeline.settings import SettingError
from pipeline.workspace import Workspace

LATEST_BLESSED = "latest_blessed"
SERVING_FOLDER = "Format-Serving"  # TFX's, in a Model artifact


@dataclass(frozen=True)
class WarmStart:
    """Weights to start from.

    Attributes:
        weights: `.npz` file of the encoder's weights by canonical name.
        digest: their `models.weights.weights_digest`.
        model: folder of the model they belong to, for the metadata store.
    """

    weights: str
    digest: str
    model: str


def resolve_warm_start(
    source: str, record: EncoderRecord, frontend: FrontendConfig, pipeline: str, workspace: Workspace
) -> WarmStart | None:
    """The weights that `pretraining.warm_start` names; None for fresh ones.

    Args:
        source: the setting; see the module.
        record: the encoder to be trained.
        frontend: its front end, which decides the shape of its input.
        pipeline: the run's pipeline, whose latest blessed model "latest_blessed" is.
        workspace: the run's.

    Raises:
        SettingError: there is nothing to start from at `source`, or it is of another encoder.
    """
    if not source:
        return None
    try:
        return _resolved(source, record, frontend, pipeline, workspace)
    except ValueError as error:
        raise SettingError(
            f"pretraining.warm_start: got {source!r}: {error}. Accepted are {LATEST_BLESSED!r}, a workspace, a model "
            f"exported by hares, a .npz of weights and a checkpoint, each of training.encoder={record.name}"
        ) from error


def check_unchanged(warm_start: WarmStart) -> None:
    """Raises ValueError where the weights are not those any more that the run was submitted with."""
    digest = arrays_digest(read_encoder_weights(warm_start.weights))
    if digest != warm_start.digest:
        raise ValueError(
            f"training: the weights in {warm_start.weights} have changed since the run was submitted (digest "
            f"{digest[:12]}, expected {warm_start.digest[:12]}); submit it again"
        )


def _resolved(
    source: str, record: EncoderRecord, frontend: FrontendConfig, pipeline: str, workspace: Workspace
) -> WarmStart | None:
    if source == LATEST_BLESSED:
        model = (
            latest_blessed_model(open_store(workspace.store), pipeline) if workspace.store.is_file() else ""
        )
        return _from_model(model, record, frontend) if model else None
    if Workspace(Path(source)).store.is_file():
        model = latest_blessed_model(open_store(Workspace(Path(source)).store), None)
        if not model:
            raise ValueError("no model of this workspace is blessed")
        return _from_model(model, record, frontend)
    for folder in (source, os.path.join(source, SERVING_FOLDER)):
        if tf.io.gfile.exists(os.path.join(folder, METADATA_FILE)):
            return _from_model(source, record, frontend)
    if tf.io.gfile.exists(os.path.join(source, "saved_model.pb")):
        raise ValueError("a SavedModel that was not exported by hares")
    arrays = read_encoder_weights(source)
    digest = _digest_of_fitting(arrays, record, frontend)
    folder = str(workspace.folder / "warm_starts" / digest)
    path = os.path.join(folder, "weights.npz")
    if not tf.io.gfile.exists(path):
        tf.io.gfile.makedirs(folder)
        save_arrays(arrays, f"{path}.part")
        tf.io.gfile.rename(f"{path}.part", path)
    return WarmStart(path, digest, folder)


def _from_model(model: str, record: EncoderRecord, frontend: FrontendConfig) -> WarmStart:
    serving = os.path.join(model, SERVING_FOLDER)
    serving = serving if tf.io.gfile.exists(serving) else model
    encoder = read_metadata(serving)["encoder"]
    if encoder != record.name:
        raise ValueError(f"the model in {model} is of encoder {encoder}")
    path = training_weights_path(serving)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{path} is not there: the model was exported without its training weights")
    return WarmStart(path, _digest_of_fitting(read_encoder_weights(path), record, frontend), model)


def _digest_of_fitting(arrays: dict[str, np.ndarray], record: EncoderRecord, frontend: FrontendConfig) -> str:
    load_weights(built_encoder(record, frontend, seed=0), arrays)
    return arrays_digest(arrays)
