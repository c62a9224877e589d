"""TFX's own executors, which also record provenance on their outputs.

The executors do it, not the runner, so that every artifact has its digest wherever the step ran.
"""

from __future__ import annotations

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
from tfx.types import artifact_utils
from tfx.utils import proto_utils

from components.provenance import record_outputs
from workarounds.tfx_bsl import batches_by_bytes
from workarounds.tfx_transform import uncompressed_records

_DESTINATION = "push_destination"
HIDDEN = ".part"  # below the push destination; servers look for numbers


class _RecordsOutputs(base_executor.BaseExecutor):
    """Mixin in front of an executor of TFX's: runs it, then records provenance on each output.

    The executor reads Examples in batches of bytes, so its memory does not grow with the clips.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See the executor of TFX's."""
        with batches_by_bytes():
            super().Do(input_dict, output_dict, exec_properties)
        record_outputs(output_dict, self._context)


class TransformExecutor(_RecordsOutputs, transform.Executor):
    """As TFX's Transform, in batches of bytes, and with records that can be read in any order."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See the executor of TFX's."""
        with uncompressed_records():
            super().Do(input_dict, output_dict, exec_properties)


class StatisticsGenExecutor(_RecordsOutputs, statistics_gen.Executor):
    """As TFX's StatisticsGen, in batches of bytes."""


class ImportSchemaGenExecutor(_RecordsOutputs, import_schema_gen.Executor):
    """As TFX's ImportSchemaGen."""


class PusherExecutor(_RecordsOutputs, pusher.Executor):
    """Pushes atomically (copy, then rename) under a version above all existing ones.

    TFX's Pusher copies straight into the version's folder, which a server may be watching. Killed in the middle, it
    leaves a partial model that nothing ever completes or removes. It also numbers versions by the clock: if the clock
    goes back, a new model gets a lower number than an old one, and servers keep the old one. An object store cannot
    rename a folder, so there it is TFX's way, which copies `saved_model.pb` last.

    An output that was not pushed has no files, so it has no digest.
    """

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See the executor of TFX's."""
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties[_DESTINATION], destination)
        base = destination.filesystem.base_directory
        if not base or "://" in base:
            super().Do(input_dict, output_dict, exec_properties)
            return
        beside = os.path.join(base, HIDDEN)
        if fileio.exists(beside):  # left by a push that was killed
            fileio.rmtree(beside)
        destination.filesystem.base_directory = beside
        super().Do(
            input_dict, output_dict, {**exec_properties, _DESTINATION: proto_utils.proto_to_json(destination)}
        )
        if not fileio.exists(beside):  # the model was not blessed
            return
        (stamp,) = fileio.listdir(beside)
        version = str(max(int(stamp), 1 + max(_versions(base), default=0)))
        final = os.path.join(base, version)
        fileio.rename(os.path.join(beside, stamp), final)
        fileio.rmtree(beside)
        pushed = artifact_utils.get_single_instance(output_dict["pushed_model"])
        pushed.set_string_custom_property("pushed_destination", final)
        pushed.set_string_custom_property("pushed_version", version)


def _versions(base: str) -> list[int]:
    return [int(name) for name in fileio.listdir(base) if name.isdecimal()]
