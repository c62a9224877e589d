"""TFX's own executors, which also put a digest of each output's content into ML Metadata.

The executor does it and no runner, so that an artifact has its digest wherever the step ran.
"""

from __future__ import annotations

from typing import Any

from tfx import types
from tfx.components.pusher import executor as pusher
from tfx.components.schema_gen.import_schema_gen import executor as import_schema_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.transform import executor as transform
from tfx.dsl.components.base import base_executor

from components.outputs import record_outputs


class _RecordsOutputs(base_executor.BaseExecutor):
    """Goes before an executor of TFX's: does what that one does, and puts `content_digest` on each output."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See the executor of TFX's."""
        super().Do(input_dict, output_dict, exec_properties)
        record_outputs(output_dict, self._context)


class TransformExecutor(_RecordsOutputs, transform.Executor):
    """As TFX's Transform."""


class StatisticsGenExecutor(_RecordsOutputs, statistics_gen.Executor):
    """As TFX's StatisticsGen."""


class ImportSchemaGenExecutor(_RecordsOutputs, import_schema_gen.Executor):
    """As TFX's ImportSchemaGen."""


class PusherExecutor(_RecordsOutputs, pusher.Executor):
    """As TFX's Pusher; an output that was not pushed has no files, and so no digest."""
