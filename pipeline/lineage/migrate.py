"""`hares metadata migrate`: copies one store into another, with new ids.

Types, contexts, artifacts, executions, events and all their links are copied; ids in properties (a run's report, a
blessing's model) are mapped as well. A copy's external id says where it came from, so a migration that was interrupted
goes on where it stopped, and a second one copies only what is new. Contexts of the same type and name are the same
context.

ML Metadata gives every copy a new time of creation and a new id; runs keep their own start and end.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import CURRENT_MODEL_ID
from pipeline.lineage.record import FACTS, RUN_TYPE, recorded_of
from workarounds.ml_metadata import nodes, pages

_BATCH = 1000  # links in one call


@dataclass(frozen=True)
class Migration:
    """What was copied, without what an earlier migration copied."""

    contexts: int
    artifacts: int
    executions: int
    events: int


def migrate(source: MetadataStore, target: MetadataStore, name: str) -> Migration:
    """Copies a store into another.

    Args:
        source: read only.
        target: may hold other runs already.
        name: the source's; a later migration recognises by it what was copied.
    """
    prefix = hashlib.sha256(name.encode()).hexdigest()[:16]
    types = _copy_types(source, target)
    artifact_ids, artifacts = _copy_artifacts(source, target, types["artifact"], prefix)
    context_ids, contexts = _copy_contexts(source, target, types["context"], artifact_ids)
    execution_ids, events, executions = _copy_executions(
        source, target, types["execution"], prefix, artifact_ids
    )
    _copy_ties(source, target, context_ids, artifact_ids, execution_ids)
    return Migration(contexts, artifacts, executions, events)


def _copy_types(source: MetadataStore, target: MetadataStore) -> dict[str, dict[int, int]]:
    """Types by kind, source id to target id."""
    mapped: dict[str, dict[int, int]] = {}
    for kind in ("artifact", "execution", "context"):
        mapped[kind] = {}
        for found in getattr(source, f"get_{kind}_types")():
            copy = type(found)()
            copy.CopyFrom(found)
            copy.ClearField("id")
            put = getattr(target, f"put_{kind}_type")
            mapped[kind][found.id] = put(copy, can_add_fields=True, can_omit_fields=True)
    return mapped


def _copy_artifacts(
    source: MetadataStore, target: MetadataStore, types: Mapping[int, int], prefix: str
) -> tuple[dict[int, int], int]:
    ids: dict[int, int] = {}
    copied = 0
    for page in pages(source, "artifact"):
        there = _already_there(target.get_artifacts_by_external_ids, page, prefix)
        ids.update(there)
        new = [artifact for artifact in page if artifact.id not in there]
        # A blessing holds its model's id, which is known once all other artifacts are copied.
        for blesses in (False, True):
            chosen = [
                artifact for artifact in new if (CURRENT_MODEL_ID in artifact.custom_properties) == blesses
            ]
            copies = [_copy(artifact, types, prefix) for artifact in chosen]
            for copy in copies if blesses else ():
                model = copy.custom_properties[CURRENT_MODEL_ID]
                model.int_value = ids.get(model.int_value, model.int_value)
            made = target.put_artifacts(copies) if copies else []
            ids.update(zip((artifact.id for artifact in chosen), made, strict=True))
        copied += len(new)
    return ids, copied


def _copy_contexts(
    source: MetadataStore, target: MetadataStore, types: Mapping[int, int], artifact_ids: Mapping[int, int]
) -> tuple[dict[int, int], int]:
    ids: dict[int, int] = {}
    copied = 0
    for page in pages(source, "context"):
        for context in page:
            found = target.get_context_by_type_and_name(context.type, context.name)
            if found is None:
                copy = _copy(context, types, "")
                if context.type == RUN_TYPE:
                    _map_report(copy, artifact_ids)
                (ids[context.id],) = target.put_contexts([copy])
                copied += 1
            else:
                ids[context.id] = found.id
    parents = [
        pb.ParentContext(child_id=ids[context_id], parent_id=ids[parent.id])
        for context_id in ids
        for parent in source.get_parent_contexts_by_context(context_id)
    ]
    there = {
        (child, parent.id)
        for child in {p.child_id for p in parents}
        for parent in target.get_parent_contexts_by_context(child)
    }
    new = [p for p in parents if (p.child_id, p.parent_id) not in there]
    if new:
        target.put_parent_contexts(new)
    return ids, copied


def _copy_executions(
    source: MetadataStore,
    target: MetadataStore,
    types: Mapping[int, int],
    prefix: str,
    artifact_ids: Mapping[int, int],
) -> tuple[dict[int, int], int, int]:
    """Executions a page at a time, each page with its events in one transaction; ids, and counts of what is new."""
    ids: dict[int, int] = {}
    executions = events = 0
    for page in pages(source, "execution"):
        there = _already_there(target.get_executions_by_external_ids, page, prefix)
        ids.update(there)
        new = [execution for execution in page if execution.id not in there]
        place = {execution.id: number for number, execution in enumerate(new)}
        edges = []
        for event in source.get_events_by_execution_ids(list(place)) if new else []:
            copy = pb.Event()
            copy.CopyFrom(event)
            copy.ClearField("execution_id")
            copy.artifact_id = artifact_ids[event.artifact_id]
            edges.append((place[event.execution_id], None, copy))
        if new:
            made, _, _ = target.put_lineage_subgraph([_copy(e, types, prefix) for e in new], [], [], edges)
            ids.update(zip((execution.id for execution in new), made, strict=True))
        executions, events = executions + len(new), events + len(edges)
    return ids, events, executions


def _copy_ties(
    source: MetadataStore,
    target: MetadataStore,
    context_ids: Mapping[int, int],
    artifact_ids: Mapping[int, int],
    execution_ids: Mapping[int, int],
) -> None:
    """Which artifacts and executions are in each context; what was written since they were copied waits."""
    for old, new in context_ids.items():
        attributions = (
            pb.Attribution(artifact_id=artifact_ids[artifact.id], context_id=new)
            for artifact in nodes(source, "artifact", in_context=old)
            if artifact.id in artifact_ids
        )
        while batch := list(islice(attributions, _BATCH)):
            target.put_attributions_and_associations(batch, [])
        associations = (
            pb.Association(execution_id=execution_ids[execution.id], context_id=new)
            for execution in nodes(source, "execution", in_context=old)
            if execution.id in execution_ids
        )
        while batch := list(islice(associations, _BATCH)):
            target.put_attributions_and_associations([], batch)


def _already_there(
    find: Callable[[Sequence[str]], list[Any]], page: Sequence[Any], prefix: str
) -> dict[int, int]:
    """Nodes that an earlier migration copied, source id to target id."""
    names = {f"{prefix}:{node.id}": node.id for node in page}
    try:
        return {names[found.external_id]: found.id for found in find(list(names))}
    except errors.NotFoundError:
        return {}


def _map_report(run: pb.Context, artifact_ids: Mapping[int, int]) -> None:
    recorded = recorded_of(run)
    report = recorded.get("report_id", "")
    if report.isdecimal() and int(report) in artifact_ids:
        mapped = str(artifact_ids[int(report)])
        if FACTS in run.custom_properties:
            facts = json.loads(run.custom_properties[FACTS].string_value)
            run.custom_properties[FACTS].string_value = json.dumps(
                {**facts, "report_id": mapped}, sort_keys=True
            )
        else:
            run.custom_properties["report_id"].string_value = mapped


def _copy(node: Any, types: Mapping[int, int], prefix: str) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    for name in ("id", "type", "create_time_since_epoch", "last_update_time_since_epoch", "external_id"):
        copy.ClearField(name)
    copy.type_id = types[node.type_id]
    if prefix:
        copy.external_id = f"{prefix}:{node.id}"
    return copy
