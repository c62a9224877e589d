"""`hares lineage diff`: how two runs differ in settings, code, clips and scores.

Scores are compared clip by clip (`hares.report.runs`), with an interval and p if both runs scored the same clips.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.clips import ClipChange, changed_clips
from pipeline.lineage.record import REPORT_TYPE
from pipeline.lineage.runs import RunSummary, config_of
from pipeline.lineage.trace import MANIFEST_TYPE, clip_data, run_data
from pipeline.lineage.why import nested_differences

if TYPE_CHECKING:
    from hares.report.runs import Difference

_CODE_FACTS = ("git_revision", "git_clean", "lock_digest")


@dataclass(frozen=True)
class DataDifference:
    """What one ingestion read differently; `node` names it by its sources, as in "esc50"."""

    node: str
    before: str
    after: str
    changes: tuple[ClipChange, ...]


@dataclass(frozen=True)
class RunDifference:
    """Two runs.

    Attributes:
        first, second: the runs.
        config: (setting, first, second) that differ; None where a run's settings are not recorded.
        code: (what, first, second): revision, tree, lock file, and digests by component.
        data: ingestions whose content differs.
        scores: by name, (first, second); a paired test is added by `paired_scores`.
        reports: folders of the two reports, if they exist.
    """

    first: RunSummary
    second: RunSummary
    config: list[tuple[str, Any, Any]] | None
    code: list[tuple[str, Any, Any]]
    data: tuple[DataDifference, ...]
    scores: Mapping[str, tuple[float | None, float | None]]
    reports: tuple[str, str] | None


def diff(store: MetadataStore, first: RunSummary, second: RunSummary) -> RunDifference:
    """Compares two runs.

    Raises:
        LookupError: the manifests of two ingestions differ and one of them is gone from the disk.
    """
    ours, theirs = config_of(store, first), config_of(store, second)
    artifacts = [_by_role(store.get_artifacts_by_context(run.context_id)) for run in (first, second)]
    data = []
    for node in sorted(set(artifacts[0]) | set(artifacts[1])):
        if node == REPORT_TYPE:
            continue
        pair = [found.get(node) for found in artifacts]
        digests = [a.custom_properties["content_digest"].string_value if a else "" for a in pair]
        if digests[0] != digests[1]:
            changes = changed_clips(pair[0].uri, pair[1].uri) if pair[0] and pair[1] else []
            data.append(DataDifference(node, digests[0], digests[1], tuple(changes)))
    reports = [found[REPORT_TYPE].uri for found in artifacts if REPORT_TYPE in found]
    names = dict.fromkeys([*first.scores, *second.scores])
    return RunDifference(
        first,
        second,
        None if ours is None or theirs is None else nested_differences(ours, theirs),
        [
            *(
                (name, a, b)
                for name in _CODE_FACTS
                if (a := first.facts.get(name)) != (b := second.facts.get(name))
            ),
            *nested_differences(first.code, second.code),
        ],
        tuple(data),
        {name: (first.scores.get(name), second.scores.get(name)) for name in names},
        (reports[0], reports[1]) if len(reports) == 2 else None,
    )


def paired_scores(found: RunDifference) -> list[dict[str, Any]]:
    """Second minus first of each score on the same clips: difference, interval and p, or why they are missing.

    Raises:
        ValueError: a report is gone from the disk or cannot be read.
    """
    # Imported here: SciPy takes longer than the rest of a diff.
    from hares.report.runs import differences, load_run

    if found.reports is None:
        return []
    runs = [
        load_run(Path(uri), run.run_id)
        for uri, run in zip(found.reports, (found.first, found.second), strict=True)
    ]
    (rows,) = differences(runs)
    return _score_rows(rows)


def paired_among(reports: Mapping[str, Path]) -> Iterator[tuple[str, str, list[dict[str, Any]]]]:
    """As `paired_scores` for every pair of runs; each report is read and resampled once.

    Args:
        reports: folders of the reports by run; those that cannot be read are left out.

    Yields:
        The two runs, in the order of `reports`, and the second's scores against the first's.
    """
    from hares.report.runs import compare, load_run, resampled_run

    runs = []
    for name, folder in reports.items():
        try:
            runs.append(load_run(folder, name))
        except (ValueError, OSError):
            continue
    resampled = [resampled_run(run) for run in runs] if len(runs) > 1 else []
    for (first, ours), (second, theirs) in itertools.combinations(zip(runs, resampled, strict=False), 2):
        yield first.name, second.name, _score_rows(compare(first, ours, second, theirs))


def _score_rows(rows: Iterable[Difference]) -> list[dict[str, Any]]:
    return [
        {
            "kind": row.kind,
            "name": row.name,
            "first": row.first,
            "second": row.second,
            "paired": asdict(row.paired) if row.paired else None,
            "note": row.note,
        }
        for row in rows
        if row.first is not None or row.second is not None
    ]


def diff_data(found: RunDifference, scores: list[dict[str, Any]]) -> dict[str, Any]:
    """A difference as data for JSON; `scores` is what `paired_scores` gave."""

    def rows(values: list[tuple[str, Any, Any]]) -> list[dict[str, Any]]:
        return [{"name": name, "first": a, "second": b} for name, a, b in values]

    return {
        "first": run_data(found.first),
        "second": run_data(found.second),
        "config": None if found.config is None else rows(found.config),
        "code": rows(found.code),
        "data": [
            {
                "source": part.node,
                "first": part.before,
                "second": part.after,
                "clips": [
                    {
                        "what": change.what,
                        "clip": change.clip_id,
                        "split": change.split,
                        "first": clip_data(change.before) if change.before else None,
                        "second": clip_data(change.after) if change.after else None,
                    }
                    for change in part.changes
                ],
            }
            for part in found.data
        ],
        "scores": scores,
    }


def _by_role(artifacts: list[pb.Artifact]) -> dict[str, pb.Artifact]:
    """A run's manifests by their folder's node, and its report."""
    found: dict[str, pb.Artifact] = {}
    for artifact in sorted(artifacts, key=lambda a: a.id):
        if artifact.type == REPORT_TYPE:
            found[REPORT_TYPE] = artifact
        elif artifact.type == MANIFEST_TYPE:
            found[_node(artifact)] = artifact
    return found


def _node(manifest: pb.Artifact) -> str:
    """The node that made a manifest, from TFX's URI `<root>/<node>/<output>/<execution>`."""
    parts = manifest.uri.rstrip("/").split("/")
    return (
        parts[-3]
        if len(parts) > 2 and parts[-1].isdecimal()
        else manifest.custom_properties["source"].string_value
    )
