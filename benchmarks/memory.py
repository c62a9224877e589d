"""Peak memory of `hares evaluate` as a task grows: a process a size, on synthetic clips of Speech Commands' layout.

    python -m benchmarks.memory [--sizes 1000,20000] [--tasks speech_commands_v2] [--encoder log_mel]

Every size is a corpus of one-second clips (a tone a word, in noise; three quarters train) and one `hares evaluate`
with an empty cache under the `quick` protocol, whose peak resident memory the kernel reports when it ends. Prints a
line a size, and how much the last is above the first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from hares.tasks._speech_commands import WORDS_V2

SAMPLE_RATE = 16_000
TEST_SHARE = 4


def make_corpus(root: Path, clips: int) -> None:
    """A Speech Commands v2 of `clips` clips; each fourth is listed as a test clip."""
    random = np.random.default_rng(0)
    seconds = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    test = []
    for number in range(clips):
        place = number % len(WORDS_V2)
        word = WORDS_V2[place]
        tone = 0.1 * np.sin(2 * np.pi * 150.0 * 1.1**place * seconds)
        noise = 0.1 * random.standard_normal(SAMPLE_RATE)
        name = f"{word}/{number:08x}_nohash_0.wav"
        path = root / "speech_commands_v2" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone + noise, SAMPLE_RATE, subtype="PCM_16")
        if number // len(WORDS_V2) % TEST_SHARE == 0:
            test.append(name)
    lists = root / "speech_commands_v2"
    (lists / "testing_list.txt").write_text("\n".join(test) + "\n", encoding="utf-8")
    (lists / "validation_list.txt").write_text("", encoding="utf-8")


def peak_of_evaluate(corpus: Path, output: Path, encoder: str, tasks: str) -> tuple[float, float]:
    """Peak resident memory in MiB and seconds of one `hares evaluate`.

    Raises:
        RuntimeError: it failed.
    """
    command = [
        str(Path(sys.executable).with_name("hares")),
        "evaluate",
        "--encoder",
        encoder,
        "--corpus",
        str(corpus),
    ]
    command += ["--protocol", "quick", "--tasks", tasks, "--output", str(output)]
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return usage.ru_maxrss / 1024, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="1000,20000", help="clips, smallest first")
    parser.add_argument("--tasks", default="speech_commands_v2")
    parser.add_argument("--encoder", default="log_mel")
    arguments = parser.parse_args()
    peaks = []
    for size in map(int, arguments.sizes.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            make_corpus(Path(folder) / "corpus", size)
            peak, seconds = peak_of_evaluate(
                Path(folder) / "corpus", Path(folder) / "out", arguments.encoder, arguments.tasks
            )
        peaks.append(peak)
        print(f"{size:>8} clips: peak {peak:.0f} MiB, {seconds:.0f} s", flush=True)
    print(f"growth {100 * (peaks[-1] / peaks[0] - 1):.1f}%")


if __name__ == "__main__":
    main()
