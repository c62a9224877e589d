"""`hares lineage export`: a run as OpenLineage events, or as a W3C PROV document, for other tools to read.

OpenLineage (spec 2-0-2): each step is one COMPLETE (or FAIL, START) RunEvent with the pipeline's run as its parent. An
artifact is a dataset named by its URI, and its content digest is the dataset's version. PROV (PROV-JSON): artifacts are
entities, steps are activities, the user is the agent.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.graph import Link, Step, artifacts_by_id, nodes_of_run, steps_by_id
from pipeline.lineage.runs import RunSummary, pipeline_of
from pipeline.lineage.trace import plain_value, properties_of

PRODUCER = "urn:hares-tfx"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, PRODUCER)
_EVENT_TYPES = {
    pb.Execution.COMPLETE: "COMPLETE",
    pb.Execution.CACHED: "COMPLETE",
    pb.Execution.FAILED: "FAIL",
    pb.Execution.CANCELED: "ABORT",
}


def openlineage(store: MetadataStore, run: RunSummary) -> list[dict[str, Any]]:
    """The events of a run, one for each step, in the order of its executions."""
    steps, nodes, artifacts = _content(store, run)
    job = pipeline_of(store, run) or "pipeline"
    parent = {
        "_producer": PRODUCER,
        "_schemaURL": f"{_FACETS}/1-0-1/ParentRunFacet.json#/$defs/ParentRunFacet",
        "run": {"runId": str(uuid.uuid5(_NAMESPACE, run.run_id))},
        "job": {"namespace": "hares", "name": job},
    }
    return [
        {
            "eventType": _EVENT_TYPES.get(step.execution.last_known_state, "START"),
            "eventTime": _moment(step.execution.last_update_time_since_epoch),
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
            "run": {
                "runId": str(uuid.uuid5(_NAMESPACE, f"{run.run_id}/{step.id}")),
                "facets": {
                    "parent": parent,
                    "hares_run": {
                        "_producer": PRODUCER,
                        "_schemaURL": f"{PRODUCER}:run-facet",
                        "state": pb.Execution.State.Name(step.execution.last_known_state),
                        **run.facts,
                    },
                    "hares_settings": {
                        "_producer": PRODUCER,
                        "_schemaURL": f"{PRODUCER}:settings-facet",
                        **{name: plain_value(v) for name, v in properties_of(step.execution).items()},
                    },
                },
            },
            "job": {"namespace": "hares", "name": f"{job}.{nodes[step.id]}"},
            "inputs": [_dataset(artifacts[link.artifact_id]) for link in _distinct(step.inputs)],
            "outputs": [_dataset(artifacts[link.artifact_id]) for link in _distinct(step.outputs)],
        }
        for step in steps.values()
    ]


def prov(store: MetadataStore, run: RunSummary) -> dict[str, Any]:
    """A run as PROV-JSON."""
    steps, nodes, artifacts = _content(store, run)
    agent = f"hares:user/{run.facts.get('user', 'unknown')}"
    document: dict[str, Any] = {
        "prefix": {"hares": f"{PRODUCER}:", "prov": "http://www.w3.org/ns/prov#"},
        "entity": {},
        "activity": {},
        "used": {},
        "wasGeneratedBy": {},
        "agent": {agent: {"prov:type": "prov:Person"}},
        "wasAssociatedWith": {},
    }
    for artifact in artifacts.values():
        document["entity"][_entity(artifact.id)] = {
            "prov:type": artifact.type,
            "prov:location": artifact.uri,
            **{f"hares:{name}": plain_value(value) for name, value in properties_of(artifact).items()},
        }
    for step in steps.values():
        activity = f"hares:execution/{step.id}"
        document["activity"][activity] = {
            "prov:type": step.execution.type,
            "prov:label": nodes[step.id],
            "prov:startTime": _moment(step.execution.create_time_since_epoch),
            "prov:endTime": _moment(step.execution.last_update_time_since_epoch),
            "hares:run": run.run_id,
            "hares:state": pb.Execution.State.Name(step.execution.last_known_state),
            **{f"hares:{name}": value for name, value in run.facts.items()},
        }
        document["wasAssociatedWith"][f"_:with{step.id}"] = {"prov:activity": activity, "prov:agent": agent}
        for link in step.inputs:
            document["used"][f"_:used{step.id}-{link.artifact_id}-{link.key}"] = {
                "prov:activity": activity,
                "prov:entity": _entity(link.artifact_id),
                "prov:role": link.key,
            }
        # A cached artifact was made by another execution, and PROV lets an entity be made only once.
        for link in () if step.cached else step.outputs:
            document["wasGeneratedBy"][f"_:made{link.artifact_id}"] = {
                "prov:entity": _entity(link.artifact_id),
                "prov:activity": activity,
                "prov:role": link.key,
            }
    return document


def _content(
    store: MetadataStore, run: RunSummary
) -> tuple[dict[int, Step], Mapping[int, str], dict[int, pb.Artifact]]:
    steps = steps_by_id(store, [e.id for e in store.get_executions_by_context(run.context_id)])
    ids = {link.artifact_id for step in steps.values() for link in (*step.inputs, *step.outputs)}
    artifacts = artifacts_by_id(store, sorted(ids))
    return steps, nodes_of_run(store, run.run_id, steps, artifacts), artifacts


def _distinct(links: tuple[Link, ...]) -> list[Link]:
    """One link for each artifact, since a step may read one under several names."""
    return list({link.artifact_id: link for link in links}.values())


def _dataset(artifact: pb.Artifact) -> dict[str, Any]:
    parts = urlsplit(artifact.uri)
    scheme = parts.scheme or "file"
    facets: dict[str, Any] = {
        "hares_artifact": {
            "_producer": PRODUCER,
            "_schemaURL": f"{PRODUCER}:artifact-facet",
            "type": artifact.type,
            **{name: plain_value(value) for name, value in properties_of(artifact).items()},
        }
    }
    if "content_digest" in artifact.custom_properties:
        facets["version"] = {
            "_producer": PRODUCER,
            "_schemaURL": f"{_FACETS}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet",
            "datasetVersion": artifact.custom_properties["content_digest"].string_value,
        }
    return {
        "namespace": f"{scheme}://{parts.netloc}" if parts.netloc else scheme,
        "name": parts.path or artifact.uri,
        "facets": facets,
    }


def _entity(artifact_id: int) -> str:
    return f"hares:artifact/{artifact_id}"


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).isoformat(timespec="milliseconds")
