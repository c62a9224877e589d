"""TFX's own components with the executors of `components.standard.executor`; nothing else differs."""

from __future__ import annotations

from tfx import components as tfx_components
from tfx.components.schema_gen.import_schema_gen import component as import_schema_gen
from tfx.dsl.components.base import executor_spec

from components.standard.executor import (
    ImportSchemaGenExecutor,
    PusherExecutor,
    StatisticsGenExecutor,
    TransformExecutor,
)


class Transform(tfx_components.Transform):
    """As TFX's; its outputs carry a digest of their content."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)


class StatisticsGen(tfx_components.StatisticsGen):
    """As TFX's; its output carries a digest of its content."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StatisticsGenExecutor)


class ImportSchemaGen(import_schema_gen.ImportSchemaGen):
    """As TFX's; its output carries a digest of its content."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ImportSchemaGenExecutor)


class Pusher(tfx_components.Pusher):
    """As TFX's; its output carries a digest of its content where the model was pushed."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)
