"""TFX's own executors, which also put a digest of each output's content into ML Metadata.

The executor does it and no runner, so that an artifact has its digest wherever the step ran.
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

_DESTINATION = "push_destination"
HIDDEN = ".part"  # below the push destination; servers look for numbers


class _RecordsOutputs(base_executor.BaseExecutor):
    """Goes before an executor of TFX's: does what that one does, and puts `content_digest` on each output.

    Where that one reads Examples it gets them in batches of bytes, so that its memory does not grow with the clips.
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
    """As TFX's Transform, in batches of bytes."""


class StatisticsGenExecutor(_RecordsOutputs, statistics_gen.Executor):
    """As TFX's StatisticsGen, in batches of bytes."""


class ImportSchemaGenExecutor(_RecordsOutputs, import_schema_gen.Executor):
    """As TFX's ImportSchemaGen."""


class PusherExecutor(_RecordsOutputs, pusher.Executor):
    """As TFX's Pusher, in one move, and under a number that is the highest.

    TFX's copies straight into the version's folder, which a server may be watching: killed in the middle, it leaves a
    part of a model there that nothing ever completes or removes. It also numbers versions by the clock alone: one that
    went back numbers a new model below an old one, which servers then keep. Here the model is copied beside, under a
    hidden name, moved when it is whole, and numbered above all that are there. An object store cannot move a folder
    at once: there it is TFX's way, which copies `saved_model.pb` last.

    An output that was not pushed has no files, and so no digest.
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
        if fileio.exists(beside):  # of a push that was killed
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
