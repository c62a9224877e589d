"""The pipeline: what runs, in what order. It knows no runner.

ingest_<task> (12)                                            -> examples, manifest
ingest_pretraining [_span_<n>, joined as one]
                   -> statistics, transform (with schema)     -> log-mel spectrograms
trainer                                                       -> model, model_run
embed_<task> (12)                                             -> embeddings
evaluator                                                     -> report, blessing, metrics and page for clusters
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
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.context_managers import dsl_context_registry
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2
from tfx.types.standard_artifacts import Model

from components.audio_example_gen.component import AudioExampleGen
from components.embedder.component import Embedder
from components.evaluator.component import Evaluator
from components.span_window.component import SpanWindow
from components.standard.component import ImportSchemaGen, Pusher, StatisticsGen, Transform
from components.trainer.executor import Executor as TrainerExecutor
from hares.decoding import Limits
from pipeline.beam_args import by_step
from pipeline.resolve import ResolvedRun, Source
from pipeline.settings import as_dict
from pipeline.workspace import Workspace

SCHEMA_FILE = "examples.pbtxt"
# Features with meaningful statistics: not the bytes of waveforms, nor names that are all different.
STATISTICS_FEATURES = ["num_samples", "level_dbfs", "label"]


def create_pipeline(run: ResolvedRun) -> Pipeline:
    """All steps of a run, wired.

    Args:
        run: settings and data, resolved by `pipeline.resolve`.
    """
    with dsl_context_registry.new_registry():  # TFX's own keeps every pipeline of the process
        return _create_pipeline(run)


def _create_pipeline(run: ResolvedRun) -> Pipeline:
    config, workspace = run.config, Workspace(run.workspace)
    protocol = json.dumps(as_dict(config.protocol), sort_keys=True)
    ingestion = {name: _ingest(f"ingest_{name}", source, run) for name, source in run.tasks.items()}
    spans = [
        _ingest(_pretraining_node(source), source, run) for source in (run.pretraining, *run.older_spans)
    ]
    window = [_span_window(spans, run)] if run.older_spans else []
    pretraining = (window or spans)[0]
    base_model = _base_model(run)
    schema = ImportSchemaGen(schema_file=str(workspace.keep("schema", SCHEMA_FILE, _schema_text()))).with_id(
        "schema"
    )
    statistics = StatisticsGen(
        examples=pretraining.outputs["examples"],
        stats_options=tfdv.StatsOptions(feature_allowlist=STATISTICS_FEATURES),
    ).with_id("statistics")
    transform = _transform(run, pretraining, schema)
    trainer = _trainer(run, workspace, transform, base_model)
    embedders = {
        name: Embedder(
            examples=ingestion[name].outputs["examples"],
            model=trainer.outputs["model"],
            model_run=trainer.outputs["model_run"] if config.compare_untrained else None,
            task=name,
            protocol=protocol,
            code_digest=run.code[f"embed_{name}"],
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
    everywhere, spread_only = by_step(config.beam_args)
    for step in (*ingestion.values(), *spans, *embedders.values()):
        step.with_beam_pipeline_args(spread_only)
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(workspace.root),
        components=[
            *ingestion.values(),
            *spans,
            *window,
            *([base_model] if base_model else []),
            schema,
            statistics,
            transform,
            trainer,
            *embedders.values(),
            evaluator,
            pusher,
        ],
        enable_cache=True,
        beam_pipeline_args=everywhere,
    )


def _ingest(node: str, source: Source, run: ResolvedRun) -> BaseComponent:
    return AudioExampleGen(
        sources=source.readers,
        splits=source.splits,
        fingerprint=source.fingerprint,
        code_digest=run.code["ingest_pretraining" if node.startswith("ingest_pretraining") else node],
        clips_per_shard=run.config.clips_per_shard,
        limits=Limits(longest=run.config.longest_clip),
        decoders=run.decoders,
        span=source.span,
    ).with_id(node)


def _pretraining_node(source: Source) -> str:
    """The node's name holds the span, so the span comes from the cache in any later window."""
    return "ingest_pretraining" if source.span is None else f"ingest_pretraining_span_{source.span}"


def _span_window(spans: list[BaseComponent], run: ResolvedRun) -> BaseComponent:
    return SpanWindow(
        examples=[span.outputs["examples"] for span in spans], code_digest=run.code["span_window"]
    ).with_id("ingest_pretraining")


def _base_model(run: ResolvedRun) -> Importer | None:
    """The model that training starts from, as an artifact, so that lineage continues through it."""
    if run.warm_start is None:
        return None
    return Importer(
        source_uri=run.warm_start.model,
        artifact_type=Model,
        custom_properties={"weights_digest": run.warm_start.digest},
    ).with_id("base_model")


def _transform(run: ResolvedRun, pretraining: BaseComponent, schema: BaseComponent) -> BaseComponent:
    return Transform(
        examples=pretraining.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="pipeline.entry_points.preprocessing.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=["train"]),
        # Statistics of serialised spectrograms are meaningless, and cost a second pass.
        disable_statistics=True,
        disable_analyzer_cache=True,
        custom_config={
            "frontend": asdict(run.config.frontend),
            "input_kind": run.input_kind,
            "code_digest": run.code["transform"],
        },
    ).with_id("transform")


def _trainer(
    run: ResolvedRun, workspace: Workspace, transform: BaseComponent, base_model: Importer | None
) -> BaseComponent:
    return Trainer(
        run_fn="pipeline.entry_points.training.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        base_model=base_model.outputs["result"] if base_model else None,
        train_args=trainer_pb2.TrainArgs(splits=["train"], num_steps=run.config.training.steps),
        # TFX wants a split to evaluate on; HARES evaluates on the tasks, in a step of its own.
        eval_args=trainer_pb2.EvalArgs(splits=["train"], num_steps=1),
        custom_executor_spec=executor_spec.ExecutorClassSpec(TrainerExecutor),
        custom_config={
            "training": as_dict(run.config.training),
            "frontend": asdict(run.config.frontend),
            "num_classes": run.num_classes,
            "label_task": run.label_task,
            "code_digest": run.code["trainer"],
            "checkpoint_code": run.code["checkpoints"],
            "plugins": as_dict(run.config)["plugins"],
            "checkpoints": str(workspace.checkpoints),
            "warm_start": asdict(run.warm_start) if run.warm_start else None,
        },
    ).with_id("trainer")


def _schema_text() -> str:
    return (resources.files("pipeline") / "schema" / SCHEMA_FILE).read_text(encoding="utf-8")
