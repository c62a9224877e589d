"""SpanWindow: joins the Examples of several spans, each of which was ingested separately."""

from __future__ import annotations

from collections.abc import Sequence

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel_utils, component_spec, standard_artifacts

from components.span_window.executor import Executor, span_key
from hares.folder import MAX_WINDOW


class SpanWindowSpec(component_spec.ComponentSpec):
    """Inputs, outputs and settings of SpanWindow.

    Each span has a named input, because the Kubeflow compiler has no unions of channels.
    """

    PARAMETERS = {"code_digest": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        span_key(number): component_spec.ChannelParameter(
            type=standard_artifacts.Examples, optional=number > 0
        )
        for number in range(MAX_WINDOW)
    }
    OUTPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}


class SpanWindow(base_component.BaseComponent):
    """Joins the training splits of up to `MAX_WINDOW` spans without reading them.

    Args:
        examples: the spans' Examples, newest first.
        code_digest: digest of the source code that it runs, since TFX's cache cannot see it.
    """

    SPEC_CLASS = SpanWindowSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, examples: Sequence[types.BaseChannel], code_digest: str):
        spec = SpanWindowSpec(
            code_digest=code_digest,
            examples=channel_utils.as_channel([standard_artifacts.Examples()]),
            **{span_key(number): channel for number, channel in enumerate(examples)},
        )
        super().__init__(spec=spec)
