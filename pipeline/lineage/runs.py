"""Runs of a store: found by name, score, encoder, date or span, with what is recorded of each.

The store itself evaluates filters, on the properties of a run's context (`pipeline.lineage.record`). Runs are read page
by page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ml_metadata import errors
from ml_metadata.metadata_store import ListOptions, MetadataStore
from ml_metadata.metadata_store.metadata_store import OrderByField
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.record import CONFIG_TYPE, RUN_TYPE, SCORE, moment_text, outcome_of

PIPELINE_TYPE = "pipeline"  # TFX's
LATEST, PREVIOUS = "latest", "previous"
_PAGE = 500
_SCORE_FILTER = re.compile(r"\s*([\w/]+)\s*(>=|<=|>|<|=)\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*(%?)\s*")
_FACTS = (
    "status", "start", "end", "git_revision", "git_clean", "lock_digest", "preset", "target", "user", "run_key",
    "config_digest", "encoder", "objective", "weights_digest", "span",
)  # fmt: skip


@dataclass(frozen=True)
class RunSummary:
    """A run.

    Attributes:
        run_id: name of its context.
        context_id: id of that context.
        facts: what is recorded: status, start, end, git_revision, git_clean, lock_digest, preset, target, user,
            run_key, config_digest, encoder, objective, weights_digest, span; a run of an earlier version may lack some.
        code: digest of the code of each component.
        scores: by task, domain and "hares", as fractions.
        blessed: None if it has no verdict.
    """

    run_id: str
    context_id: int
    facts: dict[str, str]
    code: dict[str, str]
    scores: dict[str, float]
    blessed: bool | None


@dataclass(frozen=True)
class RunFilter:
    """Which runs are wanted; a run must meet every condition that is set.

    Attributes:
        scores: conditions as in "hares>0.5" or "esc50>=50%".
        encoder, span, status: must be equal.
        since, until: the run started at or after the one, and before the other (aware datetimes).
    """

    scores: tuple[str, ...] = ()
    encoder: str = ""
    span: str = ""
    status: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def query(self) -> str:
        """The filter in ML Metadata's query language. Raises ValueError for a condition that cannot be read."""
        parts = [f"type = {quoted(RUN_TYPE)}"]
        for name in ("encoder", "span", "status"):
            value = getattr(self, name)
            if value:
                parts.append(f"custom_properties.{name}.string_value = {quoted(value)}")
        for text in self.scores:
            match = _SCORE_FILTER.fullmatch(text)
            if not match:
                raise ValueError(
                    f"--score {text!r}: expected a score and a bound, as in 'hares>0.5' or 'esc50>=50%'"
                )
            name, sign, number, percent = match.groups()
            bound = float(number) / (100 if percent else 1)
            parts.append(f"custom_properties.`{SCORE}{name}`.double_value {sign} {bound!r}")
        for moment, sign in ((self.since, ">="), (self.until, "<")):
            if moment is not None:
                # As text: all have one form and one zone. A migration does not keep the context's own time.
                parts.append(f"custom_properties.start.string_value {sign} {quoted(moment_text(moment))}")
        return " AND ".join(parts)


def list_runs(store: MetadataStore, wanted: RunFilter, limit: int | None = None) -> Iterator[RunSummary]:
    """Runs that meet a filter, the latest first.

    Raises:
        ValueError: a condition that cannot be read.
    """
    query, before, left = wanted.query(), "", limit
    while left is None or left > 0:
        size = _PAGE if left is None else min(_PAGE, left)
        options = ListOptions(filter_query=query + before, order_by=OrderByField.ID, is_asc=False, limit=size)
        try:
            page = store.get_contexts(options)
        except errors.NotFoundError:
            return
        for context in page:
            yield _summary(store, context)
        if len(page) < size:
            return
        before = f" AND id < {page[-1].id}"
        left = None if left is None else left - size


def find_run(store: MetadataStore, name: str) -> RunSummary:
    """A run by its id, a unique prefix of it, or as "latest" or "previous".

    Raises:
        LookupError: no such run, or several; the message says which.
    """
    if name in (LATEST, PREVIOUS):
        nth = 1 if name == LATEST else 2
        latest = list(list_runs(store, RunFilter(), limit=nth))
        if len(latest) < nth:
            raise LookupError(
                f"run {name!r}: the store has {len(latest)} run(s). `hares lineage runs` lists them"
            )
        return latest[-1]
    context = store.get_context_by_type_and_name(RUN_TYPE, name)
    if context is not None:
        return _summary(store, context)
    # The name may contain the query's wildcards, so its results are filtered again.
    query = f"type = {quoted(RUN_TYPE)} AND name LIKE {quoted(name + '%')}"
    found = [c for c in store.get_contexts(ListOptions(filter_query=query)) if c.name.startswith(name)]
    if len(found) == 1:
        return _summary(store, found[0])
    problem = "there is no such run" if not found else "several runs begin so; give more of the id"
    raise LookupError(f"run {name!r}: {problem}. `hares lineage runs` lists them")


