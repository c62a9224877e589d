"""The encoder that a retraining starts from: found, checked against the run's own, and digested at submit time.

`pretraining.warm_start` names it:

- "latest_blessed": the latest blessed model of this pipeline in the run's store (`--metadata`, or the workspace's own);
  fresh weights until there is one;
- a workspace of `hares run`: its latest blessed model;
- a SavedModel that `hares` exported, pushed or not, which holds its training weights beside the folded ones;
- a `.npz` file of `models.weights.save_weights`;
- a checkpoint of a training run, or its folder. Checkpoints are deleted as the run goes on, so its encoder is kept in
  the workspace under its digest.

Only the encoder is taken over: optimizer, step number and objective start anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from hares.atomic_files import atomically
from models.encoder import EncoderRecord, built_encoder
from models.export import METADATA_FILE, read_metadata
from models.frontend import FrontendConfig
from models.training.checkpoints import read_encoder_weights
from models.warm_start import WarmStart
from models.weights import arrays_digest, load_weights, save_arrays, training_weights_path
from pipeline.lineage.connection import StoreAddress, store_address
from pipeline.lineage.store import latest_blessed_model
from pipeline.settings import SettingError
from pipeline.workspace import Workspace

LATEST_BLESSED = "latest_blessed"
SERVING_FOLDER = "Format-Serving"  # TFX's, in a Model artifact


def resolve_warm_start(
    source: str,
    record: EncoderRecord,
    frontend: FrontendConfig,
    pipeline: str,
    workspace: Workspace,
    address: StoreAddress,
) -> WarmStart | None:
    """The weights that `pretraining.warm_start` names; None for fresh ones.

    Args:
        source: the setting; see the module.
        record: the encoder to be trained.
        frontend: its front end, which decides the shape of its input.
        pipeline: the run's pipeline, whose latest blessed model "latest_blessed" is.
        workspace: the run's.
        address: the run's metadata store.

    Raises:
        SettingError: there is nothing to start from at `source`, or it is of another encoder.
        StoreUnreachableError: the store's server does not answer or refuses us.
    """
    if not source:
        return None
    try:
        return _resolved(source, record, frontend, pipeline, workspace, address)
    except (ValueError, tf.errors.OpError) as error:  # the second of an address that TensorFlow cannot open
        raise SettingError(
            f"pretraining.warm_start: got {source!r}: {getattr(error, 'message', error)}. Accepted are "
            f"{LATEST_BLESSED!r}, a workspace, a model exported by hares, a .npz of weights and a checkpoint, each of "
            f"training.encoder={record.name}"
        ) from error


def _resolved(
    source: str,
    record: EncoderRecord,
    frontend: FrontendConfig,
    pipeline: str,
    workspace: Workspace,
    address: StoreAddress,
) -> WarmStart | None:
    if source == LATEST_BLESSED:
        model = _latest_blessed(address, pipeline)
        return _from_model(model, record, frontend) if model else None
    other = Workspace(Path(source))
    if other.store.is_file():
        model = _latest_blessed(store_address("", other.store), None)
        if not model:
            raise ValueError("no model of this workspace is blessed")
        return _from_model(model, record, frontend)
    if other.stores:
        raise ValueError(
            f"the runs of this workspace are recorded in {', '.join(other.stores)}; give the folder of one of its "
            f"models, or {LATEST_BLESSED!r} with that store in --metadata"
        )
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
        with atomically(path) as part:
            save_arrays(arrays, part)
    return WarmStart(path, digest, folder)


def _latest_blessed(address: StoreAddress, pipeline: str | None) -> str:
    if not address.exists():
        return ""
    with address.asking() as store:
        return latest_blessed_model(store, pipeline)


def _from_model(model: str, record: EncoderRecord, frontend: FrontendConfig) -> WarmStart:
    serving = os.path.join(model, SERVING_FOLDER)
    serving = serving if tf.io.gfile.exists(serving) else model
    encoder = read_metadata(serving)["encoder"]
    if encoder != record.name:
        raise ValueError(f"the model in {model} is of encoder {encoder}")
    path = training_weights_path(serving)
    if not tf.io.gfile.exists(path):
        raise ValueError(f"{path} is missing: the model was exported without its training weights")
    return WarmStart(path, _digest_of_fitting(read_encoder_weights(path), record, frontend), model)


def _digest_of_fitting(arrays: dict[str, np.ndarray], record: EncoderRecord, frontend: FrontendConfig) -> str:
    load_weights(built_encoder(record, frontend, seed=0), arrays)
    return arrays_digest(arrays)
