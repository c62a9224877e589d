"""TFX's own executors, which also put a digest of each output's content into ML Metadata.

The executor does it and no runner, so that an artifact has its digest wherever the step ran.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any

from tfx import types
from tfx.components.pusher import executor as pusher
from tfx.components.schema_gen.import_schema_gen import executor as import_schema_gen
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.transform import executor as transform
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

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
    """As TFX's Pusher, but a version appears at the destination when it is whole.

    TFX's copies file by file into the version's folder, which a push that was killed leaves half full among the models
    to be served. Here it does so in a hidden folder beside the versions, which is then renamed. An output that was not
    pushed has no files, and so no digest.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `Pusher`; of destinations a folder alone is known."""
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination)
        versions = destination.filesystem.base_directory
        coming = os.path.join(versions, f".coming-{hashlib.sha256(pushed.uri.encode()).hexdigest()[:12]}")
        if fileio.exists(coming):  # of a push that was killed
            fileio.rmtree(coming)
        destination.filesystem.base_directory = coming
        changed = {
            **exec_properties,
            standard_component_specs.PUSH_DESTINATION_KEY: proto_utils.proto_to_json(destination),
        }
        super().Do(input_dict, output_dict, changed)
        if not fileio.exists(coming):  # the model was not blessed
            return
        (version,) = fileio.listdir(coming)
        while fileio.exists(
            os.path.join(versions, version)
        ):  # versions are seconds: another one of this second
            version = str(int(version) + 1)
        final = os.path.join(versions, version)
        fileio.rename(pushed.get_string_custom_property("pushed_destination"), final)
        fileio.rmtree(coming)
        pushed.set_string_custom_property("pushed_destination", final)
        pushed.set_string_custom_property("pushed_version", version)