def runs_by_id(store: MetadataStore, names: Sequence[str]) -> dict[str, RunSummary]:
    """Runs by their full ids; unknown ids are left out."""
    contexts = {name: store.get_context_by_type_and_name(RUN_TYPE, name) for name in dict.fromkeys(names)}
    return {name: _summary(store, context) for name, context in contexts.items() if context is not None}


def run_before(store: MetadataStore, run: RunSummary) -> RunSummary | None:
    """The previous run of the same pipeline; None for the first, and for one without any step.

    Steps of another pipeline cannot be compared: TFX's cache keys contain the pipeline's name.
    """
    pipeline = pipeline_of(store, run)
    if pipeline is None:
        return None
    earlier = f"contexts_r.type = {quoted(RUN_TYPE)} AND contexts_r.id < {run.context_id}"
    query = f"contexts_p.id = {pipeline.id} AND {earlier}"
    found = store.get_executions(
        ListOptions(filter_query=query, order_by=OrderByField.ID, is_asc=False, limit=1)
    )
    runs = [c for e in found for c in store.get_contexts_by_execution(e.id) if c.type == RUN_TYPE]
    return _summary(store, max(runs, key=lambda context: context.id)) if runs else None


def pipeline_of(store: MetadataStore, run: RunSummary) -> pb.Context | None:
    """The context of a run's pipeline, found through any of its steps; None for a run without steps."""
    steps = store.get_executions_by_context(run.context_id)
    contexts = store.get_contexts_by_execution(steps[0].id) if steps else []
    return next((context for context in contexts if context.type == PIPELINE_TYPE), None)


def config_of(store: MetadataStore, run: RunSummary) -> dict[str, Any] | None:
    """A run's complete settings; None if they are not recorded."""
    digest = run.facts.get("config_digest", "")
    context = store.get_context_by_type_and_name(CONFIG_TYPE, digest) if digest else None
    if context is None:
        return None
    config: dict[str, Any] = json.loads(context.custom_properties["config"].string_value)
    return config


def parse_moment(text: str) -> datetime:
    """A date or time as in 2026-11-24, 2026-11-24T10:00, or 7d, 12h (that long ago). Local time without a zone.

    Raises:
        ValueError: not such a text.
    """
    ago = re.fullmatch(r"(\d+)([dh])", text)
    if ago:
        number = int(ago[1])
        return datetime.now(timezone.utc) - (
            timedelta(days=number) if ago[2] == "d" else timedelta(hours=number)
        )
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no date; give one as in 2026-11-24, 2026-11-24T10:00, 7d or 12h"
        ) from error


def quoted(text: str) -> str:
    """A string literal of ML Metadata's query language.

    Raises:
        ValueError: a quote or a backslash, which ML Metadata 1.15 hands to the database unescaped: double quotes break
            SQLite's and MySQL's queries, single ones PostgreSQL's.
    """
    if set(text) & set("'\"\\\n\r\0"):
        raise ValueError(f"{text!r}: the store cannot search for a text with a quote or a backslash in it")
    return f"'{text}'"


def _summary(store: MetadataStore, context: pb.Context) -> RunSummary:
    properties = context.custom_properties
    recorded: dict[str, Any] = {
        name: getattr(value, value.WhichOneof("value")) for name, value in properties.items()
    }
    if "end" not in recorded:  # killed, still running, or of an earlier version: read from its artifacts
        recorded.update(outcome_of(store.get_artifacts_by_context(context.id)))
    return RunSummary(
        run_id=context.name,
        context_id=context.id,
        facts={name: str(recorded[name]) for name in _FACTS if name in recorded},
        code=json.loads(recorded.get("code", "{}")),
        scores={
            name.removeprefix(SCORE): float(value)
            for name, value in sorted(recorded.items())
            if name.startswith(SCORE)
        },
        blessed=bool(recorded["blessed"]) if "blessed" in recorded else None,
    )
