"""Writes an imported run into a store, where it can be queried like a local one.

It writes contexts, then artifacts, then executions with their events (each batch in one transaction), then the links to
contexts, and last the run's outcome. Every node has its key as external id, which is unique in ML Metadata: a second
import finds what the first one wrote, adds what is new and updates the rest. An import that was interrupted left
complete batches, and the next one continues after them.

Outputs record `run` and `node` as the components' own do; a cached output records the run that made it, once that run
is imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import CURRENT_MODEL, CURRENT_MODEL_ID
from pipeline.lineage.graph import NODE, RUN
from pipeline.lineage.importing.recorded import (
    ImportFailedError,
    NothingToImportError,
    RecordedArtifact,
    RecordedContext,
    RecordedEvent,
    RecordedRun,
    Value,
    facts_of_steps,
)
from pipeline.lineage.record import RUN_TYPE, outcome_of, properties_of_facts, put_config

IMPORT = "import"  # property of a run's context: how far its import is
UNDER_WAY, WHOLE = "under way", "whole"
_MOUNTED, _BUCKET = "/gcs/", "gs://"  # where steps on a cluster see a bucket, and the bucket's own address
_SAME = 1e-6
_BATCH = 100  # ML Metadata's limit of nodes in one call


@dataclass(frozen=True)
class Imported:
    """Counts of what was new, and of nodes that had changed since an earlier import."""

    contexts: int = 0
    artifacts: int = 0
    executions: int = 0
    events: int = 0
    updated: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True))
        )


def write_run(store: MetadataStore, run: RecordedRun) -> Imported:
    """Writes a run, or what is new of it.

    Raises:
        ImportFailedError: the store has another run of this name.
    """
    nodes = sorted({execution.node for execution in run.executions})
    contexts = [
        *run.others,
        dataclasses.replace(run.run, properties={**run.run.properties, IMPORT: UNDER_WAY}),
        RecordedContext("", "pipeline", run.pipeline, {}),
        *(RecordedContext("", "node", f"{run.pipeline}.{node}", {}) for node in nodes),
    ]
    context_ids, done = _write_contexts(store, contexts)
    artifact_ids, new = _write_artifacts(store, run)
    done += new
    execution_ids, new = _write_executions(store, run, artifact_ids)
    done += new
    run_id = context_ids[RUN_TYPE, run.run.name]
    shared = [run_id, context_ids["pipeline", run.pipeline]]
    of_execution = {e.key: [*shared, context_ids["node", f"{run.pipeline}.{e.node}"]] for e in run.executions}
    made: dict[str, set[int]] = {}
    for event in run.events:
        if event.output:
            made.setdefault(event.artifact, set()).update(of_execution[event.execution])
    touched = {event.artifact for event in run.events}
    for artifact in run.artifacts:  # someone put artifacts into the run that no step touched
        if artifact.key not in touched:
            made[artifact.key] = set(shared)
    _tie(
        store,
        [(artifact_ids[key], i) for key, ids in made.items() for i in sorted(ids)],
        [(execution_ids[key], i) for key, ids in of_execution.items() for i in ids],
    )
    facts, config = facts_of_steps(run.executions)
    facts["pipeline"] = run.pipeline
    if config := dict(run.config) or config:
        facts["config_digest"] = put_config(store, config)
    return done + Imported(updated=_finish(store, run_id, {**facts, **run.facts}))


def write_runs(
    store: MetadataStore, names: Iterable[str], read: Callable[[str], RecordedRun], again: bool = False
) -> dict[str, Imported]:
    """Writes runs, what is new of each by its name.

    Args:
        store: ours.
        names: of the runs, in the order in which they are written.
        read: gives the run of a name.
        again: whether those are read too that had ended when they were imported. Without it, runs with nothing to
            import are passed over.

    Raises:
        ImportFailedError: a run cannot be read, or the store has another one of its name; those before it are written.
    """
    done = {}
    for name in names:
        if again or not imported_whole(store, name):
            try:
                run = read(name)
            except NothingToImportError:
                if again:
                    raise
                continue
            done[run.run.name] = write_run(store, run)
    return done


def imported_whole(store: MetadataStore, run: str) -> bool:
    """Whether an earlier import was complete, and the run had ended."""
    context = store.get_context_by_type_and_name(RUN_TYPE, run)
    return (
        context is not None
        and context.custom_properties[IMPORT].string_value == WHOLE
        and "end" in context.custom_properties
    )


def _write_contexts(
    store: MetadataStore, contexts: Sequence[RecordedContext]
) -> tuple[dict[tuple[str, str], int], Imported]:
    """Ids by type and name. A context without a key, as a pipeline's, is the store's own of that name."""
    ids: dict[tuple[str, str], int] = {}
    by_key: dict[str, int] = {}
    new = updated = 0
    for context in contexts:
        found = store.get_context_by_type_and_name(context.type_name, context.name)
        if found is None:
            found = pb.Context(name=context.name, type_id=_type_id(store, "context", context.type_name))
            if context.key:
                found.external_id = context.key
            _set(found, context.properties)
            (found.id,) = store.put_contexts([found])
            new += 1
        elif context.type_name == RUN_TYPE and found.external_id != context.key:
            raise ImportFailedError(
                f"run {context.name}: the store has a run of this name that came from "
                f"{found.external_id or 'this machine'}, not from {context.key}; import it into another store"
            )
        elif _set(found, {name: v for name, v in context.properties.items() if name != IMPORT}):
            store.put_contexts([found])
            updated += 1
        ids[context.type_name, context.name] = by_key[context.key or str(found.id)] = found.id
    for context in contexts:
        child = ids[context.type_name, context.name]
        wanted = {by_key[key] for key in context.parents}
        there = {parent.id for parent in store.get_parent_contexts_by_context(child)} if wanted else set()
        if wanted - there:
            store.put_parent_contexts(
                [pb.ParentContext(child_id=child, parent_id=i) for i in sorted(wanted - there)]
            )
    return ids, Imported(contexts=new, updated=updated)


def _write_artifacts(store: MetadataStore, run: RecordedRun) -> tuple[dict[str, int], Imported]:
    ran = {e.key: e.node for e in run.executions if e.state != "CACHED"}
    makers = {e.artifact: ran[e.execution] for e in run.events if e.output and e.execution in ran}
    ids: dict[str, int] = {}
    uris: dict[str, int] = {}
    new = updated = 0
    # A blessing names its model's folder and id; our store's id is known once all others are written.
    sides: list[list[RecordedArtifact]] = [[], []]
    for artifact in run.artifacts:
        sides[CURRENT_MODEL in artifact.properties].append(artifact)
    for batch in (batch for side in sides for batch in _batches(side)):
        there = _there(store.get_artifacts_by_external_ids, [a.key for a in batch])
        copies: list[pb.Artifact] = []
        keys = []
        for artifact in batch:
            adopted = None if artifact.key in there else _adopted(store, artifact)
            if adopted is not None:
                ids[artifact.key] = uris[artifact.uri] = adopted
                continue
            copy = there.get(artifact.key)
            if copy is None:
                copy = pb.Artifact(
                    type_id=_type_id(store, "artifact", artifact.type_name), external_id=artifact.key
                )
            properties = dict(artifact.properties)
            if artifact.key in makers:
                properties.update({RUN: run.run.name, NODE: makers[artifact.key]})
            if CURRENT_MODEL in properties:
                properties.pop(CURRENT_MODEL_ID, None)
                folder = str(properties[CURRENT_MODEL])
                if folder.startswith(_MOUNTED):
                    folder = _BUCKET + folder.removeprefix(_MOUNTED)
                if folder in uris:
                    properties[CURRENT_MODEL_ID] = uris[folder]
            state = pb.Artifact.LIVE if artifact.live else pb.Artifact.PENDING
            changed = _set(copy, properties)
            if changed or copy.uri != artifact.uri or copy.state != state:
                copy.uri, copy.state = artifact.uri, state
                copies.append(copy)
                keys.append(artifact.key)
            elif copy.id:
                ids[artifact.key] = uris[artifact.uri] = copy.id
        if copies:
            fresh = sum(not copy.id for copy in copies)
            new, updated = new + fresh, updated + len(copies) - fresh
            made = store.put_artifacts(copies)
            ids.update(zip(keys, made, strict=True))
            uris.update(zip((copy.uri for copy in copies), made, strict=True))
    return ids, Imported(artifacts=new, updated=updated)


def _write_executions(
    store: MetadataStore, run: RecordedRun, artifact_ids: Mapping[str, int]
) -> tuple[dict[str, int], Imported]:
    """Writes executions in batches, new ones together with their events in one transaction."""
    events: dict[str, list[pb.Event]] = {e.key: [] for e in run.executions}
    for event in run.events:
        events[event.execution].append(_event(event, artifact_ids[event.artifact]))
    ids: dict[str, int] = {}
    done = Imported()
    for batch in _batches(run.executions):
        there = _there(store.get_executions_by_external_ids, [e.key for e in batch])
        known: dict[int, set[tuple[int, int]]] = {node.id: set() for node in there.values()}
        for old in store.get_events_by_execution_ids(list(known)) if known else []:
            known[old.execution_id].add((old.artifact_id, old.type))
        copies: list[pb.Execution] = []
        keys = []
        edges: list[tuple[int, None, pb.Event]] = []
        late: list[pb.Event] = []
        for execution in batch:
            copy = there.get(execution.key)
            if copy is None:
                copy = pb.Execution(
                    type_id=_type_id(store, "execution", execution.type_name), external_id=execution.key
                )
            seen = set(known.get(copy.id, ()))
            state = pb.Execution.State.Value(execution.state)
            own = {RUN: run.run.name, NODE: execution.node}
            changed = _set(copy, {**execution.properties, **own}) or copy.last_known_state != state
            for made in events[execution.key]:
                # ML Metadata links the two once as input and once as output; a second name is dropped.
                if (made.artifact_id, made.type) in seen:
                    continue
                seen.add((made.artifact_id, made.type))
                if copy.id:
                    made.execution_id = copy.id
                    late.append(made)
                else:
                    edges.append((len(copies), None, made))
            if changed or not copy.id:
                copy.last_known_state = state
                copies.append(copy)
                keys.append(execution.key)
            else:
                ids[execution.key] = copy.id
        fresh = sum(not copy.id for copy in copies)
        if copies:
            written, _, _ = store.put_lineage_subgraph(copies, [], [], edges)
            ids.update(zip(keys, written, strict=True))
        if late:
            store.put_events(late)
        done += Imported(executions=fresh, events=len(edges) + len(late), updated=len(copies) - fresh)
    return ids, done


def _tie(
    store: MetadataStore, attributions: Sequence[tuple[int, int]], associations: Sequence[tuple[int, int]]
) -> None:
    """Links nodes to their contexts; ML Metadata ignores existing links."""
    for pairs in _batches(attributions):
        store.put_attributions_and_associations(
            [pb.Attribution(artifact_id=node, context_id=context) for node, context in pairs], []
        )
    for pairs in _batches(associations):
        store.put_attributions_and_associations(
            [], [pb.Association(execution_id=node, context_id=context) for node, context in pairs]
        )


def _finish(store: MetadataStore, run_id: int, facts: Mapping[str, Value]) -> int:
    """Records the run's outcome on its context. It is written last, so it marks the import as complete."""
    (context,) = store.get_contexts_by_id([run_id])
    outcome = outcome_of(store.get_artifacts_by_context(run_id))
    was_under_way = context.custom_properties[IMPORT].string_value != WHOLE
    changed = _set(context, {**properties_of_facts({**outcome, **facts}), IMPORT: WHOLE})
    if changed:
        store.put_contexts([context])
    return int(changed and not was_under_way)


