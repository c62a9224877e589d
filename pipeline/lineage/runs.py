"""Runs of a store: found by name, score, encoder, date or span, with what is recorded of each.

Runs are read newest first and page by page, and filters hold on what their contexts record (`pipeline.lineage.record`):
ML Metadata evaluated such filters itself until 1.21.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import chain, islice
from typing import Any

from ml_metadata.metadata_store import ListOptions, MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.record import (
    CONFIG_TYPE,
    PIPELINE_TYPE,
    RUN_TYPE,
    SCORE,
    moment_text,
    outcome_of,
    recorded_of,
)
from workarounds.ml_metadata import nodes, pages

LATEST, PREVIOUS = "latest", "previous"
_PAGE, _FIRST_PAGE = 100, 10  # "latest" needs one run, and a page is read whole
_SIGNS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "=": operator.eq}
_SCORE_FILTER = re.compile(r"\s*([\w/]+)\s*(>=|<=|>|<|=)\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*(%?)\s*")
_FACTS = (
    "status", "start", "end", "git_revision", "git_clean", "lock_digest", "preset", "target", "user", "run_key",
    "config_digest", "encoder", "objective", "weights_digest", "span", "pipeline",
)  # fmt: skip


@dataclass(frozen=True)
class RunSummary:
    """A run.

    Attributes:
        run_id: name of its context.
        context_id: id of that context.
        facts: what is recorded: status, start, end, git_revision, git_clean, lock_digest, preset, target, user,
            run_key, config_digest, encoder, objective, weights_digest, span, pipeline; a run of an earlier version may
            lack some.
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

    def meets(self) -> Callable[[Mapping[str, Any]], bool]:
        """Tells of what a run's context records whether it meets every condition.

        Raises:
            ValueError: a condition that cannot be read.
        """
        equal = {name: value for name in ("encoder", "span", "status") if (value := getattr(self, name))}
        bounds = [_bound(text) for text in self.scores]
        # As text: all have one form and one zone. A migration does not keep the context's own time.
        since, until = (moment_text(moment) if moment else "" for moment in (self.since, self.until))

        def meets(recorded: Mapping[str, Any]) -> bool:
            start = recorded.get("start", "")
            return (
                all(recorded.get(name) == value for name, value in equal.items())
                and all(
                    name in recorded and compare(recorded[name], bound) for name, compare, bound in bounds
                )
                and (bool(start) or not (since or until))
                and since <= start
                and (not until or start < until)
            )

        return meets


def _bound(text: str) -> tuple[str, Callable[[float, float], bool], float]:
    match = _SCORE_FILTER.fullmatch(text)
    if not match:
        raise ValueError(f"--score {text!r}: expected a score and a bound, as in 'hares>0.5' or 'esc50>=50%'")
    name, sign, number, percent = match.groups()
    return f"{SCORE}{name}", _SIGNS[sign], float(number) / (100 if percent else 1)


def list_runs(store: MetadataStore, wanted: RunFilter, limit: int | None = None) -> Iterator[RunSummary]:
    """Runs that meet a filter, the latest first.

    Raises:
        ValueError: a condition that cannot be read.
    """
    meets = wanted.meets()
    size = _FIRST_PAGE if limit is not None and limit <= _FIRST_PAGE else _PAGE
    found = chain.from_iterable(pages(store, "context", RUN_TYPE, newest_first=True, size=size))
    matching = (context for context in found if meets(recorded_of(context)))
    return (_summary(store, context) for context in islice(matching, limit))


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
    found = [c for c in nodes(store, "context", RUN_TYPE) if c.name.startswith(name)]
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
    pipeline = _pipeline_of_steps(store, run.context_id, run.facts)
    if pipeline is None:
        return None
    for context in nodes(store, "context", RUN_TYPE, newest_first=True):
        if context.id >= run.context_id:
            continue
        recorded = recorded_of(context)
        if recorded.get("pipeline", pipeline) != pipeline:
            continue
        if _pipeline_of_steps(store, context.id, recorded) == pipeline:
            return _summary(store, context)
    return None


def pipeline_of(store: MetadataStore, run: RunSummary) -> str | None:
    """The name of a run's pipeline; None for a run of an earlier version without steps."""
    return run.facts.get("pipeline") or _pipeline_of_steps(store, run.context_id, run.facts)


def _pipeline_of_steps(store: MetadataStore, run_id: int, recorded: Mapping[str, Any]) -> str | None:
    """The name of the pipeline of a run's steps; None for a run without steps."""
    steps = store.get_executions_by_context(run_id, ListOptions(limit=1))
    if steps and "pipeline" in recorded:
        return str(recorded["pipeline"])
    contexts = store.get_contexts_by_execution(steps[0].id) if steps else []
    return next((context.name for context in contexts if context.type == PIPELINE_TYPE), None)


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


def _summary(store: MetadataStore, context: pb.Context) -> RunSummary:
    recorded = recorded_of(context)
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
