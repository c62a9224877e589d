"""What training reads: crops a second on one core and on two, and memory as the records grow.

    python -m benchmarks.input_pipeline speed [--cores 1,2] [--clips 2048] [--batch 256] [--batches 20]
    python -m benchmarks.input_pipeline memory [--records 10000,1000000] [--files 4]

`speed`: clips of ten seconds as Transform writes them, batches of SimCLR on log-mels: each row has two crops of its own
and two of its partners. A process is held to so many cores. The files are in the page cache.

`memory`: records of one frame, so that what grows with their number is what their number costs. A process a size finds
all records, and makes batches from the end of the first epoch on.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

FRAMES, MEL_BINS, VIEWS, CLIP_FRAMES = 300, 80, 2, 998
ROUNDS = 5


def write_records(path: Path, first: int, count: int, frames: int) -> str:
    """Records as Transform writes them: float16 log-mels of random numbers."""
    import tensorflow as tf

    log_mel = np.random.default_rng(0).standard_normal((frames, MEL_BINS)).astype(np.float16)
    data = tf.train.Feature(bytes_list=tf.train.BytesList(value=[tf.io.serialize_tensor(log_mel).numpy()]))
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(first, first + count):
            name = tf.train.Feature(bytes_list=tf.train.BytesList(value=[f"clip {number}".encode()]))
            feature = {"clip_id": name, "label": tf.train.Feature(), "log_mel": data}
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return str(path)


def batches_of(files: list[str], batch: int, start_step: int | None = None):
    """Batches of the files' clips from a step on, or from the last one of the first epoch."""
    from models.training.input_pipeline import InputSpec, make_dataset
    from models.training.records import open_records

    spec = InputSpec(
        records=open_records(files), batch_size=batch, num_views=VIEWS, mixes=True, num_classes=0, noise_size=0,
        input_kind="log_mel", crop_length=FRAMES, mel_bins=MEL_BINS, mixing_alpha=5.0, mixing_beta=2.0, seed=0,
    )  # fmt: skip
    return iter(make_dataset(spec, spec.steps_per_epoch - 1 if start_step is None else start_step))


def speed(cores: int, files: list[str], batch: int, batches: int) -> None:
    """Prints crops a second, by the clock and by the time that cores spent, held to so many cores."""
    os.sched_setaffinity(0, set(range(cores)))
    made = batches_of(files, batch, 0)
    for _ in range(5):
        next(made)
    by_clock, by_core = [], []
    for _ in range(ROUNDS):
        began, spent = time.perf_counter(), time.process_time()
        for _ in range(batches):
            next(made)
        by_clock.append(VIEWS * batch * batches / (time.perf_counter() - began))
        by_core.append(VIEWS * batch * batches / (time.process_time() - spent))
    said = [f"{statistics.median(r):.0f} ({min(r):.0f}-{max(r):.0f})" for r in (by_clock, by_core)]
    print(f"{cores} cores: {said[0]} crops a second, {said[1]} a second of a core", flush=True)


def memory(files: list[str]) -> None:
    """Prints the seconds to find all records, and the peak memory after some batches."""
    began = time.perf_counter()
    made = batches_of(files, 256)
    next(made)
    found = time.perf_counter() - began
    for _ in range(20):
        next(made)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak {peak:.0f} MiB; first batch after {found:.1f} s", flush=True)


def in_a_process(*words: object) -> None:
    subprocess.run([sys.executable, "-m", "benchmarks.input_pipeline", *map(str, words)], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("--cores", default="1,2")
    parser.add_argument("--clips", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--batches", type=int, default=20, help="of each round")
    parser.add_argument("--records", default="10000,1000000", help="smallest first")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument(
        "--of", nargs="*", default=[], help="files already written, in the processes it starts"
    )
    arguments = parser.parse_args()
    if arguments.of:
        if arguments.what == "speed":
            speed(int(arguments.cores), arguments.of, arguments.batch, arguments.batches)
        else:
            memory(arguments.of)
        return
    sizes = [arguments.clips] if arguments.what == "speed" else map(int, arguments.records.split(","))
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            share = size // arguments.files
            frames = CLIP_FRAMES if arguments.what == "speed" else 1
            files = [
                write_records(Path(folder) / f"{file}.tfrecord", file * share, share, frames)
                for file in range(arguments.files)
            ]
            for cores in arguments.cores.split(",") if arguments.what == "speed" else [""]:
                if arguments.what == "memory":
                    print(f"{size:>8} records: ", end="", flush=True)
                    in_a_process("memory", "--of", *files)
                else:
                    in_a_process(
                        "speed", "--cores", cores, "--batch", arguments.batch, "--batches", arguments.batches,
                        "--of", *files,
                    )  # fmt: skip


if __name__ == "__main__":
    main()
