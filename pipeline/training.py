"""`run_fn` of the Trainer: pretrains the encoder and exports it, trained and untrained.

The engine is `models.training.loop`; here its settings come out of TFX's arguments and its results go where
TFX looks. Checkpoints live under a digest of settings, code and data, so that a run that was killed finds its own
and never another's.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components.model_layout import bfloat16_model_dir, logs_dir, summary_path, untrained_model_dir
from hares.atomic_files import write_atomically
from hares.plain_data import from_plain
from models.encoder import built_encoder, load_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig
from models.plugin import load_plugin
from models.training.config import TrainingConfig
from models.training.loop import FREE_SETTINGS, Progress, train
from models.weights import save_weights, training_weights_path, weights_digest
from pipeline.listener import tell
from pipeline.preprocessing import Pcm16ToLogMel, Pcm16ToWaveform
from pipeline.training_cost import TrainingClock, hardware, replicas
from pipeline.warm_start import WarmStart, check_unchanged
from pipeline.workspace import CHECKPOINT_DATA

_LOG = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Entry point of TFX's Trainer.

    `fn_args.custom_config` holds "training" and "frontend" (settings), "num_classes", "label_task" (the task
    whose labels the records have, or ""), "code_digest", "plugins" (path and digest of each), "checkpoints" (the
    folder of all runs' checkpoints) and "warm_start" (`WarmStart`'s fields, or None).

    Raises:
        ValueError: Transform wrote no records to train on, or the weights to start from are not those any more that
            were there when the run was submitted.
    """
    custom = fn_args.custom_config
    for path, digest in custom["plugins"]:  # a worker of its own has not loaded them yet
        load_plugin(path, digest)
    config = from_plain(TrainingConfig, custom["training"])
    frontend = from_plain(FrontendConfig, custom["frontend"])
    files = sorted(file for pattern in fn_args.train_files for file in tf.io.gfile.glob(pattern))
    if not files:
        raise ValueError(
            f"no pretraining records match {', '.join(fn_args.train_files)}: every clip was rejected, or there "
            "was none. The manifest of ingest_pretraining says which"
        )
    record = load_encoder(config.encoder)
    metadata = {"objective": config.objective, "steps": config.steps, "seed": config.seed}

    warm_start = WarmStart(**custom["warm_start"]) if custom["warm_start"] else None
    if warm_start:
        check_unchanged(warm_start)

    untrained = built_encoder(record, frontend, config.seed)
    export_saved_model(
        untrained,
        record,
        untrained_model_dir(fn_args.model_run_dir),
        frontend,
        {**metadata, "steps": 0},
        pcm16_to_log_mel=None,
    )
    checkpoints = os.path.join(custom["checkpoints"], _run_digest(custom, files))
    _name_data(checkpoints, _in_workspace(os.path.dirname(files[0]), custom["checkpoints"]))
    clock = TrainingClock(checkpoints)

    def report(progress: Progress) -> None:
        clock.save()
        _tell_progress(progress)

    result = train(
        config,
        files,
        num_classes=custom["num_classes"],
        checkpoint_dir=checkpoints,
        log_dir=logs_dir(fn_args.model_run_dir),
        progress=report,
        warm_start=warm_start.weights if warm_start else None,
        frontend=frontend,
    )
    clock.save()
    classifier = result.objective.classifier()
    layer = tft.TFTransformOutput(fn_args.transform_graph_path).transform_features_layer()
    through_transform = (
        Pcm16ToLogMel(layer, frontend.num_mel_bins)
        if record.input_kind == "log_mel"
        else Pcm16ToWaveform(layer)
    )
    for directory, compute_dtype in (
        (fn_args.serving_model_dir, "float32"),
        (bfloat16_model_dir(fn_args.model_run_dir), "bfloat16"),
    ):
        export_saved_model(
            result.encoder,
            record,
            directory,
            frontend,
            {**metadata, "classifier_task": custom["label_task"] if classifier is not None else ""},
            pcm16_to_log_mel=through_transform,
            classifier=classifier,
            compute_dtype=compute_dtype,
        )
    weights = training_weights_path(fn_args.serving_model_dir)
    tf.io.gfile.makedirs(os.path.dirname(weights))
    save_weights(result.encoder, weights)
    summary = {
        **metadata,
        "encoder": config.encoder,
        "parameters": record.parameters,
        "embedding_size": record.embedding_size,
        "weights_digest": weights_digest(result.encoder),
        "warm_start": warm_start.digest if warm_start else "",
        "transform_examples": os.path.dirname(files[0]),
        "final_loss": result.loss_history[-1][1] if result.loss_history else None,
        "metrics": result.metrics,
        "loss_history": result.loss_history,
        "files": len(files),
        "hardware": hardware(),
        "replicas": replicas(config.strategy),
        "step_hours": clock.seconds / 3600,
        "checkpoints": os.path.basename(checkpoints),
    }
    write_atomically(summary_path(fn_args.model_run_dir), json.dumps(summary, indent=1))


def _name_data(checkpoints: str, examples: str) -> None:
    """Leaves beside the checkpoints which records they stand on: without those no run can go on from them."""
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
    """A path below the workspace from there, so that it stays right where the workspace is moved."""
    return path.removeprefix(f"{os.path.dirname(checkpoints.rstrip('/'))}/")


def _run_digest(custom: dict[str, Any], files: list[str]) -> str:
    """Names a run's checkpoints. An artifact's folder is written once, so the files' paths, from the workspace, stand
    for the data.

    Settings that do not change the result are left out, so that a run goes on under other ones.
    """
    content = {
        "training": {name: value for name, value in custom["training"].items() if name not in FREE_SETTINGS},
        "frontend": custom["frontend"],
        "code": custom["code_digest"],
        "warm_start": custom["warm_start"]["digest"] if custom["warm_start"] else "",
        "data": [
            (_in_workspace(file, custom["checkpoints"]), tf.io.gfile.stat(file).length) for file in files
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
