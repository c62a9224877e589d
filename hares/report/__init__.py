"""The report of a run: report.json for machines, report.html for people, and every answer clip by clip."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hares.arrays import npz_bytes
from hares.atomic_files import write_atomically
from hares.predictions import Predictions, encode_predictions
from hares.report.mistakes import worst_mistakes
from hares.report.page import render_page
from hares.report.runs import PICTURES_FILE, PREDICTIONS_FOLDER, REPORT_FILE, Run
from hares.report.spectrogram import spectrogram_png
from hares.report.summary import SummaryRow, percent, summary_rows

__all__ = ["AudioLookup", "SummaryRow", "percent", "summary_rows", "write_report"]

PAGE_FILE = "report.html"

AudioLookup = Callable[[str, Sequence[str]], Mapping[str, np.ndarray]]
"""Of a task, the waveforms ((n,) int16 at 16 kHz) of those of some clips that are at hand, by clip id."""


def write_report(
    report: Mapping[str, Any],
    predictions: Mapping[str, Predictions],
    directory: Path,
    audio: AudioLookup | None = None,
) -> None:
    """Writes `report.json`, `report.html`, `predictions/<task>.npz` and `spectrograms.npz` below `directory`.

    Each file appears complete or not at all, `report.json` last: where it is, all is.

    Args:
        report: made by `hares.benchmark.build_report`.
        predictions: by task name, of the tasks that were scored.
        directory: made where it does not exist.
        audio: where the sound of the worst mistakes is; without it the page shows no spectrograms.

    Raises:
        ValueError: the report holds a number that JSON cannot (NaN or infinite).
    """
    content = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    for name, answers in sorted(predictions.items()):
        write_atomically(directory / PREDICTIONS_FOLDER / f"{name}.npz", encode_predictions(answers))
    pictures = {name: _pictures(name, predictions[name], audio) for name in sorted(predictions)}
    write_atomically(directory / PICTURES_FILE, _packed(pictures))
    run = Run(str(report["encoder"].get("name", "encoder")), report, predictions, pictures)
    write_atomically(directory / PAGE_FILE, render_page([run]))
    write_atomically(directory / REPORT_FILE, content)


def _pictures(task: str, answers: Predictions, audio: AudioLookup | None) -> dict[str, bytes]:
    if audio is None:
        return {}
    wanted = [mistake.clip_id for mistake in worst_mistakes(answers)]
    return {clip: spectrogram_png(waveform) for clip, waveform in sorted(audio(task, wanted).items())}


def _packed(pictures: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """An npz archive: `names`, JSON from task and clip to the array that holds its PNG."""
    keys = {
        task: {clip: f"{task}_{number}" for number, clip in enumerate(clips)}
        for task, clips in pictures.items()
    }
    arrays = {
        keys[task][clip]: np.frombuffer(png, np.uint8)
        for task, clips in pictures.items()
        for clip, png in clips.items()
    }
    names = np.frombuffer(json.dumps(keys, sort_keys=True).encode(), np.uint8)
    return npz_bytes({"names": names, **arrays})
