"""What decoding in a process of its own costs: ingestion against a bare loop over the same files, in turn.

    python -m benchmarks.decoding [--clips 200] [--seconds 3] [--rounds 5]

The bare loop reads with soundfile, averages the channels and resamples with soxr HQ, and keeps nothing. Ingestion
decodes under its limits, digests each file and its PCM, and writes TFRecords and a manifest's lines. The files are a
quarter each of WAV at 44.1 kHz, FLAC at 22.05 kHz, stereo MP3 at 44.1 kHz and WAV at 16 kHz. Prints the median of each,
the ratio of speeds, and the processor time of a file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

from hares.decoding import decode_each
from hares.ingest import Entry, ingest_shard
from hares.task import SAMPLE_RATE, Clip

KINDS = ((44_100, "wav", 1), (22_050, "flac", 1), (44_100, "mp3", 2), (16_000, "wav", 1))


def make_files(folder: Path, clips: int, seconds: float) -> list[Path]:
    """Brown noise in each kind in turn."""
    random = np.random.default_rng(0)
    for number in range(clips):
        rate, suffix, channels = KINDS[number % len(KINDS)]
        sound = np.cumsum(random.normal(size=(round(rate * seconds), channels)), axis=0)
        soundfile.write(folder / f"{number:05d}.{suffix}", sound / (1.1 * np.abs(sound).max()), rate)
    return sorted(folder.iterdir())


def bare(files: list[Path]) -> None:
    """Decoding and resampling, and nothing else."""
    for file in files:
        sound, rate = soundfile.read(file, dtype="float32", always_2d=True)
        mono = sound.mean(axis=1)
        if rate != SAMPLE_RATE:
            soxr.resample(mono, rate, SAMPLE_RATE, quality="HQ")


def guarded(files: list[Path]) -> None:
    """Decoding as ingestion does it."""
    for _ in decode_each((file, 0.0, None) for file in files):
        pass


def ingested(files: list[Path], out: Path) -> None:
    """The whole of a shard."""
    folder = str(files[0].parent)
    entries = [Entry("folder", Clip(file.name, file.name, (), "train", ".")) for file in files]
    summary = ingest_shard(entries, {"folder": folder}, "train", 0, str(out / "records"), str(out / "clips"))
    assert summary.used == len(files), summary.rejected


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall-clock seconds, and processor seconds of this process."""
    wall, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - used


def main() -> None:
    """Measures in turn and prints one JSON object."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch) / "clips", Path(scratch) / "out"
        folder.mkdir()
        out.mkdir()
        files = make_files(folder, options.clips, options.seconds)
        works: dict[str, Callable[[], None]] = {
            "bare": lambda: bare(files),
            "guarded": lambda: guarded(files),
            "ingested": lambda: ingested(files, out),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
        for work in works.values():
            work()
        for _ in range(options.rounds):
            for name, work in works.items():
                times[name].append(timed(work))
    wall = {name: statistics.median(w for w, _ in found) for name, found in times.items()}
    best = {name: min(w for w, _ in found) for name, found in times.items()}
    own = {name: statistics.median(c for _, c in found) for name, found in times.items()}
    result = {
        name: {
            "ms_per_file": round(1000 * wall[name] / options.clips, 3),
            "own_processor_ms_per_file": round(1000 * own[name] / options.clips, 3),
            "speed_of_bare": round(wall["bare"] / wall[name], 3),
            "speed_of_bare_best_rounds": round(best["bare"] / best[name], 3),
        }
        for name in works
    }
    print(json.dumps({"cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0], **result}, indent=1))


if __name__ == "__main__":
    main()
