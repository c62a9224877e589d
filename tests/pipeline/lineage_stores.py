"""Small stores in memory for tests of lineage, written through the raw ML Metadata API as TFX writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.connection import sqlite_config

COMPLETE, CACHED, FAILED, RUNNING = (
    pb.Execution.COMPLETE,
    pb.Execution.CACHED,
    pb.Execution.FAILED,
    pb.Execution.RUNNING,
)


def create_store(path: Path) -> MetadataStore:
    """A SQLite store, made with its folder where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return MetadataStore(sqlite_config(path))


def memory_store() -> MetadataStore:
    config = pb.ConnectionConfig()
    config.fake_database.SetInParent()
    return MetadataStore(config)


@dataclass
class StoreWriter:
    """Writes runs, steps and artifacts; ids come back as ML Metadata gives them."""

    store: MetadataStore = field(default_factory=memory_store)

    def artifact_type(self, name: str) -> int:
        return self.store.put_artifact_type(pb.ArtifactType(name=name), can_add_fields=True)

    def context(self, kind: str, name: str, **properties: str | int | float) -> pb.Context:
        """A context as the store has it, made at the first call."""
        found = self.store.get_context_by_type_and_name(kind, name)
        if found is None:
            type_id = self.store.put_context_type(pb.ContextType(name=kind), can_add_fields=True)
            context = pb.Context(type_id=type_id, name=name)
            set_properties(context, properties)
            self.store.put_contexts([context])
            found = self.store.get_context_by_type_and_name(kind, name)
        return found

    def artifact(self, kind: str, uri: str = "", **properties: str | int | float) -> int:
        artifact = pb.Artifact(type_id=self.artifact_type(kind), uri=uri, state=pb.Artifact.LIVE)
        set_properties(artifact, properties)
        (artifact_id,) = self.store.put_artifacts([artifact])
        return artifact_id

    def step(
        self,
        run: str,
        node: str,
        inputs: Sequence[tuple[str, int]],
        outputs: Sequence[tuple[str, int]],
        state: int = COMPLETE,
        **properties: str | int | float,
    ) -> int:
        """An execution with its events, in the contexts in which TFX puts it."""
        type_id = self.store.put_execution_type(pb.ExecutionType(name=f"type.of.{node}"), can_add_fields=True)
        execution = pb.Execution(type_id=type_id, last_known_state=state)
        set_properties(execution, properties)
        contexts = [
            self.context("pipeline", "p"),
            self.context("pipeline_run", run),
            self.context("node", f"p.{node}"),
        ]
        artifacts = self.store.get_artifacts_by_id([i for _, i in (*inputs, *outputs)])
        by_id = {artifact.id: artifact for artifact in artifacts}
        pairs = [
            (by_id[artifact_id], event(kind, key, artifact_id))
            for kind, links in ((pb.Event.INPUT, inputs), (pb.Event.OUTPUT, outputs))
            for key, artifact_id in links
        ]
        return self.store.put_execution(execution, pairs, contexts)[0]


def event(kind: int, key: str, artifact_id: int) -> pb.Event:
    found = pb.Event(type=kind, artifact_id=artifact_id)
    found.path.steps.add().key = key
    found.path.steps.add().index = 0
    return found


def set_properties(
    node: pb.Artifact | pb.Execution | pb.Context, values: Mapping[str, str | int | float]
) -> None:
    for name, value in values.items():
        target = node.custom_properties[name]
        if isinstance(value, str):
            target.string_value = value
        elif isinstance(value, int):
            target.int_value = value
        else:
            target.double_value = value