def _adopted(store: MetadataStore, artifact: RecordedArtifact) -> int | None:
    """The store's own artifact of this type and URI, if the imported one may adopt it."""
    if not artifact.adopts:
        return None
    same = [a.id for a in store.get_artifacts_by_uri(artifact.uri) if a.type == artifact.type_name]
    return max(same, default=None)


def _event(event: RecordedEvent, artifact_id: int) -> pb.Event:
    made = pb.Event(type=pb.Event.OUTPUT if event.output else pb.Event.INPUT, artifact_id=artifact_id)
    made.path.steps.add().key = event.name
    made.path.steps.add().index = event.index
    return made


def _there(find: Callable[[Sequence[str]], list[Any]], keys: Sequence[str]) -> dict[str, Any]:
    try:
        return {node.external_id: node for node in find(list(keys))}
    except errors.NotFoundError:
        return {}


def _type_id(store: MetadataStore, kind: str, name: str) -> int:
    """A type's id; one that TFX registered keeps what it declares."""
    try:
        return int(getattr(store, f"get_{kind}_type")(name).id)
    except errors.NotFoundError:
        make = {"artifact": pb.ArtifactType, "execution": pb.ExecutionType, "context": pb.ContextType}[kind]
        return int(getattr(store, f"put_{kind}_type")(make(name=name)))


def _set(node: Any, values: Mapping[str, Value]) -> bool:
    """Sets custom properties; returns whether one changed."""
    changed = False
    for name, value in values.items():
        kind = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
        there = node.custom_properties.get(name)
        old = getattr(there, kind) if there is not None and there.WhichOneof("value") == kind else None
        # SQL stores keep six decimals of a fraction.
        same = abs(old - value) < _SAME if isinstance(value, float) and old is not None else old == value
        if not same:
            setattr(node.custom_properties[name], kind, value)
            changed = True
    return changed


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
