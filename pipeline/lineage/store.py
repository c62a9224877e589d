"""Reading the ML Metadata store of a workspace: runs, their reports, and the latest blessed model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import CURRENT_MODEL
from pipeline.lineage.record import BLESSING_TYPE, PIPELINE_TYPE, RUN_TYPE, recorded_of
from workarounds.ml_metadata import nodes

PUSHED_TYPE = "PushedModel"
_CLOSED = ("minio://", "s3://")  # addresses that TensorFlow cannot open
# On an artifact that a copied workspace recorded as its own: the run that made the original.
COPY_OF = "copy_of"
_CANDIDATES = 50  # blessings among which the latest is looked for


@dataclass(frozen=True)
class Verdict:
    """A run's outcome: its report's folder, and whether the model was blessed and why."""

    report_uri: str
    blessed: bool
    reasons: str


def latest_blessed_report(store: MetadataStore, pipeline: str, other_than: str) -> str:
    """Folder of the report of a pipeline's latest blessed model; "" if there is none.

    Args:
        store: the store.
        pipeline: the pipeline's name.
        other_than: a run key to leave out. A run must not be compared with an earlier one of the same key, or its
            evaluation could never come from the cache.
    """
    found = _latest_blessing(store, pipeline, other_than)
    return found.custom_properties["report"].string_value if found else ""


def latest_blessed_model(store: MetadataStore, pipeline: str | None) -> str:
    """Folder of the latest blessed Model artifact of a pipeline, or of any for None; "" if there is none.

    Where TensorFlow cannot open its address, as in a Kubeflow cluster's own object store, this is where the run pushed
    it.
    """
    found = _latest_blessing(store, pipeline)
    if found is None:
        return ""
    model = found.custom_properties[CURRENT_MODEL].string_value
    return (_pushed(store, found) or model) if model.startswith(_CLOSED) else model


def _pushed(store: MetadataStore, blessing: pb.Artifact) -> str:
    """Where the run of a blessing pushed its model; "" if it did not."""
    run = blessing.custom_properties["run"].string_value
    context = store.get_context_by_type_and_name(RUN_TYPE, run)
    made = store.get_artifacts_by_context(context.id) if context else []
    pushed = [a for a in made if a.type == PUSHED_TYPE and a.custom_properties["pushed"].int_value]
    return (
        max(pushed, key=lambda a: a.id).custom_properties["pushed_destination"].string_value if pushed else ""
    )


def _latest_blessing(
    store: MetadataStore, pipeline: str | None, other_than: str | None = None
) -> pb.Artifact | None:
    """The latest blessing of a pipeline's model, None for any pipeline's, but not of the run key `other_than`."""
    found = list(islice(_blessings(store, pipeline, other_than), _CANDIDATES))
    if not any(COPY_OF in artifact.custom_properties for artifact in found):
        return found[0] if found else None

    def age(artifact: pb.Artifact) -> tuple[int, bool, int]:
        """A copy is as old as its original; of the two, the one whose report still exists wins."""
        properties = artifact.custom_properties
        run = properties[COPY_OF if COPY_OF in properties else "run"].string_value
        context = store.get_context_by_type_and_name(RUN_TYPE, run)
        there = os.path.exists(properties["report"].string_value)
        return (context.id if context else 0), there, artifact.id

    return max(found, key=age)


def _blessings(store: MetadataStore, pipeline: str | None, other_than: str | None) -> Iterator[pb.Artifact]:
    for artifact in nodes(store, "artifact", BLESSING_TYPE, newest_first=True):
        properties = artifact.custom_properties
        if (
            artifact.state == pb.Artifact.LIVE
            and properties["blessed"].int_value == 1
            and (other_than is None or properties["run_key"].string_value != other_than)
            and (pipeline is None or pipeline in _pipelines(store, artifact))
        ):
            yield artifact


def _pipelines(store: MetadataStore, artifact: pb.Artifact) -> list[str]:
    """Of its run, as recorded there; by its contexts, which ML Metadata has no index for, if it is not."""
    run = artifact.custom_properties["run"].string_value
    context = store.get_context_by_type_and_name(RUN_TYPE, run) if run else None
    recorded = recorded_of(context) if context else {}
    if "pipeline" in recorded:
        return [str(recorded["pipeline"])]
    try:
        own = store.get_contexts_by_artifact(artifact.id)
    except errors.NotFoundError:  # what ML Metadata says of none
        return []
    return [context.name for context in own if context.type == PIPELINE_TYPE]


def verdict_of_run(store: MetadataStore, pipeline: str, run_id: str) -> Verdict:
    """The report and blessing that a run made, or took from the cache.

    Raises:
        LookupError: the run has no blessing, because its evaluator did not end.
    """
    context = store.get_context_by_type_and_name(RUN_TYPE, run_id)
    artifacts = store.get_artifacts_by_context(context.id) if context else []
    types = {t.id: t.name for t in store.get_artifact_types()}
    found = [a for a in artifacts if types[a.type_id] == BLESSING_TYPE]
    if not found:
        raise LookupError(
            f"run {run_id} of {pipeline} has no blessing in the store: its evaluator did not end"
        )
    properties = max(found, key=lambda a: a.id).custom_properties
    return Verdict(
        properties["report"].string_value,
        bool(properties["blessed"].int_value),
        properties["reasons"].string_value,
    )
