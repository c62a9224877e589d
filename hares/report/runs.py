"""Finished runs: read back from their folders, and set against each other clip by clip."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hares.arrays import npz_arrays
from hares.predictions import (
    Answers,
    Predictions,
    load_predictions,
    paired_means,
    resampled_answers,
    why_not_paired,
)
from hares.statistics import PairedDifference
from hares.task import DOMAINS, task_names

REPORT_FILE = "report.json"
RECORD_FILE = "evaluate.json"  # how it was made
PREDICTIONS_FOLDER = "predictions"
PICTURES_FILE = "spectrograms.npz"
_OWN_NAME = re.compile("[a-z][a-z0-9_]*")  # it is that of a file too
_KEYS = {"tasks", "domains", "hares", "protocol", "encoder", "intervals"}


@dataclass(frozen=True)
class Run:
    """One report and what belongs to it.

    Attributes:
        name: how a person tells it from others.
        report: made by `hares.benchmark.build_report`.
        predictions: by task name.
        pictures: by task name, of a few clips their spectrogram as PNG.
    """

    name: str
    report: Mapping[str, Any]
    predictions: Mapping[str, Predictions]
    pictures: Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True)
class Difference:
    """A score of two runs.

    Attributes:
        kind: "task", "domain", "hares" or "own", a task of the user's own.
        name: of the task or domain, or "HARES".
        first, second: the scores, None where there is none.
        paired: second minus first on the same clips; None where that cannot be said.
        note: why not, "" where it can.
    """

    kind: str
    name: str
    first: float | None
    second: float | None
    paired: PairedDifference | None
    note: str


def load_run(folder: Path, name: str) -> Run:
    """Reads what `hares.report.write_report` wrote.

    Raises:
        ValueError: no report there, or not one of ours; the message names the file.
    """
    path = folder / REPORT_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file. Has the run ended?") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; the report cannot be read") from error
    report = parse_report(content, str(path))
    found = {task: folder / PREDICTIONS_FOLDER / f"{task}.npz" for task in all_entries(report)}
    pictures = folder / PICTURES_FILE
    return Run(
        name,
        report,
        {task: load_predictions(file) for task, file in found.items() if file.is_file()},
        unpack_pictures(npz_arrays(pictures.read_bytes(), str(pictures))) if pictures.is_file() else {},
    )


def all_entries(report: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of the twelve tasks and of the user's own; reports of before there were such have none."""
    return {**report["tasks"], **report.get("own_tasks", {})}


def parse_report(content: bytes, path: str) -> dict[str, Any]:
    """The report in the bytes of a `report.json`.

    Raises:
        ValueError: not JSON, or not a report of ours; the message names `path`.
    """
    try:
        report = json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}). Score the encoder again") from error
    missing = sorted(_KEYS - set(report)) if isinstance(report, dict) else sorted(_KEYS)
    if missing:
        raise ValueError(f"{path}: no {', '.join(missing)}. Is this a report of HARES, of this version?")
    own = report.get("own_tasks", {})
    names, taken = list(own) if isinstance(own, dict) else [str(own)], (*task_names(), *DOMAINS, "hares")
    if wrong := [name for name in names if not _OWN_NAME.fullmatch(name) or name in taken]:
        raise ValueError(f"{path}: {wrong[0]!r} is no name of a task of one's own. Score the encoder again")
    return dict(report)


def _refuse(constant: str) -> None:
    raise ValueError(f"it holds {constant}")


def unpack_pictures(arrays: Mapping[str, Any]) -> dict[str, dict[str, bytes]]:
    """Pictures by task and clip, as `hares.report.write_report` packed them."""
    names: dict[str, dict[str, str]] = json.loads(arrays["names"].tobytes())
    return {
        task: {clip: arrays[key].tobytes() for clip, key in clips.items()} for task, clips in names.items()
    }


def differences(runs: Sequence[Run]) -> tuple[tuple[Difference, ...], ...]:
    """Each run after the first against the first, with the rows of `compare`."""
    first, *others = [(run, resampled_run(run)) for run in runs]
    return tuple(compare(*first, *other) for other in others)


def resampled_run(run: Run) -> Answers:
    """A run's answers, as `compare` takes them."""
    return resampled_answers(run.name, run.predictions)


def compare(first: Run, ours: Answers, second: Run, theirs: Answers) -> tuple[Difference, ...]:
    """Second minus first, with the `resampled_run` of each: each domain's tasks and mean, HARES, tasks of one's own."""
    rows: list[Difference] = []
    everything: list[str] = []
    for domain in DOMAINS:
        members = [name for name, entry in first.report["tasks"].items() if entry["domain"] == domain]
        notes = {name: why_not_paired(name, ours, theirs) for name in members}
        for name in members:
            entries = first.report["tasks"][name], second.report["tasks"].get(name, {"value": None})
            scores = entries[0]["value"], entries[1]["value"]
            rows.append(_difference("task", name, [name], scores, ours, theirs, notes[name]))
        note = next((f"{name}: {note}" for name, note in notes.items() if note), "")
        scores = first.report["domains"][domain], second.report["domains"][domain]
        rows.append(_difference("domain", domain, members, scores, ours, theirs, note))
        everything += members
    note = next((row.note for row in rows if row.note), "")
    scores = first.report["hares"], second.report["hares"]
    rows.append(_difference("hares", "HARES", everything, scores, ours, theirs, note))
    own = [run.report.get("own_tasks", {}) for run in (first, second)]
    for name in {**own[0], **own[1]}:
        scores = tuple(entries.get(name, {"value": None})["value"] for entries in own)
        note = why_not_paired(name, ours, theirs)
        rows.append(_difference("own", name, [name], scores, ours, theirs, note))
    return tuple(rows)


def _difference(
    kind: str,
    name: str,
    members: Sequence[str],
    scores: tuple[float | None, float | None],
    ours: Answers,
    theirs: Answers,
    note: str,
) -> Difference:
    if note or not members:
        return Difference(kind, name, *scores, None, note)
    paired = paired_means(members, theirs, ours)
    return Difference(kind, name, *scores, paired, "" if paired else "no spread")
