"""`hares lineage why`: why a run's model was blessed or not, and why each step was run or taken from the cache.

TFX takes a step from the cache if an earlier execution had the same inputs, settings and code. So a step that ran is
compared with the same node of the previous run: what differs is the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.graph import (
    NODE,
    RUN,
    Step,
    artifacts_by_id,
    makers,
    nodes_of_run,
    origins_of_steps,
    steps_by_id,
)
from pipeline.lineage.record import BLESSING_TYPE, REPORT_TYPE
from pipeline.lineage.runs import RunSummary, run_before
from pipeline.lineage.store import COPY_OF
from pipeline.lineage.trace import plain_value, properties_of, run_data

_STATES = {
    pb.Execution.COMPLETE: "ran",
    pb.Execution.CACHED: "cached",
    pb.Execution.FAILED: "failed",
    pb.Execution.RUNNING: "did not end",
    pb.Execution.CANCELED: "cancelled",
}
_INTERNAL = "__"  # TFX's own properties, as where an executor leaves its output


@dataclass(frozen=True)
class StepReason:
    """A step of a run: how it ended ("ran", "cached", "failed", "did not end", "cancelled"), and why."""

    node: str
    execution: int
    outcome: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Why:
    """A run's verdict with its reasons, and its steps.

    `blessed` is None if the run has no verdict; `baseline` is the run whose model it was compared with, or "".
    """

    run: RunSummary
    blessed: bool | None
    reasons: tuple[str, ...]
    baseline: str
    steps: tuple[StepReason, ...]


def why(store: MetadataStore, run: RunSummary) -> Why:
    """Explains a run."""
    steps = _steps_of(store, run)
    before = run_before(store, run)
    earlier = _steps_of(store, before) if before else {}
    outputs = {link.artifact_id for step in steps.values() for link in step.outputs}
    artifacts = artifacts_by_id(store, sorted(outputs))
    maker = makers(store, sorted(outputs), artifacts)
    maker_runs = origins_of_steps(store, steps_by_id(store, set(maker.values())), artifacts)
    made_here = {node: step for node, step in steps.items() if not step.cached}
    reasons = []
    for node, step in sorted(steps.items(), key=lambda item: item[1].id):
        if step.cached:
            sources = sorted({maker[link.artifact_id] for link in step.outputs if link.artifact_id in maker})
            texts = [
                f"same inputs, settings and code as in run {' '.join(maker_runs[i].runs)} (execution {i})"
                for i in sources
            ]
            known = [artifacts[link.artifact_id].custom_properties for link in step.outputs]
            if copied := sorted({p[COPY_OF].string_value for p in known if COPY_OF in p}):
                run_ids = " ".join(copied)
                texts = [
                    f"same inputs, settings and code as in run {run_ids} of the workspace that was copied"
                ]
        else:
            texts = _differences(step, earlier.get(node), before, made_here)
        state = step.execution.last_known_state
        reasons.append(StepReason(node, step.id, _STATES.get(state, "unknown"), tuple(texts)))
    blessings = [a for a in artifacts.values() if a.type == BLESSING_TYPE]
    if not blessings:
        return Why(run, None, (), "", tuple(reasons))
    properties = max(blessings, key=lambda a: a.id).custom_properties
    baseline = properties_of(steps["evaluator"].execution).get("baseline", "") if "evaluator" in steps else ""
    return Why(
        run,
        bool(properties["blessed"].int_value),
        tuple(properties["reasons"].string_value.split("; ")),
        _run_of_report(store, str(baseline)),
        tuple(reasons),
    )


def why_data(found: Why) -> dict[str, Any]:
    """A verdict as data for JSON."""
    return {
        **run_data(found.run),
        "blessed": found.blessed,
        "reasons": list(found.reasons),
        "baseline": found.baseline,
        "steps": [
            {"node": s.node, "execution": s.execution, "outcome": s.outcome, "reasons": list(s.reasons)}
            for s in found.steps
        ],
    }


def nested_differences(first: Any, second: Any, where: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted name, first value, second value) of each difference of two nested settings; None for no value."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        found = []
        for name in sorted(set(first) | set(second)):
            inner = f"{where}.{name}" if where else str(name)
            found += nested_differences(first.get(name), second.get(name), inner)
        return found
    return [] if first == second else [(where, first, second)]


def _steps_of(store: MetadataStore, run: RunSummary) -> dict[str, Step]:
    """A run's steps by node; the last one if a node was tried several times."""
    ids = [execution.id for execution in store.get_executions_by_context(run.context_id)]
    steps = steps_by_id(store, ids)
    artifacts = artifacts_by_id(store, {link.artifact_id for step in steps.values() for link in step.outputs})
    nodes = nodes_of_run(store, run.run_id, steps, artifacts)
    return {nodes[i] or str(i): step for i, step in sorted(steps.items())}


def _differences(
    step: Step, earlier: Step | None, before: RunSummary | None, made_here: Mapping[str, Step]
) -> list[str]:
    if before is None:
        return ["the first run of this pipeline"]
    if earlier is None:
        return [f"run {before.run_id} has no such step"]
    texts = []
    ours, theirs = _settings(step), _settings(earlier)
    for name, old, new in nested_differences(theirs, ours):
        texts.append(f"{name} changed: {_short(old)} -> {_short(new)}")
    makers_here = {link.artifact_id: node for node, other in made_here.items() for link in other.outputs}
    old_inputs = _inputs(earlier)
    for key, ids in _inputs(step).items():
        if ids != old_inputs.get(key):
            nodes = sorted({makers_here[i] for i in ids if i in makers_here})
            by = f", made anew by {' and '.join(nodes)}" if nodes else ""
            texts.append(f"input {key} is another one{by}")
    texts += [f"input {key} is gone" for key in old_inputs if key not in _inputs(step)]
    if texts:
        return [f"since run {before.run_id}: {text}" for text in texts]
    if earlier.execution.last_known_state not in (pb.Execution.COMPLETE, pb.Execution.CACHED):
        return [f"it did not end in run {before.run_id}"]
    return [f"nothing differs from run {before.run_id}; its outputs were not in the cache any more"]


def _settings(step: Step) -> dict[str, Any]:
    """Execution properties, JSON texts parsed."""
    return {
        name: plain_value(value)
        for name, value in properties_of(step.execution).items()
        if not name.startswith(_INTERNAL) and name not in (RUN, NODE)
    }


def _inputs(step: Step) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for link in step.inputs:
        found.setdefault(link.key, set()).add(link.artifact_id)
    return found


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    is_digest = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return f"{text[:12]}..." if is_digest else text if len(text) <= 80 else f"{text[:77]}..."


def _run_of_report(store: MetadataStore, uri: str) -> str:
    """The run that made the report in a folder; "" for none."""
    if not uri:
        return ""
    for artifact in store.get_artifacts_by_uri(uri):
        if artifact.type == REPORT_TYPE:
            made = makers(store, [artifact.id], {artifact.id: artifact}).get(artifact.id)
            if made is not None:
                step = steps_by_id(store, [made])
                return " ".join(origins_of_steps(store, step, {artifact.id: artifact})[made].runs)
    return ""
