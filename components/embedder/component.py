"""Embedder: a task's Examples become embeddings by the frozen encoder."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import channel_utils, component_spec, standard_artifacts

from components.artifacts import Embeddings
from components.embedder.executor import Executor


class EmbedderSpec(component_spec.ComponentSpec):
    """Inputs, outputs and settings of Embedder."""

    PARAMETERS = {
        "task": component_spec.ExecutionParameter(type=str),
        "protocol": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
    }
    OUTPUTS = {"embeddings": component_spec.ChannelParameter(type=Embeddings)}


class Embedder(base_beam_component.BaseBeamComponent):
    """Embeds every clip that the task's protocol uses, once.

    Args:
        examples: the task's clips.
        model: the trained encoder.
        task: the task's name, which decides the crops.
        protocol: `ProtocolSettings` as JSON.
        code_digest: digest of the source code that embedding runs.
        model_run: if given, the untrained encoder that the Trainer kept there embeds the clips too, for the floor that
            the report shows beside each score.
    """

    SPEC_CLASS = EmbedderSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        task: str,
        protocol: str,
        code_digest: str,
        model_run: types.BaseChannel | None = None,
    ):
        spec = EmbedderSpec(
            examples=examples,
            model=model,
            model_run=model_run,
            task=task,
            protocol=protocol,
            code_digest=code_digest,
            embeddings=channel_utils.as_channel([Embeddings()]),
        )
        super().__init__(spec=spec)
