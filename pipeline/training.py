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

from components.model_layout import logs_dir, summary_path, untrained_model_dir
from hares.plain_data import from_plain
from models.encoder import Encoder, load_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig
from models.training.config import TrainingConfig
from models.training.loop import Progress, train
from models.weights import weights_digest
from pipeline.listener import tell
from pipeline.preprocessing import Pcm16ToLogMel
from pipeline.training_cost import TrainingClock, hardware, replicas

_LOG = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Entry point of TFX's Trainer.

    `fn_args.custom_config` holds "training" and "frontend" (settings), "num_classes", "label_task" (the task
    whose labels the records have, or ""), "code_digest" and "checkpoints" (the folder of all runs' checkpoints).

    Raises:
        ValueError: Transform wrote no records to train on.
    """
    custom = fn_args.custom_config
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

    untrained = _built(record.build(config.seed), frontend, record.input_kind)
    export_saved_model(
        untrained,
        record,
        untrained_model_dir(fn_args.model_run_dir),
        frontend,
        {**metadata, "steps": 0},
        pcm16_to_log_mel=None,
    )
    checkpoints = os.path.join(custom["checkpoints"], _run_digest(custom, files))
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
        frontend=frontend,
    )
    clock.save()
    classifier = result.objective.classifier()
    through_transform = None
    if record.input_kind == "log_mel":
        layer = tft.TFTransformOutput(fn_args.transform_graph_path).transform_features_layer()
        through_transform = Pcm16ToLogMel(layer, frontend.num_mel_bins)
    export_saved_model(
        result.encoder,
        record,
        fn_args.serving_model_dir,
        frontend,
        {**metadata, "classifier_task": custom["label_task"] if classifier is not None else ""},
        pcm16_to_log_mel=through_transform,
        classifier=classifier,
    )
    summary = {
        **metadata,
        "encoder": config.encoder,
        "parameters": record.parameters,
        "embedding_size": record.embedding_size,
        "weights_digest": weights_digest(result.encoder),
        "transform_examples": os.path.dirname(files[0]),
        "final_loss": result.loss_history[-1][1] if result.loss_history else None,
        "metrics": result.metrics,
        "loss_history": result.loss_history,
        "files": len(files),
        "hardware": hardware(),
        "replicas": replicas(config.strategy),
        "step_hours": clock.seconds / 3600,
    }
    with tf.io.gfile.GFile(summary_path(fn_args.model_run_dir), "w") as file:
        file.write(json.dumps(summary, indent=1))


def _tell_progress(progress: Progress) -> None:
    minutes, seconds = divmod(round(progress.eta_seconds), 60)
    text = (
        f"step {progress.step}/{progress.steps}  loss {progress.loss:.3f}  "
        f"{progress.clips_per_second:.0f} clips/s  {minutes}:{seconds:02d} left"
    )
    _LOG.info(text)
    tell(progress.step / progress.steps, text)


def _built(encoder: Encoder, frontend: FrontendConfig, input_kind: str) -> Encoder:
    """Makes the encoder's variables, as Keras does at the first call."""
    second = frontend.sample_rate
    shape = (
        (1, frontend.num_frames(second), frontend.num_mel_bins, 1) if input_kind == "log_mel" else (1, second)
    )
    encoder(tf.zeros(shape), training=False)
    return encoder


def _run_digest(custom: dict[str, Any], files: list[str]) -> str:
    """Names a run's checkpoints. An artifact's folder is written once, so the files' paths stand for the data."""
    content = {
        "training": custom["training"],
        "frontend": custom["frontend"],
        "code": custom["code_digest"],
        "data": [(file, tf.io.gfile.stat(file).length) for file in files],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]
