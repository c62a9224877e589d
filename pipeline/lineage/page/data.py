"""What the page shows, read from the store once and kept compact.

Runs, their scores and settings are all there. Of the newest runs there is also the whole lineage (each artifact's
maker, each maker's inputs, as `pipeline.lineage.graph` walks them), the clips of every manifest in it, and paired
differences between neighbours; of older ones the page says that it has none and how to ask.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.clips import source_clips
from pipeline.lineage.diff import diff, paired_scores
from pipeline.lineage.graph import Graph, places_of_steps, upstream
from pipeline.lineage.runs import RunFilter, RunSummary, config_of, list_runs
from pipeline.lineage.store import REPORT_TYPE
from pipeline.lineage.trace import MANIFEST_TYPE, artifact_data, printable, step_data


@dataclass(frozen=True)
class PageLimits:
    """How much a page holds.

    Attributes:
        runs: the newest, with scores and settings.
        graphs: of them, how many with their whole lineage.
        clips: source clips, over all manifests.
        pairs: neighbouring runs whose scores are set against each other clip by clip.
    """

    runs: int = 5000
    graphs: int = 50
    clips: int = 20_000
    pairs: int = 10


def page_data(store: MetadataStore, limits: PageLimits) -> dict[str, Any]:
    """Everything the page shows, ready for JSON."""
    runs = list(list_runs(store, RunFilter(), limits.runs))
    own = {run.run_id: _artifacts_of(store, run) for run in runs[: limits.graphs]}
    graph = upstream(store, itertools.chain.from_iterable(own.values()))
    where = places_of_steps(store, graph.steps, graph.artifacts)
    configs = {
        run.facts["config_digest"]: config_of(store, run) for run in runs if "config_digest" in run.facts
    }
    manifests = [a for a in graph.artifacts.values() if a.type == MANIFEST_TYPE]
    return {
        "runs": [_run(run, own.get(run.run_id)) for run in runs],
        "configs": {digest: config for digest, config in sorted(configs.items()) if config is not None},
        "artifacts": [artifact_data(artifact) for _, artifact in sorted(graph.artifacts.items())],
        "steps": [
            step_data(step, where[i].node, next(iter(where[i].runs), ""))
            for i, step in sorted(graph.steps.items())
        ],
        "clips": _clips(manifests, limits.clips),
        "pairs": _pairs(store, runs[: limits.pairs + 1], graph),
        "limits": {"runs": limits.runs, "graphs": limits.graphs, "clips": limits.clips},
    }


def _run(run: RunSummary, artifacts: Sequence[int] | None) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "facts": run.facts,
        "code": run.code,
        "scores": {name: round(value, 6) for name, value in run.scores.items()},
        "blessed": run.blessed,
        "artifacts": artifacts,
    }


def _artifacts_of(store: MetadataStore, run: RunSummary) -> list[int]:
    return sorted(artifact.id for artifact in store.get_artifacts_by_context(run.context_id))


def _clips(manifests: Iterable[pb.Artifact], limit: int) -> dict[str, Any]:
    """Clips of each manifest by its id: [id, split, path, SHA-256]; a note where they cannot be had."""
    found: dict[str, Any] = {}
    left = limit
    for manifest in manifests:
        try:
            clips = list(itertools.islice(source_clips(Path(manifest.uri)), left + 1))
        except (LookupError, OSError, ValueError) as error:
            found[str(manifest.id)] = {"clips": [], "note": printable(str(error))}
            continue
        note = (
            "" if len(clips) <= left else f"more than this page's {limit} clips; the rest is in the manifest"
        )
        rows = [[c.clip_id, c.split, printable(c.path), c.sha256] for c in clips[:left]]
        found[str(manifest.id)] = {"clips": rows, "note": note}
        left -= len(rows)
    return found


def _pairs(store: MetadataStore, runs: Sequence[RunSummary], graph: Graph) -> list[dict[str, Any]]:
    """Paired differences of neighbouring runs, the older first; those without two reports are left out."""
    reports = {a.uri for a in graph.artifacts.values() if a.type == REPORT_TYPE}
    pairs: list[dict[str, Any]] = []
    for newer, older in itertools.pairwise(runs):
        try:
            found = diff(store, older, newer)
            rows: Sequence[Mapping[str, Any]] = (
                paired_scores(found) if found.reports and set(found.reports) <= reports else []
            )
        except (LookupError, ValueError, OSError):
            continue  # files that are gone: the page then says that there is no paired test
        if rows:
            pairs.append({"first": older.run_id, "second": newer.run_id, "scores": list(rows)})
    return pairs
