"""Finished runs: read back from their folders, and set against each other clip by clip."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hares.arrays import npz_arrays
from hares.predictions import Predictions, load_predictions
from hares.statistics import (
    PairedDifference,
    Resampled,
    difference_of,
    draws_seed,
    mean_of,
    paired_difference,
)
from hares.task import DOMAINS, load_task, task_names

REPORT_FILE = "report.json"
PREDICTIONS_FOLDER = "predictions"
PICTURES_FILE = "spectrograms.npz"
COMPARISON_RESAMPLES = 1_000
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
        kind: "task", "domain" or "hares".
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
        report = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path}: there is no such file. Has the run ended?") from error
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; the report cannot be read") from error
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}). Score the encoder again") from error
    missing = sorted(_KEYS - set(report)) if isinstance(report, dict) else sorted(_KEYS)
    if missing:
        raise ValueError(f"{path}: no {', '.join(missing)}. Is this a report of HARES, of this version?")
    found = {task: folder / PREDICTIONS_FOLDER / f"{task}.npz" for task in task_names()}
    pictures = folder / PICTURES_FILE
    return Run(
        name,
        report,
        {task: load_predictions(file) for task, file in found.items() if file.is_file()},
        unpack_pictures(npz_arrays(pictures.read_bytes(), str(pictures))) if pictures.is_file() else {},
    )


def unpack_pictures(arrays: Mapping[str, Any]) -> dict[str, dict[str, bytes]]:
    """Pictures by task and clip, as `hares.report.write_report` packed them."""
    names: dict[str, dict[str, str]] = json.loads(arrays["names"].tobytes())
    return {
        task: {clip: arrays[key].tobytes() for clip, key in clips.items()} for task, clips in names.items()
    }


def differences(runs: Sequence[Run]) -> tuple[tuple[Difference, ...], ...]:
    """Each run after the first against the first: the tasks of each domain, the domain, and HARES last."""
    resampled = [resampled_answers(run) for run in runs]
    return tuple(
        compare(runs[0], resampled[0], run, own) for run, own in zip(runs[1:], resampled[1:], strict=True)
    )


def resampled_answers(run: Run) -> dict[str, Resampled]:
    """Every run by the same draws, whatever seed it was scored with: that is what pairs them."""
    found = {
        name: answers.resampled(COMPARISON_RESAMPLES, draws_seed(load_task(name), 0))
        for name, answers in run.predictions.items()
    }
    return {name: resampled for name, resampled in found.items() if resampled}


def compare(
    first: Run, ours: Mapping[str, Resampled], second: Run, theirs: Mapping[str, Resampled]
) -> tuple[Difference, ...]:
    """Second minus first, with what `resampled_answers` gave of each: tasks of each domain, the domain, HARES last."""
    rows: list[Difference] = []
    everything: list[str] = []
    for domain in DOMAINS:
        members = [name for name, entry in first.report["tasks"].items() if entry["domain"] == domain]
        notes = {name: _why_not_paired(name, first, ours, second, theirs) for name in members}
        rows += [
            _difference("task", name, [name], first.report["tasks"][name]["value"],
                        second.report["tasks"].get(name, {"value": None})["value"], ours, theirs, notes[name])
            for name in members
        ]  # fmt: skip
        note = next((f"{name}: {note}" for name, note in notes.items() if note), "")
        rows.append(
            _difference("domain", domain, members, first.report["domains"][domain],
                        second.report["domains"][domain], ours, theirs, note)
        )  # fmt: skip
        everything += members
    note = next((row.note for row in rows if row.note), "")
    rows.append(
        _difference(
            "hares", "HARES", everything, first.report["hares"], second.report["hares"], ours, theirs, note
        )
    )
    return tuple(rows)


def _difference(
    kind: str,
    name: str,
    members: Sequence[str],
    first: float | None,
    second: float | None,
    ours: Mapping[str, Resampled],
    theirs: Mapping[str, Resampled],
    note: str,
) -> Difference:
    if note or not members:
        return Difference(kind, name, first, second, None, note)
    paired = paired_difference(mean_of([difference_of(theirs[m], ours[m]) for m in members]))
    return Difference(kind, name, first, second, paired, "" if paired else "no spread")


def _why_not_paired(
    name: str, first: Run, ours: Mapping[str, Resampled], second: Run, theirs: Mapping[str, Resampled]
) -> str:
    for run, resampled in ((first, ours), (second, theirs)):
        if name not in resampled:
            return f"no answers of {run.name}"
    if not first.predictions[name].about_same_clips(second.predictions[name]):
        return "not the same clips"
    return ""
