"""`hares lineage impact`: everything that was made from a file or an artifact, as after a licence complaint.

A file is found by its path in the manifests' lists of clips, and by its bytes, so a copy under another name counts as
well. Every manifest of the store is read, line by line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import PUSHED
from hares.digests import file_digest
from pipeline.lineage.clips import SourceClip, find_clips
from pipeline.lineage.graph import Graph, downstream, makers, origins_of_steps, steps_by_id
from pipeline.lineage.store import PUSHED_TYPE
from pipeline.lineage.trace import MANIFEST_TYPE, artifact_data, clip_data
from workarounds.ml_metadata import nodes

_SHA256_DIGITS = 64


@dataclass(frozen=True)
class Impact:
    """What was made from something.

    Attributes:
        clips: of a file, the clips that came from it, by manifest id; empty for an artifact.
        unread: manifests whose lists are gone from the disk, so that they may have listed the file.
        graph: all artifacts made from it, the start included, and the steps between.
        made_in: run that made each artifact, by artifact id; "" for none.
        runs: every run that used any of it, from the cache or not.
    """

    clips: Mapping[int, tuple[SourceClip, ...]]
    unread: tuple[pb.Artifact, ...]
    graph: Graph
    made_in: Mapping[int, str]
    runs: tuple[str, ...]

    def of_type(self, name: str) -> list[pb.Artifact]:
        """Artifacts of a type; of pushed models only those that were pushed."""
        return [
            artifact
            for _, artifact in sorted(self.graph.artifacts.items())
            if artifact.type == name
            and (name != PUSHED_TYPE or artifact.custom_properties[PUSHED].int_value == 1)
        ]


def impact_of_artifact(store: MetadataStore, artifact_id: int) -> Impact:
    """What was made from an artifact."""
    return _impact(store, [artifact_id], {}, ())


def impact_of_file(store: MetadataStore, file: str) -> Impact:
    """What was made from an audio file.

    Args:
        store: the store.
        file: its path, even of a file that is gone, or the SHA-256 of its bytes in hexadecimal.

    Raises:
        LookupError: no manifest of the store names it; the message says how many were read.
    """
    path, sha256 = _path_and_digest(file)
    manifests = list(nodes(store, "artifact", MANIFEST_TYPE))
    clips: dict[int, tuple[SourceClip, ...]] = {}
    unread = []
    for manifest in manifests:
        try:
            found = tuple(find_clips(manifest.uri, path, sha256))
        except LookupError:
            unread.append(manifest)
            continue
        if found:
            clips[manifest.id] = found
    if not clips:
        raise LookupError(
            f"{file}: no clip came from it in the {len(manifests) - len(unread)} manifests of this store"
            + (f"; {len(unread)} more are gone from the disk" if unread else "")
        )
    # The Examples beside a manifest hold the clips; the manifest itself is read by the evaluator.
    starts = _outputs_beside(store, list(clips))
    return _impact(store, starts, clips, tuple(unread))


def impact_data(found: Impact) -> dict[str, Any]:
    """An impact as data for JSON."""
    return {
        "clips": [
            {"manifest": manifest, **clip_data(clip)}
            for manifest, clips in found.clips.items()
            for clip in clips
        ],
        "manifests_not_read": [artifact_data(manifest) for manifest in found.unread],
        "artifacts": [
            {**artifact_data(artifact), "made_in": found.made_in.get(i, "")}
            for i, artifact in sorted(found.graph.artifacts.items())
        ],
        "runs": list(found.runs),
    }


def _path_and_digest(file: str) -> tuple[str, str]:
    path = Path(file)
    if path.is_file():
        return str(path.resolve()), file_digest(path)
    if len(file) == _SHA256_DIGITS and set(file.lower()) <= set("0123456789abcdef"):
        return "", file.lower()
    return str(path.resolve()), ""


def _outputs_beside(store: MetadataStore, manifest_ids: list[int]) -> list[int]:
    """All outputs of the steps that made the manifests."""
    makers = {
        event.execution_id
        for event in store.get_events_by_artifact_ids(manifest_ids)
        if event.type == pb.Event.OUTPUT
    }
    events = store.get_events_by_execution_ids(sorted(makers)) if makers else []
    return sorted({*manifest_ids, *(event.artifact_id for event in events if event.type == pb.Event.OUTPUT)})


def _impact(
    store: MetadataStore,
    starts: list[int],
    clips: Mapping[int, tuple[SourceClip, ...]],
    unread: tuple[pb.Artifact, ...],
) -> Impact:
    graph = downstream(store, starts)
    maker = makers(store, starts, graph.artifacts)
    steps = {**graph.steps, **steps_by_id(store, set(maker.values()) - set(graph.steps))}
    where = origins_of_steps(store, steps, graph.artifacts)
    made_in = {i: next(iter(where[execution].runs), "") for i, execution in maker.items()}
    for step in graph.steps.values():
        if not step.cached:
            for link in step.outputs:
                made_in.setdefault(link.artifact_id, next(iter(where[step.id].runs), ""))
    runs = {run for i in graph.steps for run in where[i].runs}
    return Impact(clips, unread, graph, made_in, tuple(sorted(runs)))
