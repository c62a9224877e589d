"""What the Trainer computes: the encoder before training, the trained one, and a summary of it.

The engine is `models.training.loop`; this module takes its settings from TFX's arguments and puts its results where TFX
looks. It imports all that decides these outputs and nothing else, because the Trainer's key follows its imports
(`hares.code_digest`). `pipeline.training` calls it, and does what decides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components.model_layout import bfloat16_model_dir, logs_dir, untrained_model_dir
from hares.plain_data import from_plain
from models.encoder import built_encoder, load_encoder
from models.export import export_saved_model
from models.frontend import FrontendConfig
from models.training.config import TrainingConfig
from models.training.loop import PictureMaker, Progress, train
from models.warm_start import WarmStart, check_unchanged
from models.weights import save_weights, training_weights_path, weights_digest
from pipeline.preprocessing import Pcm16ToLogMel, Pcm16ToWaveform


def record_files(fn_args: FnArgs) -> list[str]:
    """The files of Transform's records, sorted. Raises ValueError if there are none."""
    files = sorted(file for pattern in fn_args.train_files for file in tf.io.gfile.glob(pattern))
    if not files:
        raise ValueError(
            f"no pretraining records match {', '.join(fn_args.train_files)}: every clip was rejected, or there "
            "was none. The manifest of ingest_pretraining says which"
        )
    return files


def export_untrained(fn_args: FnArgs) -> None:
    """Exports the untrained encoder, the floor of the trained one's scores."""
    config, frontend = _settings(fn_args)
    record = load_encoder(config.encoder)
    export_saved_model(
        built_encoder(record, frontend, config.seed),
        record,
        untrained_model_dir(fn_args.model_run_dir),
        frontend,
        {**_metadata(config), "steps": 0},
        pcm16_to_log_mel=None,
    )


def pretrain(
    fn_args: FnArgs,
    files: list[str],
    checkpoints: str,
    progress: Callable[[Progress], None],
    pictures: PictureMaker | None,
) -> dict[str, Any]:
    """Trains the encoder, or continues a training, and exports it.

    Args:
        fn_args: TFX's. `custom_config` holds "training" and "frontend" (settings), "num_classes", "label_task" (the
            task whose labels the records have, or "") and "warm_start" (`WarmStart`'s fields, or None).
        files: the records.
        checkpoints: folder of this run's checkpoints.
        progress: receives training's progress.
        pictures: makes pictures for TensorBoard; see `models.training.loop.train`.

    Returns:
        A summary of the model, ready for JSON.

    Raises:
        ValueError: the starting weights have changed since the run was submitted; or as `models.training.loop.train`.
    """
    custom = fn_args.custom_config
    config, frontend = _settings(fn_args)
    record = load_encoder(config.encoder)
    warm_start = WarmStart(**custom["warm_start"]) if custom["warm_start"] else None
    if warm_start:
        check_unchanged(warm_start)
    result = train(
        config,
        files,
        num_classes=custom["num_classes"],
        checkpoint_dir=checkpoints,
        log_dir=logs_dir(fn_args.model_run_dir),
        progress=progress,
        pictures=pictures,
        warm_start=warm_start.weights if warm_start else None,
        frontend=frontend,
    )
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
            {**_metadata(config), "classifier_task": custom["label_task"] if classifier is not None else ""},
            pcm16_to_log_mel=through_transform,
            classifier=classifier,
            compute_dtype=compute_dtype,
        )
    weights = training_weights_path(fn_args.serving_model_dir)
    tf.io.gfile.makedirs(os.path.dirname(weights))
    save_weights(result.encoder, weights)
    return {
        **_metadata(config),
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
    }


def _settings(fn_args: FnArgs) -> tuple[TrainingConfig, FrontendConfig]:
    custom = fn_args.custom_config
    return from_plain(TrainingConfig, custom["training"]), from_plain(FrontendConfig, custom["frontend"])


def _metadata(config: TrainingConfig) -> dict[str, Any]:
    return {"objective": config.objective, "steps": config.steps, "seed": config.seed}
