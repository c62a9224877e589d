"""Walks over an ML Metadata store: what an artifact was made from, and what was made from it.

A step taken from the cache is a new execution with the same inputs and outputs as the one that made them. So the
*maker* of an artifact is the earliest execution with it among its outputs that was not taken from the cache, and an
upstream walk goes from an artifact to its maker to the maker's inputs. With ten thousand runs that share one ingestion
through the cache, that is one step and not ten thousand.

Every call to the store asks for many ids at once, so a walk costs a few calls for each level.

ML Metadata has no index from a node to its contexts: finding the run of an execution reads the whole table of links. So
executions name their run and node themselves; those of an earlier version do not, and cost that look-up each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.record import RUN_TYPE

T = TypeVar("T")
RUN, NODE = "run", "node"  # on artifacts, who made it; on executions, whose it is
IN = frozenset({pb.Event.INPUT, pb.Event.DECLARED_INPUT})
OUT = frozenset({pb.Event.OUTPUT, pb.Event.DECLARED_OUTPUT})
_BATCH = 1000  # ids in one question; SQL has limits


@dataclass(frozen=True, order=True)
class Link:
    """An artifact as an input or output of a step, under the step's name for it."""

    key: str
    artifact_id: int


@dataclass(frozen=True)
class Step:
    """An execution with what went in and what came out."""

    execution: pb.Execution
    inputs: tuple[Link, ...]
    outputs: tuple[Link, ...]

    @property
    def id(self) -> int:
        """Id of the execution."""
        return int(self.execution.id)

    @property
    def cached(self) -> bool:
        """Whether its outputs came from the cache."""
        return bool(self.execution.last_known_state == pb.Execution.CACHED)


@dataclass(frozen=True)
class Origin:
    """Where an execution comes from: its node of the pipeline, and its runs (TFX makes one)."""

    node: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """What a walk found: artifacts and steps by id, in the order in which they were reached."""

    artifacts: dict[int, pb.Artifact] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)


def upstream(
    store: MetadataStore, artifact_ids: Iterable[int], keep: Callable[[Step, str], bool] | None = None
) -> Graph:
    """Everything that some artifacts were made from, themselves included: their makers, the makers' inputs, and so on.

    Args:
        store: the store.
        artifact_ids: where to start.
        keep: whether the walk follows an input of a step, by its name there; None follows all.
    """
    graph = Graph()
    frontier = sorted(set(artifact_ids))
    while frontier:
        graph.artifacts.update(artifacts_by_id(store, frontier))
        new = set(makers(store, frontier, graph.artifacts).values()) - set(graph.steps)
        found = steps_by_id(store, new)
        graph.steps.update(found)
        inputs = {
            link.artifact_id
            for step in found.values()
            for link in step.inputs
            if keep is None or keep(step, link.key)
        }
        frontier = sorted(inputs - set(graph.artifacts))
    return graph


def downstream(store: MetadataStore, artifact_ids: Iterable[int]) -> Graph:
    """Everything that was made from some artifacts: the steps that read them, what those made, and so on.

    It includes steps from the cache, which show the runs that used an artifact.
    """
    graph = Graph()
    frontier = sorted(set(artifact_ids))
    while frontier:
        graph.artifacts.update(artifacts_by_id(store, frontier))
        events = events_of_artifacts(store, frontier)
        new = {event.execution_id for event in events if event.type in IN} - set(graph.steps)
        found = steps_by_id(store, new)
        graph.steps.update(found)
        outputs = {link.artifact_id for step in found.values() for link in step.outputs}
        frontier = sorted(outputs - set(graph.artifacts))
    return graph


def makers(
    store: MetadataStore, artifact_ids: Sequence[int], artifacts: Mapping[int, pb.Artifact]
) -> dict[int, int]:
    """Execution that made each artifact; those that no execution made (imported ones) are left out.

    TFX ends an artifact's URI with the id of the execution that made it. If the store confirms that, one look-up is
    enough; else all events of the artifact are read.
    """
    found: dict[int, int] = {}
    guesses = {i: guess for i in artifact_ids if (guess := _execution_in(artifacts[i].uri))}
    confirmed = steps_by_id(store, guesses.values())
    for artifact_id, guess in guesses.items():
        step = confirmed.get(guess)
        if step and not step.cached and artifact_id in {link.artifact_id for link in step.outputs}:
            found[artifact_id] = guess
    rest = [i for i in artifact_ids if i not in found]
    events = [event for event in events_of_artifacts(store, rest) if event.type in OUT]
    states = executions_by_id(store, {event.execution_id for event in events})
    ranked = sorted(
        (
            states[event.execution_id].last_known_state == pb.Execution.CACHED,
            event.execution_id,
            event.artifact_id,
        )
        for event in events
    )
    for _, execution_id, artifact_id in ranked:
        found.setdefault(artifact_id, execution_id)
    return found


