"""What the page shows, read from the store once and kept compact.

All runs are in it with their scores and settings. Of the newest runs it also has the whole lineage (each artifact's
maker, each maker's inputs, as `pipeline.lineage.graph` walks them) and the clips of every manifest in it; of the newest
of all, every pair is compared clip by clip as `hares lineage diff` does. The page says what was left out, and which
command shows it.

Artifacts and steps are short rows of numbers: every text and value is in a list once, and rows point to it. Runs repeat
types, names of properties, digests and settings, so a store of thousands of runs takes a tenth of plain JSON, and a
search looks through every text once.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from hares.task import load_task, task_names
from pipeline.lineage.clips import source_clips
from pipeline.lineage.diff import RunDifference, diff, paired_among
from pipeline.lineage.graph import Link, Step, origins_of_steps, upstream
from pipeline.lineage.record import REPORT_TYPE
from pipeline.lineage.runs import RunFilter, RunSummary, config_of, list_runs
from pipeline.lineage.trace import MANIFEST_TYPE, plain_value, printable, properties_of

_SCORE_DIGITS = 6
_SHOWN_CHANGES = 1000  # clips of one comparison
Row = list[Any]


@dataclass(frozen=True)
class PageLimits:
    """How much a page holds.

    Attributes:
        runs: the newest, with scores and settings.
        graphs: of them, how many with their whole lineage.
        clips: source clips, over all manifests.
        paired: of the newest, how many are compared clip by clip, every pair of them.
    """

    runs: int = 5000
    graphs: int = 500
    clips: int = 20_000
    paired: int = 8


def page_data(store: MetadataStore, limits: PageLimits) -> dict[str, Any]:
    """Everything the page shows, ready for JSON; what it needs only for graphs is under "lineage"."""
    runs = list(list_runs(store, RunFilter(), limits.runs))
    own = {run.run_id: _artifacts_of(store, run) for run in runs[: limits.graphs]}
    return {
        "runs": [_run(run, own.get(run.run_id)) for run in runs],
        "configs": _configs(store, runs),
        "tasks": {name: load_task(name).domain for name in task_names()},
        "pairs": _pairs(store, runs[: limits.paired]),
        "limits": asdict(limits),
        "lineage": _lineage(store, itertools.chain.from_iterable(own.values()), limits.clips),
    }


def _artifacts_of(store: MetadataStore, run: RunSummary) -> list[int]:
    return sorted({artifact.id for artifact in store.get_artifacts_by_context(run.context_id)})


def _run(run: RunSummary, artifacts: Sequence[int] | None) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "facts": run.facts,
        "code": run.code,
        "scores": {name: round(value, _SCORE_DIGITS) for name, value in run.scores.items()},
        "blessed": run.blessed,
        "artifacts": artifacts,
    }


def _configs(store: MetadataStore, runs: Sequence[RunSummary]) -> dict[str, Any]:
    """Settings by digest, each once."""
    one_of_each = {run.facts["config_digest"]: run for run in runs if "config_digest" in run.facts}
    found = {digest: config_of(store, run) for digest, run in sorted(one_of_each.items())}
    return {digest: config for digest, config in found.items() if config is not None}


def _lineage(store: MetadataStore, artifact_ids: Iterable[int], clips: int) -> dict[str, Any]:
    graph = upstream(store, artifact_ids)
    where = origins_of_steps(store, graph.steps, graph.artifacts)
    values = Values()
    artifacts = [artifact_row(artifact, values) for _, artifact in sorted(graph.artifacts.items())]
    steps = [
        step_row(step, where[i].node, next(iter(where[i].runs), ""), values)
        for i, step in sorted(graph.steps.items())
    ]
    manifests = [a for a in graph.artifacts.values() if a.type == MANIFEST_TYPE]
    return {
        "values": values.all,
        "artifacts": artifacts,
        "steps": steps,
        "clips": _clips(manifests, clips),
    }


def _clips(manifests: Sequence[pb.Artifact], limit: int) -> dict[str, Any]:
    """Clips of each manifest by its id: [id, split, path, SHA-256, labels], and a note if some are left out.

    The limit is shared evenly, and what small manifests leave goes to the large ones.
    """
    found: dict[str, Any] = {}
    left = limit
    by_size = sorted(manifests, key=lambda a: (a.custom_properties["used"].int_value, a.id))
    for behind, manifest in zip(range(len(by_size), 0, -1), by_size, strict=True):
        share = left // behind
        try:
            clips = list(itertools.islice(source_clips(manifest.uri), share + 1))
        except (LookupError, OSError, ValueError) as error:
            why = error.args[0] if isinstance(error, LookupError) else error
            found[str(manifest.id)] = {"clips": [], "note": printable(f"Not read: {why}")}
            continue
        rows = [
            [c.clip_id, c.split, printable(c.path), c.sha256, " ".join(map(str, c.labels))]
            for c in clips[:share]
        ]
        note = (
            "" if len(clips) <= share else f"The first {share}: a page holds {limit} clips of all manifests."
        )
        found[str(manifest.id)] = {"clips": rows, "note": note}
        left -= len(rows)
    return found


def _pairs(store: MetadataStore, runs: Sequence[RunSummary]) -> list[dict[str, Any]]:
    """Every pair of some runs, the older first: scores, paired; of neighbours also the clips that differ.

    A run whose report is gone from the disk is in no pair.
    """
    reports: dict[str, Path] = {}
    for run in reversed(runs):
        own = [a for a in store.get_artifacts_by_context(run.context_id) if a.type == REPORT_TYPE]
        if own:
            reports[run.run_id] = Path(max(own, key=lambda a: a.id).uri)
    neighbours = {(older.run_id, newer.run_id): (older, newer) for newer, older in itertools.pairwise(runs)}
    pairs: list[dict[str, Any]] = []
    for first, second, scores in paired_among(reports):
        changes = (
            _changes(store, *neighbours[first, second]) if (first, second) in neighbours else {"clips": None}
        )
        pairs.append({"first": first, "second": second, "scores": [_score(row) for row in scores], **changes})
    return pairs


def _score(row: Mapping[str, Any]) -> dict[str, Any]:
    paired = row["paired"] and {name: round(value, _SCORE_DIGITS) for name, value in row["paired"].items()}
    return {"name": row["name"].lower(), "paired": paired, "note": row["note"]}


def _changes(store: MetadataStore, first: RunSummary, second: RunSummary) -> dict[str, Any]:
    """Clips that differ: [source, what, split, clip, SHA-256 before, after]; None if a manifest is gone."""
    try:
        found: RunDifference = diff(store, first, second)
    except LookupError:
        return {"clips": None}
    rows: list[list[str]] = []
    for part in found.data:
        if not part.before or not part.after:
            rows.append([part.node, f"only in the {'second' if part.after else 'first'} run", "", "", "", ""])
        for change in part.changes:
            digests = [clip.sha256 if clip else "" for clip in (change.before, change.after)]
            rows.append([part.node, change.what, change.split, change.clip_id, *digests])
    more = max(0, len(rows) - _SHOWN_CHANGES)
    return {"clips": rows[:_SHOWN_CHANGES], "more_clips": more}


@dataclass
class Values:
    """Distinct values, identified by their index in `all`."""

    all: list[Any] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, value: Any) -> int:
        """The index of a value; a new one is appended."""
        key = json.dumps(value, sort_keys=True)  # tells 1 from 1.0 and from "1", as a dictionary would not
        if key not in self._places:
            self._places[key] = len(self.all)
            self.all.append(value)
        return self._places[key]


def artifact_row(artifact: pb.Artifact, values: Values) -> Row:
    """[id, type, uri, [name, value, name, value, ...]]."""
    return [
        artifact.id,
        values.place(artifact.type),
        values.place(artifact.uri),
        _properties(artifact, values),
    ]


def step_row(step: Step, node: str, run: str, values: Values) -> Row:
    """[execution, node, run, type, state, inputs, outputs, properties]; the last three are flat lists of pairs."""
    state = pb.Execution.State.Name(step.execution.last_known_state)
    return [
        step.id,
        *(values.place(text) for text in (node, run, step.execution.type, state)),
        _links(step.inputs, values),
        _links(step.outputs, values),
        _properties(step.execution, values),
    ]


def _links(links: Sequence[Link], values: Values) -> list[int]:
    return [number for link in links for number in (values.place(link.key), link.artifact_id)]


def _properties(node: pb.Artifact | pb.Execution, values: Values) -> list[int]:
    return [
        values.place(part)
        for name, value in properties_of(node).items()
        for part in (name, plain_value(value))
    ]
