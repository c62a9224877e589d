"""Small stores in memory for tests of lineage, written through the raw ML Metadata API as TFX writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.connection import sqlite_config, store_address

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


def open_store(path: Path) -> MetadataStore:
    """A workspace's SQLite store, which must exist."""
    return store_address("", path).open()


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
        pipeline: str = "p",
        named: bool = True,
        **properties: str | int | float,
    ) -> int:
        """An execution with its events, in the contexts in which TFX puts it.

        One of an earlier version is not `named`: only its contexts say of which run and node it is.
        """
        type_id = self.store.put_execution_type(pb.ExecutionType(name=f"type.of.{node}"), can_add_fields=True)
        execution = pb.Execution(type_id=type_id, last_known_state=state)
        set_properties(execution, {**properties, **({"run": run, "node": node} if named else {})})
        contexts = [
            self.context("pipeline", pipeline),
            self.context("pipeline_run", run),
            self.context("node", f"{pipeline}.{node}"),
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


TYPES = ("Examples", "Model", "components.AudioManifest", "components.Embeddings", "PushedModel")


@st.composite
def stores(draw: st.DrawFn) -> StoreWriter:
    """A few runs of random steps: some cached, some that failed, artifacts from nowhere, URIs that mislead."""
    writer = StoreWriter()
    known = [
        writer.artifact(draw(st.sampled_from(TYPES)), f"/imported/{i}")
        for i in range(draw(st.integers(1, 3)))
    ]
    finished: list[tuple[str, list[tuple[str, int]], list[tuple[str, int]]]] = []
    executions = 0
    for number in range(draw(st.integers(1, 14))):
        run, named = f"run{draw(st.integers(0, 3))}", draw(st.booleans())
        executions += 1
        if finished and draw(st.booleans()):
            node, inputs, outputs = draw(st.sampled_from(finished))
            writer.step(run, node, inputs, outputs, CACHED, named=named)
            continue
        node = f"node{draw(st.integers(0, 4))}"
        chosen = draw(st.lists(st.sampled_from(known), max_size=4))
        inputs = [(f"in{draw(st.integers(0, 2))}", i) for i in dict.fromkeys(chosen)]
        state = draw(st.sampled_from([COMPLETE, COMPLETE, COMPLETE, FAILED, RUNNING]))
        outputs = []
        if state == COMPLETE:
            for i in range(draw(st.integers(0, 3))):
                # As TFX names it, after another execution, or in no such way.
                last = draw(st.sampled_from([executions, executions + 1, executions + 2, 1, "x"]))
                kind = draw(st.sampled_from(TYPES))
                says = {"run": run, "node": node} if draw(st.booleans()) else {}
                outputs.append(
                    (
                        f"out{i}",
                        writer.artifact(kind, f"/artifacts/{node}/{number}-{i}/{last}", pushed=1, **says),
                    )
                )
            finished.append((node, inputs, outputs))
            if draw(st.booleans()):  # an import may bring a copy before what it is a copy of
                writer.step(run, node, inputs, outputs, CACHED, named=named)
                executions += 1
        writer.step(run, node, inputs, outputs, state, named=named)
        known += [i for _, i in outputs]
    return writer
