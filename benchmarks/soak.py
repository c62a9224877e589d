"""Retrainings one after the other on rolling spans of the demo corpus: what grows?

    python -m benchmarks.soak --folder F [--rounds 20] [--tasks birdsong,speech_commands_v1] [--steps 20]
        [--apart] [--set key=value ...]

The demo's unlabelled recordings are dealt out to spans, two more than there are rounds. Each round trains on a span of
its own and the two before it, embeds the tasks anew, scores, judges and pushes; what has not changed comes from the
cache, as in a pipeline that is run every night. All rounds share one process, one workspace and one store, so that what
a run leaves behind in any of them adds up. With --apart each has a process of its own, as `hares run` has.

After each round are noted: resident memory, now and at its highest, open files and threads of the process; files in the
system's folder of temporary files (a folder of the benchmark's own) and in the workspace outside of what a run is there
to make; wall and processor seconds; bytes of the store. F/soak.json keeps the rounds. Prints a line a round, and at the
end a straight line through each figure: its slope a round, the standard error, and whether the slope is more than twice
its error. The first two rounds are left out of it: they fill caches of libraries.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP_ROUNDS = 2
WINDOW = 3
SPANS_OF_SCALE = 75  # spans in the corpus at scale 1, each large enough that a window has a batch
MIB = 1024 * 1024
# What runs are there to make; everything else in the workspace should not add up.
MADE = ("artifacts", "checkpoints", "pushed", "imported")
FIGURES = {
    "resident_mib": "resident memory, MiB",
    "peak_mib": "resident memory at its highest, MiB",
    "open_files": "open files",
    "threads": "threads",
    "temporary_files": "files in the folder of temporary files",
    "other_files": "other files in the workspace",
    "scratch_files": "files of TFX's executors (artifacts/*/.system)",
    "processor": "processor s",
    "wall": "wall s",
    "store_bytes": "store, bytes",
}


def make_spans(folder: Path, spans: int) -> Path:
    """The demo corpus, its `pretrain` files dealt out to spans; gives the corpus."""
    from hares.synthesis import make_corpus

    corpus = folder / "corpus"
    if not corpus.is_dir():
        make_corpus(corpus, scale=max(0.3, spans / SPANS_OF_SCALE))
    files = sorted((corpus / "pretrain").glob("*/*.wav"))
    for number, path in enumerate(files):
        span = folder / "spans" / f"span-{number % spans}" / f"{path.parent.name}-{path.name}"
        if not span.is_file():
            span.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, span)
    return corpus


class Silent:
    """Takes what a run says of its steps and keeps what became of them."""

    def begin(self, nodes: list[str]) -> None: ...

    def start(self, node: str) -> None: ...

    def update(self, node: str, fraction: float, text: str) -> None: ...

    def finish(self, result: Any) -> None: ...


def run_round(number: int, folder: Path, corpus: Path, assignments: list[str]) -> dict[str, Any]:
    """One retraining, and what there is afterwards."""
    from pipeline.config import load_config
    from pipeline.run import execute, prepare

    workspace = folder / "workspace"
    wall, processor = time.monotonic(), time.process_time()
    config = load_config("demo", [*assignments, f"pretraining.span={number + WINDOW - 1}"])
    outcome = execute(prepare(config, corpus, {}, workspace), Silent())
    took = {"wall": time.monotonic() - wall, "processor": time.process_time() - processor}
    ran = sorted(step.node for step in outcome.steps if step.outcome.value == "ran")
    return {
        "round": number,
        **took,
        **state(workspace),
        "ran": len(ran),
        "cached": len(outcome.steps) - len(ran),
    }


def state(workspace: Path) -> dict[str, int | float]:
    """What the process holds and what lies about."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return {
        "resident_mib": pages * os.sysconf("SC_PAGE_SIZE") / MIB,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "open_files": len(os.listdir("/proc/self/fd")),
        "threads": len(os.listdir("/proc/self/task")),
        "temporary_files": sum(1 for _ in _files(Path(tempfile.gettempdir()))),
        "other_files": sum(
            1 for path in _files(workspace) if path.relative_to(workspace).parts[0] not in MADE
        ),
        "scratch_files": sum(1 for path in _files(workspace / "artifacts") if ".system" in path.parts),
        "store_bytes": (workspace / "metadata.sqlite").stat().st_size,
    }


def _files(folder: Path) -> Iterator[Path]:
    for at, _, names in os.walk(folder):
        yield from (Path(at) / name for name in names)


def slope(values: list[float]) -> tuple[float, float]:
    """Least-squares slope a round and its standard error."""
    x = np.arange(len(values), dtype=float)
    x -= x.mean()
    y = np.asarray(values, float) - np.mean(values)
    found = float(x @ y / (x @ x))
    rest = y - found * x
    return found, float(np.sqrt(rest @ rest / max(1, len(values) - 2) / (x @ x)))


def show(rounds: list[dict[str, Any]]) -> None:
    """Prints each figure's first and last value after the warm-up, its slope and whether it grows."""
    steady = rounds[WARM_UP_ROUNDS:]
    print(f"\n{len(steady)} rounds after {WARM_UP_ROUNDS} of warm-up")
    print("| figure | first | last | slope a round | standard error | grows |")
    print("|---|--:|--:|--:|--:|---|")
    for name, title in FIGURES.items():
        values = [float(row[name]) for row in steady]
        found, error = slope(values)
        grows = "yes" if found > 2 * error and found > 0 else "no"
        print(f"| {title} | {values[0]:.1f} | {values[-1]:.1f} | {found:+.3f} | {error:.3f} | {grows} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="where corpus, spans, workspace and figures go"
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tasks", default="birdsong,speech_commands_v1", help="tasks to score each round")
    parser.add_argument("--steps", type=int, default=20, help="of pretraining, each round")
    parser.add_argument("--apart", action="store_true", help="each round in a process of its own")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True)
    temporary = folder / "temporary"
    temporary.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    corpus = make_spans(folder, arguments.rounds + WINDOW - 1)
    assignments = [
        f"tasks=[{arguments.tasks}]",
        f"pretraining.source={folder / 'spans'}/span-{{SPAN}}",
        f"pretraining.window={WINDOW}",
        f"training.steps={arguments.steps}",
        f"training.warmup_steps={min(5, arguments.steps)}",
        "training.batch_size=8",
        "protocol.max_steps=200",
        "protocol.bootstrap_resamples=200",
        *arguments.assignments,
    ]
    rounds: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        work = (number, folder, corpus, assignments)
        if arguments.apart:
            with multiprocessing.get_context("spawn").Pool(1) as process:
                rounds.append(process.apply(run_round, work))
        else:
            rounds.append(run_round(*work))
        (folder / "soak.json").write_text(json.dumps(rounds, indent=1), encoding="utf-8")
        row = rounds[-1]
        print(
            f"round {number:>3}: {row['ran']} steps ran, {row['cached']} cached, {row['processor']:.1f} s processor, "
            f"{row['wall']:.1f} s wall, {row['resident_mib']:.0f} MiB, at most {row['peak_mib']:.0f}, "
            f"{row['open_files']} open files, {row['threads']} threads, {row['temporary_files']} temporary, "
            f"{row['other_files']} other, {row['scratch_files']} scratch",
            flush=True,
        )
    if len(rounds) > WARM_UP_ROUNDS + 2:
        show(rounds)


if __name__ == "__main__":
    main()
