"""The pipeline: what runs, in what order. It knows no runner.

ingest_<task> (12)                                            -> examples, manifest
ingest_pretraining -> statistics, transform (with schema)     -> log-mel spectrograms
trainer                                                       -> model, model_run
embed_<task> (12)                                             -> embeddings
evaluator                                                     -> report, blessing
pusher                                                        -> pushed model, where blessed
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources

import tensorflow_data_validation as tfdv
from tfx.components import Trainer
from tfx.dsl.components.base import executor_spec
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2

from components.audio_example_gen.component import AudioExampleGen
from components.embedder.component import Embedder
from components.evaluator.component import Evaluator
from components.standard.component import ImportSchemaGen, Pusher, StatisticsGen, Transform
from components.trainer.executor import Executor as TrainerExecutor
from pipeline.resolve import ResolvedRun, Source
from pipeline.settings import as_dict
from pipeline.workspace import Workspace

SCHEMA_FILE = "examples.pbtxt"
# What statistics say something about: not the bytes of waveforms, nor names that are all different.
STATISTICS_FEATURES = ["num_samples", "level_dbfs", "label"]


def create_pipeline(run: ResolvedRun) -> Pipeline:
    """All steps of a run, wired.

    Args:
        run: settings and data, made concrete by `pipeline.resolve`.
    """
    config, workspace = run.config, Workspace(run.workspace)
    protocol = json.dumps(as_dict(config.protocol), sort_keys=True)
    ingestion = {name: _ingest(f"ingest_{name}", source, run) for name, source in run.tasks.items()}
    pretraining = _ingest("ingest_pretraining", run.pretraining, run)
    schema = ImportSchemaGen(schema_file=str(workspace.keep("schema", SCHEMA_FILE, _schema_text()))).with_id(
        "schema"
    )
    statistics = StatisticsGen(
        examples=pretraining.outputs["examples"],
        stats_options=tfdv.StatsOptions(feature_allowlist=STATISTICS_FEATURES),
    ).with_id("statistics")
    transform = _transform(run, pretraining, schema)
    trainer = _trainer(run, workspace, transform)
    embedders = {
        name: Embedder(
            examples=ingestion[name].outputs["examples"],
            model=trainer.outputs["model"],
            model_run=trainer.outputs["model_run"] if config.compare_untrained else None,
            task=name,
            protocol=protocol,
            code_digest=run.code["embedder"],
        ).with_id(f"embed_{name}")
        for name in run.tasks
    }
    evaluator = Evaluator(
        model=trainer.outputs["model"],
        embeddings={name: embedder.outputs["embeddings"] for name, embedder in embedders.items()},
        manifests={name: ingest.outputs["manifest"] for name, ingest in ingestion.items()},
        examples={name: ingest.outputs["examples"] for name, ingest in ingestion.items()},
        protocol=protocol,
        blessing=json.dumps(asdict(config.blessing), sort_keys=True),
        baseline=run.baseline,
        run_key=run.run_key,
        code_digest=run.code["evaluator"],
    ).with_id("evaluator")
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing_artifact"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(workspace.pushed))
        ),
    ).with_id("pusher")
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(workspace.root),
        components=[
            *ingestion.values(),
            pretraining,
            schema,
            statistics,
            transform,
            trainer,
            *embedders.values(),
            evaluator,
            pusher,
        ],
        enable_cache=True,
        beam_pipeline_args=list(config.beam_args),
    )


def _ingest(node: str, source: Source, run: ResolvedRun) -> BaseComponent:
    return AudioExampleGen(
        sources=source.readers,
        splits=source.splits,
        fingerprint=source.fingerprint,
        code_digest=run.code[node],
        clips_per_shard=run.config.clips_per_shard,
        span=source.span,
    ).with_id(node)


def _transform(run: ResolvedRun, pretraining: BaseComponent, schema: BaseComponent) -> BaseComponent:
    return Transform(
        examples=pretraining.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="pipeline.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train"]),
        # Statistics of serialised spectrograms say nothing, and cost a second pass.
        disable_statistics=True,
        disable_analyzer_cache=True,
        custom_config={
            "frontend": asdict(run.config.frontend),
            "input_kind": run.input_kind,
            "code_digest": run.code["transform"],
        },
    ).with_id("transform")


def _trainer(run: ResolvedRun, workspace: Workspace, transform: BaseComponent) -> BaseComponent:
    return Trainer(
        run_fn="pipeline.training.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        train_args=trainer_pb2.TrainArgs(splits=["train"], num_steps=run.config.training.steps),
        # TFX asks for a split to evaluate on; HARES evaluates on the tasks, in a step of its own.
        eval_args=trainer_pb2.EvalArgs(splits=["train"], num_steps=1),
        custom_executor_spec=executor_spec.ExecutorClassSpec(TrainerExecutor),
        custom_config={
            "training": as_dict(run.config.training),
            "frontend": asdict(run.config.frontend),
            "num_classes": run.num_classes,
            "label_task": run.label_task,
            "code_digest": run.code["trainer"],
            "checkpoints": str(workspace.checkpoints),
        },
    ).with_id("trainer")


def _schema_text() -> str:
    return (resources.files("pipeline") / "schema" / SCHEMA_FILE).read_text(encoding="utf-8")
