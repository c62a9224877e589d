"""`hares lineage trace`: from a score or an artifact back to the bytes, code, settings and runs that made it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.clips import SourceClip, source_clips
from pipeline.lineage.graph import Graph, Step, in_order, origins_of_steps, upstream
from pipeline.lineage.runs import RunSummary, config_of, runs_by_id
from pipeline.lineage.targets import LineageTarget

MANIFEST_TYPE = "components.AudioManifest"


@dataclass(frozen=True)
class TracedStep:
    """A step on the way, and the run that executed it (others took it from the cache)."""

    step: Step
    node: str
    run_id: str


@dataclass(frozen=True)
class Trace:
    """What made a score or an artifact.

    Attributes:
        target: what was asked for.
        graph: all artifacts and steps on the way.
        steps: in an order in which they could have run.
        runs: the runs that executed them.
        configs: settings of those runs, where recorded, by run id.
        manifests: of the audio that went in.
    """

    target: LineageTarget
    graph: Graph
    steps: tuple[TracedStep, ...]
    runs: Mapping[str, RunSummary]
    configs: Mapping[str, Mapping[str, Any]]
    manifests: tuple[pb.Artifact, ...]

    def clips(self) -> Iterator[SourceClip]:
        """Every source clip, manifest by manifest.

        Raises:
            LookupError: a manifest's folder is gone.
        """
        for manifest in self.manifests:
            yield from source_clips(manifest.uri)


def trace(store: MetadataStore, target: LineageTarget) -> Trace:
    """Walks back from a target."""
    graph = upstream(store, [target.artifact.id], target.keeps)
    # Ingestion makes Examples and their manifest in one step, so the manifest belongs to the Examples' trace.
    beside = {link.artifact_id for step in graph.steps.values() for link in step.outputs} - set(
        graph.artifacts
    )
    manifests = {a.id: a for a in store.get_artifacts_by_id(sorted(beside)) if a.type == MANIFEST_TYPE}
    manifests.update((a.id, a) for a in graph.artifacts.values() if a.type == MANIFEST_TYPE)
    where = origins_of_steps(store, graph.steps, graph.artifacts)
    steps = tuple(
        TracedStep(step, where[step.id].node, next(iter(where[step.id].runs), "")) for step in in_order(graph)
    )
    runs = runs_by_id(store, [traced.run_id for traced in steps if traced.run_id])
    configs = {name: config for name, run in runs.items() if (config := config_of(store, run)) is not None}
    return Trace(target, graph, steps, runs, configs, tuple(manifests[i] for i in sorted(manifests)))


def properties_of(node: pb.Artifact | pb.Execution) -> dict[str, Any]:
    """Properties of both kinds as plain values; JSON texts stay texts."""
    values = {**dict(node.properties.items()), **dict(node.custom_properties.items())}
    return {name: getattr(v, kind) for name, v in sorted(values.items()) if (kind := v.WhichOneof("value"))}


def artifact_data(artifact: pb.Artifact) -> dict[str, Any]:
    """An artifact as data for JSON."""
    return {
        "id": artifact.id,
        "type": artifact.type,
        "uri": artifact.uri,
        "properties": {name: plain_value(value) for name, value in properties_of(artifact).items()},
    }


def step_data(step: Step, node: str, run_id: str) -> dict[str, Any]:
    """A step as data for JSON."""
    return {
        "execution": step.id,
        "node": node,
        "run": run_id,
        "type": step.execution.type,
        "state": pb.Execution.State.Name(step.execution.last_known_state),
        "inputs": [{"name": link.key, "artifact": link.artifact_id} for link in step.inputs],
        "outputs": [{"name": link.key, "artifact": link.artifact_id} for link in step.outputs],
        "properties": {name: plain_value(value) for name, value in properties_of(step.execution).items()},
    }


def run_data(run: RunSummary) -> dict[str, Any]:
    """A run as data for JSON."""
    return {"run": run.run_id, **run.facts, "blessed": run.blessed, "scores": run.scores, "code": run.code}


def trace_data(found: Trace) -> dict[str, Any]:
    """A trace as data for JSON, without its clips."""
    target = found.target
    return {
        "target": {
            "artifact": target.artifact.id,
            "type": target.artifact.type,
            "uri": target.artifact.uri,
            **(
                {"score": target.score, "value": target.value, "low": target.low, "high": target.high}
                if target.score
                else {}
            ),
        },
        "steps": [step_data(traced.step, traced.node, traced.run_id) for traced in found.steps],
        "artifacts": [artifact_data(found.graph.artifacts[i]) for i in sorted(found.graph.artifacts)],
        "manifests": [artifact_data(manifest) for manifest in found.manifests],
        "runs": [
            {**run_data(run), "config": found.configs.get(name)} for name, run in sorted(found.runs.items())
        ],
    }


def clip_data(clip: SourceClip) -> dict[str, Any]:
    """A clip as data for JSON; a path that is not UTF-8 is written with backslashes."""
    return {"clip": clip.clip_id, "split": clip.split, "path": printable(clip.path), "sha256": clip.sha256}


def printable(text: str) -> str:
    """Text in valid UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def plain_value(value: Any) -> Any:
    """A property for JSON: JSON texts are parsed, messages become text."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value if isinstance(value, str | int | float) else str(value)
