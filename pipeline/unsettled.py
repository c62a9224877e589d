"""Whether an ingestion may come from the cache: not if it rejected a file that would be accepted now.

A file may be rejected because of the machine: it took too long, or needed an ffmpeg that was missing
(`hares.task.UNSETTLED`). TFX's cache would keep that verdict while data and code stay the same. So such files are tried
again before the cache is used, and the step runs again only if one of them has another outcome.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx.dsl.compiler import constants
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2

from components.artifacts import REJECTED_FILE
from components.audio_example_gen.component import AudioExampleGen
from components.audio_example_gen.executor import UNSETTLED_PROPERTY
from hares.decoding import Limits
from hares.ingest import Entry, list_entries, still_refused
from hares.plain_data import from_json
from pipeline.lineage.tfx_connection import TfxConnection
from workarounds.ml_metadata import nodes

_TYPE = f"{AudioExampleGen.__module__}.{AudioExampleGen.__name__}"


def may_come_from_cache(node: pipeline_pb2.PipelineNode, connection: TfxConnection) -> bool:
    """Whether a step would make again what the cache has of it, if anything.

    Raises:
        MachineError: a file cannot be tried again because of a fault of this machine.
    """
    if node.node_info.type.name != _TYPE:
        return True
    wanted = {name: value.field_value for name, value in node.parameters.parameters.items()}
    with connection as handle:
        listed = _unsettled_list(handle.store, node, wanted)
    if listed is None or not listed.is_file():  # TFX also finds that it is missing, and runs the step
        return True
    lines = listed.read_text(encoding="utf-8").splitlines()
    sources = json.loads(wanted["sources"].string_value)
    splits = json.loads(wanted["splits"].string_value)
    limits = from_json(Limits, wanted["limits"].string_value)
    entries = (item for item in list_entries(sources, splits) if isinstance(item, Entry))
    return still_refused(map(json.loads, lines), entries, sources, limits)


def _unsettled_list(
    store: MetadataStore, node: pipeline_pb2.PipelineNode, wanted: dict[str, pb.Value]
) -> Path | None:
    """The list of files that the step rejected when it last had these parameters, if some because of the machine."""
    newest = next(
        (
            execution
            for execution in _executions(store, node)
            if execution_lib.is_execution_successful(execution)
            and all(execution.custom_properties[name] == value for name, value in wanted.items())
        ),
        None,
    )
    if newest is None:
        return None
    events = store.get_events_by_execution_ids([newest.id])
    outputs = [event.artifact_id for event in events if event.type == pb.Event.OUTPUT]
    for artifact in store.get_artifacts_by_id(outputs):
        if artifact.custom_properties[UNSETTLED_PROPERTY].int_value:
            return Path(artifact.uri, REJECTED_FILE)
    return None


def _executions(store: MetadataStore, node: pipeline_pb2.PipelineNode) -> Iterator[pb.Execution]:
    """The step's executions, the newest first: as a rule it had these parameters in the last run."""
    for spec in node.contexts.contexts:
        if spec.type.name == constants.NODE_CONTEXT_TYPE_NAME:
            context = store.get_context_by_type_and_name(spec.type.name, spec.name.field_value.string_value)
            if context is not None:
                yield from nodes(store, "execution", in_context=context.id, newest_first=True)
