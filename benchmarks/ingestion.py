"""Ingestion beside a bare loop that decodes and resamples with soundfile and soxr, turn by turn on the same cores.

    python -m benchmarks.ingestion [--clips 200] [--seconds 10] [--rounds 5] [--kinds wav,flac,ogg,mp3]

Synthetic stereo recordings at 44.1 kHz (tones in noise), one folder a kind. The bare loop reads a file, averages its
channels and resamples with soxr HQ: no check of what is missing, no digest, nothing written. Ingestion is the executor
of `AudioExampleGen` on Beam's in-memory runner, as `hares run` calls it: listing, decoding, digests of file and sound,
TFRecords, manifest. Both run in one process and take turns; medians of processor seconds, which a busy machine changes
less than wall time, and the ratio. 0.7 or more is asked for. Beam's own start is in ingestion's time: `--clips` decides
how much it weighs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE, TARGET_RATE = 44_100, 16_000
ASKED = 0.7


def make_folder(folder: Path, kind: str, clips: int, seconds: float) -> None:
    """Writes recordings of one kind."""
    random = np.random.default_rng(0)
    time_axis = np.arange(round(RATE * seconds)) / RATE
    folder.mkdir(parents=True)
    for number in range(clips):
        tone = np.sin(2 * np.pi * 110.0 * 1.03 ** (number % 60) * time_axis)
        noise = random.standard_normal((len(time_axis), 2))
        soundfile.write(folder / f"{number:06d}.{kind}", 0.2 * tone[:, None] + 0.05 * noise, RATE)


def bare_loop(folder: Path) -> int:
    """What no ingestion can do without; gives the samples made."""
    made = 0
    for path in sorted(folder.iterdir()):
        sound, rate = soundfile.read(path, dtype="float32")  # (n, 2)
        mono = (sound[:, 0] + sound[:, 1]) / 2  # `sound.mean(axis=1)` alone takes longer than all the rest
        made += len(soxr.resample(mono, rate, TARGET_RATE, quality="HQ"))
    return made


def ingest(folder: Path, output: Path) -> int:
    """The component's executor on a folder; gives the clips used."""
    from tfx.types import standard_artifacts

    from components.artifacts import AudioManifest
    from components.audio_example_gen.executor import MANIFEST_FILE, Executor
    from hares.ingest import FOLDER
    from pipeline.config import PipelineConfig

    shutil.rmtree(output, ignore_errors=True)
    examples, manifest = standard_artifacts.Examples(), AudioManifest()
    examples.uri, manifest.uri = str(output / "examples"), str(output / "manifest")
    properties = {
        "sources": json.dumps({FOLDER: str(folder)}),
        "splits": json.dumps(["train"]),
        "clips_per_shard": PipelineConfig().clips_per_shard,
    }
    Executor().Do({}, {"examples": [examples], "manifest": [manifest]}, properties)
    content = json.loads((output / "manifest" / MANIFEST_FILE).read_text(encoding="utf-8"))
    return int(content["splits"]["train"]["used"])


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Wall and processor seconds of a piece of work."""
    wall, processor = time.monotonic(), time.process_time()
    work()
    return time.monotonic() - wall, time.process_time() - processor


def compare(kind: str, clips: int, seconds: float, rounds: int) -> float:
    """Prints a kind's line; gives the ratio of speeds by processor seconds."""
    with tempfile.TemporaryDirectory() as place:
        folder, output = Path(place) / kind, Path(place) / "out"
        make_folder(folder, kind, clips, seconds)
        used = ingest(folder, output)
        if used != clips:
            raise RuntimeError(f"{kind}: {used} of {clips} clips were ingested")
        turns = [
            (timed(lambda: bare_loop(folder)), timed(lambda: ingest(folder, output))) for _ in range(rounds)
        ]
    bare, own = (
        [statistics.median(turn[place][what] for turn in turns) for what in (0, 1)] for place in (0, 1)
    )
    ratios = [turn[0][1] / turn[1][1] for turn in turns]
    ratio = statistics.median(ratios)
    print(
        f"| {kind} | {bare[1]:.2f} | {own[1]:.2f} | **{ratio:.2f}** | {min(ratios):.2f} to {max(ratios):.2f} | "
        f"{bare[0] / own[0]:.2f} | {1000 * (own[1] - bare[1]) / clips:.2f} | {clips / own[1]:.0f} |",
        flush=True,
    )
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--kinds", default="wav,flac,ogg,mp3")
    arguments = parser.parse_args()
    print(f"{arguments.clips} clips of {arguments.seconds:g} s, {RATE} Hz stereo, {arguments.rounds} rounds")
    print(
        "| kind | bare loop, s | ingestion, s | speed | of the rounds | by wall time | ms a clip above | clips/s |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    ratios = [
        compare(kind, arguments.clips, arguments.seconds, arguments.rounds)
        for kind in arguments.kinds.split(",")
    ]
    print(f"lowest {min(ratios):.2f} of the bare loop's speed; asked for is {ASKED}")


if __name__ == "__main__":
    main()
