"""TFX's cache keyed by content: a workspace or corpus that was moved or copied still gets every step from it.

TFX's own key holds the absolute paths, ids and times of inputs and settings. This one holds the same records, but

- a workspace's folder counts as its family (`pipeline.identity`), so copies of one workspace agree. An artifact counts
  as its place in the workspace: execution numbers are never reused, so that place stands for content within a store;
- the fingerprint of a data set, and the digests of plugins and of starting weights, count instead of their paths;
- ids, times and the run that made an artifact do not count.

A cached output is checked before it is used: its files must be as they were recorded. If it is in another workspace,
and this one is a copy that has the files too, the outputs are recorded once more, here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from tfx import types
from tfx.dsl.io import fileio
from tfx.orchestration import metadata
from tfx.orchestration.portable.mlmd import context_lib, execution_lib
from tfx.proto.orchestration import pipeline_pb2
from tfx.types import artifact_utils

from components.properties import CURRENT_MODEL, CURRENT_MODEL_ID, PUSHED, PUSHED_DESTINATION
from components.provenance import LISTING, files_listing
from pipeline.identity import Identity
from pipeline.lineage.ownership import FAMILY, PLACE, WORKSPACE_TYPE, Ownership, contexts_of_type
from pipeline.lineage.store import COPY_OF
from pipeline.relocation import moved, moved_text
from workarounds.tfx import cache_replaced, outputs_of_execution

_NOT_IN_KEYS = frozenset({"run", CURRENT_MODEL_ID, COPY_OF})
_SOURCES, _FINGERPRINT = "sources", "fingerprint"


@dataclass
class PortableCache:
    """The cache of one run.

    Attributes:
        root: the pipeline root.
        run_id: the run's name.
        identity: the workspace's; None if the pipeline root is in no workspace, whose folder then counts as it is.
        stand_ins: what counts instead of a path, by path, where a digest of the content is known.
    """

    root: Path
    run_id: str
    identity: Identity | None = None
    stand_ins: Mapping[str, str] = field(default_factory=dict)

    def used(self) -> AbstractContextManager[None]:
        """TFX's launcher looks things up in this cache inside the block."""
        return cache_replaced(self._context, self._outputs)

    def _context(
        self,
        metadata_handle: metadata.Metadata,
        pipeline_node: pipeline_pb2.PipelineNode,
        pipeline_info: pipeline_pb2.PipelineInfo,
        executor_spec: Message | None = None,
        input_artifacts: Mapping[str, Sequence[types.Artifact]] | None = None,
        output_artifacts: Mapping[str, Sequence[types.Artifact]] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> pb.Context:
        """As `cache_utils.get_cache_context`."""
        names = self._names(metadata_handle.store)
        content = {
            "pipeline": pipeline_info.id,
            "node": [pipeline_node.node_info.id, pipeline_node.node_info.type.name],
            "executor": _named(text_format.MessageToString(executor_spec, as_utf8=True), names)
            if executor_spec
            else "",
            "inputs": {
                key: [_described(artifact.mlmd_artifact, artifact.type_name, names) for artifact in artifacts]
                for key, artifacts in (input_artifacts or {}).items()
            },
            "outputs": {
                key: [
                    _described(artifact.mlmd_artifact, artifact.type_name, names, place=False)
                    for artifact in artifacts
                ]
                for key, artifacts in (output_artifacts or {}).items()
            },
            "parameters": {
                key: _named(str(value), names) for key, value in _without_sources(parameters or {}).items()
            },
        }
        text = json.dumps(content, sort_keys=True)
        return context_lib.register_context_if_not_exists(
            metadata_handle=metadata_handle,
            context_type_name=context_lib.CONTEXT_TYPE_EXECUTION_CACHE,
            context_name=hashlib.sha256(text.encode()).hexdigest(),
        )

    def _outputs(
        self, metadata_handle: metadata.Metadata, cache_context: pb.Context
    ) -> dict[str, list[types.Artifact]] | None:
        """As `cache_utils.get_cached_outputs`: own outputs first, then those copied here, then others."""
        store = metadata_handle.store
        executions = [
            execution
            for execution in store.get_executions_by_context(cache_context.id)
            if execution_lib.is_execution_successful(execution)
        ]
        if not executions:
            return None
        ownership = Ownership(store, self.root, self.identity)
        others = []
        for execution in execution_lib.sort_executions_newest_to_oldest(executions):
            outputs = outputs_of_execution(metadata_handle, execution.id)
            if outputs is None:
                continue
            flat = [artifact for artifacts in outputs.values() for artifact in artifacts]
            if not all(ownership.ours(artifact.mlmd_artifact) for artifact in flat):
                others.append(outputs)
            elif all(_is_whole(artifact.mlmd_artifact, artifact.uri) for artifact in flat):
                return outputs
        for outputs in others:
            if (here := self._recorded_here(store, outputs)) is not None:
                return here
        for outputs in others:
            flat = [artifact.mlmd_artifact for artifacts in outputs.values() for artifact in artifacts]
            if all(_is_whole(artifact, artifact.uri) and not _is_pushed(artifact) for artifact in flat):
                return outputs
        return None

    def _recorded_here(
        self, store: MetadataStore, outputs: Mapping[str, Sequence[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Another workspace's outputs as this one's own; None if some of their files are missing here."""
        if self.identity is None:
            return None
        places = [
            context.custom_properties[PLACE].string_value
            for context in contexts_of_type(store, WORKSPACE_TYPE)
            if context.custom_properties[FAMILY].string_value == self.identity.family
        ]
        places.sort(key=len, reverse=True)
        found: dict[str, list[types.Artifact]] = {}
        for key, artifacts in outputs.items():
            found[key] = []
            for artifact in artifacts:
                theirs = artifact.mlmd_artifact
                old = next((place for place in places if Path(theirs.uri).is_relative_to(place)), None)
                if old is None:
                    return None
                copy = moved(theirs, old, self.identity.place) or pb.Artifact.FromString(
                    theirs.SerializeToString()
                )
                if LISTING not in copy.custom_properties or not _is_whole(copy, copy.uri):
                    return None
                if _is_pushed(copy) and not os.path.isdir(
                    copy.custom_properties[PUSHED_DESTINATION].string_value
                ):
                    return None
                self._sign(store, copy, theirs)
                kind = store.get_artifact_types_by_id([theirs.type_id])[0]
                found[key].append(artifact_utils.deserialize_artifact(kind, copy))
        return found

    def _sign(self, store: MetadataStore, copy: pb.Artifact, theirs: pb.Artifact) -> None:
        """Turns the copy into a record of this run, which TFX stores when it publishes the step."""
        for name in ("id", "name", "external_id", "create_time_since_epoch", "last_update_time_since_epoch"):
            copy.ClearField(name)
        properties = copy.custom_properties
        if COPY_OF not in properties:
            properties[COPY_OF].string_value = properties["run"].string_value
        properties["run"].string_value = self.run_id
        if CURRENT_MODEL_ID in properties:
            models = store.get_artifacts_by_uri(properties[CURRENT_MODEL].string_value)
            properties[CURRENT_MODEL_ID].int_value = max(
                (model.id for model in models), default=properties[CURRENT_MODEL_ID].int_value
            )

    def _names(self, store: MetadataStore) -> list[tuple[str, str]]:
        """What counts instead of each path that a key must not hold, the longest path first."""
        names = {
            context.custom_properties[PLACE].string_value: context.custom_properties[FAMILY].string_value
            for context in contexts_of_type(store, WORKSPACE_TYPE)
        }
        if self.identity is not None:
            names[self.identity.place] = self.identity.family
        paths = {path: f"{{workspace {family}}}" for path, family in names.items() if path}
        paths.update(self.stand_ins)
        return sorted(paths.items(), key=lambda item: (-len(item[0]), item[0]))


def _described(
    artifact: pb.Artifact, kind: str, names: Sequence[tuple[str, str]], place: bool = True
) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for values in (artifact.properties, artifact.custom_properties):
        for name, value in values.items():
            if name not in _NOT_IN_KEYS:
                kind_of_value = value.WhichOneof("value")
                properties[name] = [kind_of_value, _named(str(getattr(value, kind_of_value)), names)]
    return {"type": kind, "uri": _named(artifact.uri, names) if place else "", "properties": properties}


def _named(text: str, names: Sequence[tuple[str, str]]) -> str:
    for path, name in names:
        text = moved_text(text, path, name)
    return text


def _without_sources(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """An ingestion's readers without their folders; the fingerprint counts instead."""
    if not {_SOURCES, _FINGERPRINT} <= parameters.keys():
        return dict(parameters)
    return {**parameters, _SOURCES: json.dumps(sorted(json.loads(parameters[_SOURCES])))}


def _is_whole(artifact: pb.Artifact, uri: str) -> bool:
    """Whether its files have the names and sizes that were recorded; in a partial copy they do not."""
    if not uri or not fileio.exists(uri):
        return False
    recorded = artifact.custom_properties
    return LISTING not in recorded or recorded[LISTING].string_value == files_listing(uri)


def _is_pushed(artifact: pb.Artifact) -> bool:
    """Whether it was also pushed outside of the workspace's artifacts."""
    return PUSHED in artifact.custom_properties and artifact.custom_properties[PUSHED].int_value == 1
