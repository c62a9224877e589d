"""TFX's own components with the executors of `components.standard.executor`; they are otherwise unchanged."""

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
    """TFX's component with our executor."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(TransformExecutor)


class StatisticsGen(tfx_components.StatisticsGen):
    """TFX's component with our executor."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(StatisticsGenExecutor)


class ImportSchemaGen(import_schema_gen.ImportSchemaGen):
    """TFX's component with our executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(ImportSchemaGenExecutor)


class Pusher(tfx_components.Pusher):
    """TFX's component with our executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(PusherExecutor)
