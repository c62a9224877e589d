"""Ingestion beside a bare loop that decodes and resamples with soundfile and soxr, turn by turn on the same cores.

    python -m benchmarks.ingestion [--clips 200] [--seconds 10] [--rounds 5] [--kinds wav,flac,ogg,mp3]

Synthetic stereo recordings at 44.1 kHz (tones in noise), one folder a kind. The bare loop reads a file, averages its
channels and resamples with soxr HQ: no check of what is missing, no digest, nothing written, no guard. Ingestion is the
executor of `AudioExampleGen` on the Beam runner that `hares run` gives it: listing, decoding in its guarded process,
digests of file and sound, TFRecords, manifest. The two take turns, both held to one core and then both to all that this
process may use. Printed are medians over the rounds of wall seconds and of processor seconds, those of the decoding
process included, and the ratios of speeds. 0.7 or more is asked for. Beam's own start is in ingestion's time: `--clips`
decides how much it weighs.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile
import soxr

from hares.decoding import Limits
from hares.decoding.process import pool

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


def ingest(folder: Path | str, output: Path) -> int:
    """The component's executor on a folder or an address; gives the clips used."""
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner
    from tfx.types import standard_artifacts

    from components.artifacts import MANIFEST_FILE, AudioManifest
    from components.audio_example_gen.executor import Executor
    from hares.ingest import FOLDER
    from pipeline.config import PipelineConfig

    examples, manifest = standard_artifacts.Examples(), AudioManifest()
    examples.uri, manifest.uri = str(output / "examples"), str(output / "manifest")
    properties = {
        "sources": json.dumps({FOLDER: str(folder)}),
        "splits": json.dumps(["train"]),
        "clips_per_shard": PipelineConfig().clips_per_shard,
        "limits": json.dumps(dataclasses.asdict(Limits())),
    }
    # The runner of `pipeline.local_beam`: without it Beam first tries to download another one.
    context = Executor.Context(make_beam_pipeline_fn=lambda: beam.Pipeline(runner=FnApiRunner()))
    Executor(context).Do({}, {"examples": [examples], "manifest": [manifest]}, properties)
    content = json.loads((output / "manifest" / MANIFEST_FILE).read_text(encoding="utf-8"))
    return int(content["splits"]["train"]["used"])


def decoders() -> list[int]:
    """Ids of the decoding processes, all idle."""
    return [decoder.pid for decoder in pool(Limits().memory_bytes).idle()]


def processor_seconds() -> float:
    """Processor time so far of this process and of its decoding processes."""
    total = time.process_time()
    for pid in decoders():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def hold_to(cores: Sequence[int]) -> None:
    """Leaves these cores to all threads of this process and to its decoding processes."""
    for task in (*map(int, os.listdir("/proc/self/task")), *decoders()):
        with suppress(ProcessLookupError):  # a thread that has ended since
            os.sched_setaffinity(task, cores)


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Wall and processor seconds of a piece of work."""
    wall, processor = time.monotonic(), processor_seconds()
    work()
    return time.monotonic() - wall, processor_seconds() - processor


def in_turns(folder: Path, rounds: int) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Each round's times: the bare loop's and ingestion's, which writes into an empty folder."""
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as output:
            yield timed(lambda: bare_loop(folder)), timed(lambda: ingest(folder, Path(output)))


def compare(kind: str, clips: int, seconds: float, rounds: int) -> float:
    """Prints a kind's lines, one a set of cores; gives the lower ratio of speeds, by whichever clock."""
    every = sorted(os.sched_getaffinity(0))
    lowest = float("inf")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / kind
        make_folder(folder, kind, clips, seconds)
        for cores in [every[:1], every] if len(every) > 1 else [every]:
            hold_to(cores)
            used = ingest(folder, Path(place) / f"{len(cores)}")
            if used != clips:
                raise RuntimeError(f"{kind}: {used} of {clips} clips were ingested")
            hold_to(cores)
            turns = list(in_turns(folder, rounds))
            line = f"| {kind} | {len(cores)} |"
            for clock in (0, 1):
                bare, own = (statistics.median(turn[who][clock] for turn in turns) for who in (0, 1))
                ratios = [turn[0][clock] / turn[1][clock] for turn in turns]
                ratio = statistics.median(ratios)
                lowest = min(lowest, ratio)
                line += (
                    f" {bare:.2f} | {own:.2f} | **{ratio:.2f}** | {min(ratios):.2f} to {max(ratios):.2f} |"
                )
            print(f"{line} {1000 * (own - bare) / clips:.2f} |", flush=True)
    return lowest


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
    of_a_clock = " bare loop, {0} s | ingestion, {0} s | speed | of the rounds |"
    print(f"| kind | cores |{of_a_clock.format('wall')}{of_a_clock.format('processor')} ms a clip above |")
    print("|---|--:|" + "--:|" * 9)
    ratios = [
        compare(kind, arguments.clips, arguments.seconds, arguments.rounds)
        for kind in arguments.kinds.split(",")
    ]
    print(f"lowest {min(ratios):.2f} of the bare loop's speed; asked for is {ASKED}")


if __name__ == "__main__":
    main()
