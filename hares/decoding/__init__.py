"""Any recording as 16 kHz mono 16-bit samples (paper section 3), decoded where it can do no harm.

The one place from which audio files are read: by ingestion and pretraining, by `hares evaluate`, by the check of a
corpus and by the readers of data sets. A file may come from anywhere, so it is decoded in a process of its own
under `Limits` of time, memory and length:

- `process`: the caller's side of that process; `worker`: its own.
- `waveform`: the decoding; `ffmpeg`: of what soundfile does not read.
- `containers`, `frames`: what a file's bytes promise, so that one that was cut short is seen; `file_bytes` reads them.

A file that is no sound, is cut short, or costs more than a file may raises `AudioError` with the `Reason` that reports
count by; it never ends the caller. What the machine lacks (a right to read, memory, a decoder that starts) raises
`MachineError`, which should end the caller: the next file would fail too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator

import numpy as np
import soundfile
import soxr

from hares.decoding.limits import AudioError, Limits
from hares.decoding.process import pool
from hares.decoding.waveform import FFMPEG_SUFFIXES, MIN_SAMPLES, SOUNDFILE_SUFFIXES
from hares.machine import MachineError

__all__ = [
    "FFMPEG_SUFFIXES",
    "MIN_SAMPLES",
    "SOUNDFILE_SUFFIXES",
    "AudioError",
    "Limits",
    "MachineError",
    "decode",
    "decode_each",
    "decoder_versions",
    "seconds",
]

_LIMITS = Limits()
_FFMPEG_SECONDS = 30.0  # a loaded machine may take its time to say a version


def decoder_versions() -> dict[str, str]:
    """What decodes and resamples here, by version: what one version refuses, another may read.

    ffmpeg is "none" where it is not on the PATH, else the first line that it says of itself.
    """
    return {
        "soundfile": soundfile.__version__,
        "libsndfile": soundfile.__libsndfile_version__,
        "soxr": soxr.__version__,
        "libsoxr": soxr.__libsoxr_version__,
        "ffmpeg": _ffmpeg_version(),
    }


def _ffmpeg_version() -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        return "none"
    try:
        said = subprocess.run(
            [program, "-version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_FFMPEG_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} does not run ({error})"
    return (said.stdout.decode(errors="replace").splitlines() or [f"{program} says nothing"])[0]


def decode(
    path: str | os.PathLike[str],
    start: float = 0.0,
    duration: float | None = None,
    limits: Limits = _LIMITS,
) -> np.ndarray:
    """The samples of a recording, or of a part of it.

    Args:
        path: the file.
        start: seconds into the file where reading begins.
        duration: seconds to read, or None for everything that follows.
        limits: what the file may cost.

    Returns:
        (n,) int16, mono, 16 kHz, n >= 400.

    Raises:
        AudioError: the file is absent, empty, not decodable, truncated, not finite or shorter than 25 ms; its header
            cannot be true; or it costs more than `limits`, or crashes the decoder.
        ValueError: `start` or `duration` is negative.
        MachineError: the machine keeps the file from being read or decoded.
    """
    if start < 0 or (duration is not None and duration <= 0):
        raise ValueError(f"start must be >= 0 and duration > 0, got start={start}, duration={duration}")
    request = {"path": os.path.abspath(path), "start": start, "duration": duration}
    return pool(limits.memory_bytes).ask(request, limits)[1]


def decode_each(
    parts: Iterable[tuple[str | os.PathLike[str], float, float | None]], limits: Limits = _LIMITS
) -> Iterator[np.ndarray | AudioError]:
    """What `decode` gives or raises for each (path, start, duration), in order.

    The next file is decoded while the caller works on the samples of the one before. Raises MachineError as `decode`.
    """
    numbered = (
        {"path": os.path.abspath(path), "start": start, "duration": length} for path, start, length in parts
    )
    for answer in pool(limits.memory_bytes).ask_each(numbered, limits):
        yield answer if isinstance(answer, AudioError) else answer[1]


def seconds(path: str | os.PathLike[str], limits: Limits = _LIMITS) -> float:
    """Length of a recording by its header, without decoding it (formats only ffmpeg reads are decoded).

    Raises:
        AudioError: the file is absent, empty, not audio, ends before its header says, or claims more than
            `limits.longest`.
        MachineError: the machine keeps the file from being read or decoded.
    """
    request = {"path": os.path.abspath(path), "length": True}
    return float(pool(limits.memory_bytes).ask(request, limits)[0]["length"])
