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

from components.outputs import record_outputs


class TransformExecutor(transform.Executor):
    """As TFX's, and `content_digest` on each output."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See TFX's Transform."""
        super().Do(input_dict, output_dict, exec_properties)
        record_outputs(output_dict, self._context)


class StatisticsGenExecutor(statistics_gen.Executor):
    """As TFX's, and `content_digest` on each output."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See TFX's StatisticsGen."""
        super().Do(input_dict, output_dict, exec_properties)
        record_outputs(output_dict, self._context)


class ImportSchemaGenExecutor(import_schema_gen.Executor):
    """As TFX's, and `content_digest` on each output."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See TFX's ImportSchemaGen."""
        super().Do(input_dict, output_dict, exec_properties)
        record_outputs(output_dict, self._context)


class PusherExecutor(pusher.Executor):
    """As TFX's, and `content_digest` on what was pushed."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See TFX's Pusher."""
        super().Do(input_dict, output_dict, exec_properties)
        record_outputs(output_dict, self._context)
