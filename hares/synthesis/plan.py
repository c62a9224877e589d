"""What a layout hands over: recordings that can be rendered one by one, and index files as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from hares.synthesis.signals import Samples, resampled
from hares.task import SAMPLE_RATE

FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".mp3": ("MP3", "MPEG_LAYER_III")}


@dataclass(frozen=True)
class Recording:
    """One audio file: where it goes, how it is made, at what rate it is stored.

    Attributes:
        path: below the corpus root, POSIX form; the suffix decides the format.
        render: returns the clip at 16 kHz, (n,) mono or (2, n) stereo, within -1 to 1.
        rate: sample rate of the file in Hz.
    """

    path: str
    render: Callable[[], Samples]
    rate: int = SAMPLE_RATE


@dataclass(frozen=True)
class Plan:
    """One data set in its native layout: its recordings, and its index files (path to text)."""

    recordings: tuple[Recording, ...]
    files: Mapping[str, str]


def scaled(count: int, scale: float, least: int = 1) -> int:
    """`count` times `scale`, rounded, but never fewer than `least`."""
    return max(least, round(count * scale))


def table(
    rows: Iterable[Iterable[object]], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL, end: str = "\n"
) -> str:
    """Rows as delimited text."""
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue()


def write_recording(recording: Recording, root: Path) -> float:
    """Renders and writes one recording; returns its length in seconds."""
    path = root / recording.path
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = resampled(recording.render(), recording.rate)
    container, subtype = FORMATS[path.suffix]
    soundfile.write(path, np.ascontiguousarray(samples.T), recording.rate, subtype=subtype, format=container)
    return samples.shape[-1] / recording.rate