def artifacts_by_id(store: MetadataStore, ids: Iterable[int]) -> dict[int, pb.Artifact]:
    """Artifacts with their types' names."""
    return {a.id: a for batch in _batches(ids, _BATCH) for a in store.get_artifacts_by_id(batch)}


def executions_by_id(store: MetadataStore, ids: Iterable[int]) -> dict[int, pb.Execution]:
    """Executions with their types' names; unknown ids are left out."""
    return {e.id: e for batch in _batches(ids, _BATCH) for e in store.get_executions_by_id(batch)}


def steps_by_id(store: MetadataStore, ids: Iterable[int]) -> dict[int, Step]:
    """Executions with their inputs and outputs; unknown ids are left out."""
    executions = executions_by_id(store, ids)
    inputs: dict[int, set[Link]] = {i: set() for i in executions}
    outputs: dict[int, set[Link]] = {i: set() for i in executions}
    for batch in _batches(executions, _BATCH):
        for event in store.get_events_by_execution_ids(batch):
            side = inputs if event.type in IN else outputs if event.type in OUT else None
            if side is not None:
                side[event.execution_id].add(Link(_key(event), event.artifact_id))
    return {
        i: Step(execution, tuple(sorted(inputs[i])), tuple(sorted(outputs[i])))
        for i, execution in sorted(executions.items())
    }


def events_of_artifacts(store: MetadataStore, ids: Iterable[int]) -> Iterator[pb.Event]:
    """Every event of some artifacts."""
    for batch in _batches(ids, _BATCH):
        yield from store.get_events_by_artifact_ids(batch)


def origins(store: MetadataStore, executions: Iterable[pb.Execution]) -> dict[int, Origin]:
    """Node and runs of each execution."""
    found: dict[int, Origin] = {}
    for execution in executions:
        properties = execution.custom_properties
        if RUN in properties and NODE in properties:
            found[execution.id] = Origin(properties[NODE].string_value, (properties[RUN].string_value,))
            continue
        try:
            own = store.get_contexts_by_execution(execution.id)
        except errors.NotFoundError:  # what ML Metadata says of none
            own = []
        node = next((context.name for context in own if context.type == "node"), "")
        pipeline = next((context.name for context in own if context.type == "pipeline"), "")
        runs = tuple(sorted(context.name for context in own if context.type == RUN_TYPE))
        found[execution.id] = Origin(node.removeprefix(f"{pipeline}."), runs)
    return found


def origins_of_steps(
    store: MetadataStore, steps: Mapping[int, Step], artifacts: Mapping[int, pb.Artifact]
) -> dict[int, Origin]:
    """As `origins`, for steps whose outputs are known: an output names the run and node that made it."""
    found: dict[int, Origin] = {}
    for step in steps.values():
        for link in () if step.cached else step.outputs:
            artifact = artifacts.get(link.artifact_id)
            if artifact is not None and {RUN, NODE} <= set(artifact.custom_properties):
                properties = artifact.custom_properties
                found[step.id] = Origin(properties[NODE].string_value, (properties[RUN].string_value,))
                break
    found.update(origins(store, [step.execution for i, step in steps.items() if i not in found]))
    return found


def nodes_of_run(
    store: MetadataStore, run: str, steps: Mapping[int, Step], artifacts: Mapping[int, pb.Artifact]
) -> dict[int, str]:
    """Node of each step of a run. A step from the cache is the node that made its outputs, as the cache's keys say."""
    found: dict[int, str] = {}
    for step in steps.values():
        for link in step.outputs:
            properties = artifacts[link.artifact_id].custom_properties
            if NODE in properties and (step.cached or properties[RUN].string_value == run):
                found[step.id] = properties[NODE].string_value
                break
    rest = origins(store, [step.execution for i, step in steps.items() if i not in found])
    return {**found, **{i: place.node for i, place in rest.items()}}


def in_order(graph: Graph) -> list[Step]:
    """The steps, each after those whose outputs it reads."""
    made_by = {link.artifact_id: step.id for step in graph.steps.values() for link in step.outputs}
    ordered: dict[int, Step] = {}
    pending = sorted(graph.steps, reverse=True)
    entered: set[int] = set()
    while pending:
        step = graph.steps[pending[-1]]
        before = {made_by.get(link.artifact_id, step.id) for link in step.inputs} - set(ordered) - {step.id}
        before -= entered
        entered.add(step.id)
        if before:
            pending += sorted(before, reverse=True)
        else:
            pending.pop()
            ordered.setdefault(step.id, step)
    return list(ordered.values())


def _key(event: pb.Event) -> str:
    """The step's name for the artifact: the first part of the event's path."""
    steps = event.path.steps
    return steps[0].key if steps and steps[0].WhichOneof("value") == "key" else ""


def _execution_in(uri: str) -> int:
    """The number at the end of an artifact's URI, put there by TFX; 0 if there is none."""
    last = os.path.basename(uri.rstrip("/"))
    return int(last) if last.isdecimal() and len(last) < 19 else 0


def _batches(ids: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(ids)
    while batch := list(islice(iterator, size)):
        yield batch
