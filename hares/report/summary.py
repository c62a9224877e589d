"""A report as rows of a table, for a terminal or a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hares.task import DOMAINS

OWN_NOTE = "a task of one's own, in no mean"


@dataclass(frozen=True)
class SummaryRow:
    """One line: a task, the mean of a domain, HARES, or a task of the user's own.

    All scores are fractions, None where there is none.

    Attributes:
        kind: what the line is about.
        name: the task's name, the domain, or "HARES".
        title: the same for people.
        metric: "accuracy", "mAP", or "mean".
        value, chance, untrained: the score, and what it must be held against.
        interval: 95% interval of `value`.
        paper: the paper's scores, by name of the reference.
        clips, expected_clips: test clips scored, and listed by the data set's index.
        note: why there is no score, of how many tasks a partial mean is, or that the task is no HARES task.
    """

    kind: Literal["task", "domain", "hares", "own"]
    name: str
    title: str
    metric: str
    value: float | None
    interval: tuple[float, float] | None
    chance: float | None
    untrained: float | None
    paper: Mapping[str, float | None]
    clips: int | None
    expected_clips: int | None
    note: str


def summary_rows(report: Mapping[str, Any]) -> tuple[SummaryRow, ...]:
    """The tasks of each domain followed by the domain's mean, HARES, and the tasks of the user's own."""
    rows: list[SummaryRow] = []
    for domain in DOMAINS:
        members = {name: entry for name, entry in report["tasks"].items() if entry["domain"] == domain}
        rows += [_task_row(name, entry) for name, entry in members.items()]
        rows.append(_mean_row(report, domain))
    own = report.get("own_tasks", {}).items()
    return (*rows, _mean_row(report, "hares"), *(_task_row(name, entry, "own") for name, entry in own))


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal, as the paper prints scores; a dash for None."""
    return "–" if value is None else f"{100 * value:.1f}"


def _task_row(name: str, entry: Mapping[str, Any], kind: Literal["task", "own"] = "task") -> SummaryRow:
    interval = entry["interval"]
    return SummaryRow(
        kind=kind,
        name=name,
        title=entry["title"],
        metric=entry["metric"],
        value=entry["value"],
        interval=(interval[0], interval[1]) if interval else None,
        chance=entry["chance"],
        untrained=entry["untrained"],
        paper=entry["paper"],
        clips=entry["clips"],
        expected_clips=entry["expected_clips"],
        note=entry["reason"] or (OWN_NOTE if kind == "own" else ""),
    )


def _mean_row(report: Mapping[str, Any], name: str) -> SummaryRow:
    whole = name == "hares"
    entries = [e for e in report["tasks"].values() if whole or e["domain"] == name]
    value = _mean_of(report, name)
    scored = sum(entry["value"] is not None for entry in entries)
    partial = report["partial_mean"][name]
    note = ""
    if value is None:
        note = f"{scored} of {len(entries)} tasks scored"
        note += f"; their mean is {percent(partial)}" if partial is not None else ""
    chances = [entry["chance"] for entry in entries if entry["chance"] is not None]
    return SummaryRow(
        kind="hares" if whole else "domain",
        name="HARES" if whole else name,
        title="HARES" if whole else name.capitalize(),
        metric="mean",
        value=value,
        interval=_mean_interval(report, name),
        chance=sum(chances) / len(chances) if chances and len(chances) == len(entries) else None,
        untrained=_mean_of(report["untrained"], name),
        paper={key: _mean_of(column, name) for key, column in report["paper"].items()},
        clips=None,
        expected_clips=None,
        note=note,
    )


def _mean_interval(report: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    bounds = report["intervals"]["hares"] if name == "hares" else report["intervals"]["domains"][name]
    return (bounds[0], bounds[1]) if bounds else None


def _mean_of(part: Mapping[str, Any], name: str) -> float | None:
    value: float | None = part["hares"] if name == "hares" else part["domains"][name]
    return value
