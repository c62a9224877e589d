"""Evaluator: the embeddings of all tasks become twelve scores, one report and a blessing."""

from __future__ import annotations

from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import channel_utils, component_spec, standard_artifacts

from components.artifacts import AudioManifest, Embeddings, ProbeReport, ReportPage, ScoreMetrics
from components.evaluator.executor import Executor
from components.properties import INPUTS_OF_TASK, input_key
from hares.task import task_names


class EvaluatorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and settings of Evaluator.

    Each task has named inputs, because the Kubeflow compiler has no unions of channels.
    """

    PARAMETERS = {
        "protocol": component_spec.ExecutionParameter(type=str),
        "blessing": component_spec.ExecutionParameter(type=str),
        "baseline": component_spec.ExecutionParameter(type=str),
        "run_key": component_spec.ExecutionParameter(type=str),
        "code_digest": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        **{
            input_key(what, task): component_spec.ChannelParameter(type=kind, optional=True)
            for task in task_names()
            for what, kind in zip(
                INPUTS_OF_TASK, (Embeddings, AudioManifest, standard_artifacts.Examples), strict=True
            )
        },
    }
    OUTPUTS = {
        "report": component_spec.ChannelParameter(type=ProbeReport),
        "blessing_artifact": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
        "metrics": component_spec.ChannelParameter(type=ScoreMetrics),
        "page": component_spec.ChannelParameter(type=ReportPage),
    }


class Evaluator(base_component.BaseComponent):
    """Runs the probes of all tasks on their embeddings.

    Args:
        model: the encoder that is being scored.
        embeddings: task name to its Embeddings.
        manifests: task name to its AudioManifest, for the clip counts beside each score.
        protocol: `ProtocolSettings` as JSON.
        blessing: the rule, `BlessingConfig` as JSON.
        baseline: folder of the latest blessed model's report, or "" if there is none.
        run_key: digest of settings, data and code; it tells this run's report from earlier ones.
        code_digest: digest of the source code that evaluation runs.
        examples: task name to its Examples, for the report's spectrograms; None for a report without them.
    """

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: types.BaseChannel,
        embeddings: Mapping[str, types.BaseChannel],
        manifests: Mapping[str, types.BaseChannel],
        protocol: str,
        blessing: str,
        baseline: str,
        run_key: str,
        code_digest: str,
        examples: Mapping[str, types.BaseChannel] | None = None,
    ):
        spec = EvaluatorSpec(
            model=model,
            protocol=protocol,
            blessing=blessing,
            baseline=baseline,
            run_key=run_key,
            code_digest=code_digest,
            report=channel_utils.as_channel([ProbeReport()]),
            blessing_artifact=channel_utils.as_channel([standard_artifacts.ModelBlessing()]),
            metrics=channel_utils.as_channel([ScoreMetrics()]),
            page=channel_utils.as_channel([ReportPage()]),
            **{
                input_key(what, task): channel
                for what, channels in zip(
                    INPUTS_OF_TASK, (embeddings, manifests, examples or {}), strict=True
                )
                for task, channel in channels.items()
            },
        )
        super().__init__(spec=spec)
