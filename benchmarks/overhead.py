"""What of a run's time is work and what is TFX around it: imports, drivers, publishing; and a run that is all cached.

    python -m benchmarks.overhead --folder F [--corpus DIR] [--set key=value ...]

Runs the demo's preset twice in one workspace, each time in a process of its own: the first does everything, the second
finds every step in the cache. The processes put a clock around the parts of TFX's launcher and say where wall and
processor seconds went, each part without the parts inside it:

| part | what |
|---|---|
| imports | TensorFlow, TFX, Beam, ours |
| settings | config, indexes and fingerprints of the corpus |
| compile | `create_pipeline` and TFX's compiler |
| drivers | inputs, cache and outputs of a step, from and to the store |
| around executors | making an executor and its context, passing its properties |
| executors | the work: ingestion, Transform, training, embedding, probes, with Beam's share in it |
| digests | the content digests that we put on every output |
| publishing | outputs into the store, states, clean-up |
| rest | the launcher between these parts, what is recorded of a run, the verdict |

"TFX" is all but executors and digests. The corpus is made before the clock starts. Prints both tables and the five
executors that took longest.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WORK = ("executors", "digests")
PARTS = (
    "imports", "settings", "compile", "drivers", "around executors", "executors", "digests", "publishing", "rest",
)  # fmt: skip


class Clocks:
    """Seconds by part, wall and processor; a part inside another is not counted in it."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._open: list[str] = []
        self._last = self._now()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def around(self, owner: Any, attribute: str, name: str) -> None:
        """Puts a clock around a function or method."""
        inner: Callable[..., Any] = getattr(owner, attribute)

        @functools.wraps(inner)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return inner(*args, **kwargs)

        setattr(owner, attribute, timed)

    def _charge(self) -> None:
        now = self._now()
        if self._open:
            for place in (0, 1):
                self.seconds[self._open[-1]][place] += now[place] - self._last[place]
        self._last = now

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.monotonic(), time.process_time()


def run_once(folder: Path, corpus: Path, assignments: list[str]) -> dict[str, Any]:
    """One run in this process; what it took by part, and its steps."""
    clocks = Clocks()
    with clocks.part("rest"):
        with clocks.part("imports"):
            import pipeline.training
            from pipeline.run import execute, prepare
        from tfx.dsl.compiler import compiler
        from tfx.orchestration.portable import launcher, python_executor_operator

        import components.provenance
        import pipeline.run
        from benchmarks.soak import Silent
        from pipeline.config import load_config

        clocks.around(pipeline.run, "create_pipeline", "compile")
        clocks.around(compiler.Compiler, "compile", "compile")
        clocks.around(launcher.Launcher, "_prepare_execution", "drivers")
        clocks.around(launcher.Launcher, "_run_executor", "around executors")
        clocks.around(python_executor_operator, "run_with_executor", "executors")
        clocks.around(components.provenance, "folder_digest", "digests")
        for name in (
            "_publish_successful_execution",
            "_clean_up_stateless_execution_info",
            "_clean_up_stateful_execution_info",
        ):
            clocks.around(launcher.Launcher, name, "publishing")
        with clocks.part("settings"):
            run = prepare(load_config("demo", assignments), corpus, {}, folder / "workspace")
        outcome = execute(run, Silent())
    steps = [{"node": s.node, "outcome": s.outcome.value, "seconds": s.seconds} for s in outcome.steps]
    return {"parts": dict(clocks.seconds), "steps": steps}


def measure(folder: Path, corpus: Path, assignments: list[str]) -> dict[str, Any]:
    """One run in a process of its own, with its whole time.

    Raises:
        RuntimeError: it failed; the message says where its log is.
    """
    result, log = folder / "run.json", folder / "run.log"
    command = [sys.executable, "-m", "benchmarks.overhead", "--folder", str(folder), "--corpus", str(corpus)]
    command += ["--result", str(result), *(part for value in assignments for part in ("--set", value))]
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT)
    if done.returncode:
        raise RuntimeError(f"the run ended with {done.returncode}; see {log}")
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return {**found, "whole": time.monotonic() - began}


def show(title: str, found: dict[str, Any]) -> None:
    """Prints where a run's time went."""
    parts, steps = found["parts"], found["steps"]
    ran = [step for step in steps if step["outcome"] == "ran"]
    print(
        f"\n{title}: {len(ran)} steps ran, {len(steps) - len(ran)} cached, {found['whole']:.1f} s with the process"
    )
    print("| part | wall s | processor s | processor s a step |")
    print("|---|--:|--:|--:|")
    for name in PARTS:
        wall, processor = parts.get(name, (0.0, 0.0))
        print(f"| {name} | {wall:.1f} | {processor:.1f} | {processor / len(steps):.2f} |")
    totals = [sum(seconds[place] for seconds in parts.values()) for place in (0, 1)]
    tfx = [sum(s[place] for name, s in parts.items() if name not in WORK) for place in (0, 1)]
    print(f"| **all** | {totals[0]:.1f} | {totals[1]:.1f} | {totals[1] / len(steps):.2f} |")
    print(f"| **TFX** | {tfx[0]:.1f} | {tfx[1]:.1f} | {tfx[1] / len(steps):.2f} |")
    longest = sorted(ran, key=lambda step: -step["seconds"])[:5]
    if longest:
        print("longest: " + ", ".join(f"{step['node']} {step['seconds']:.1f} s" for step in longest))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where corpus and workspace go")
    parser.add_argument("--corpus", type=Path, help="a corpus that is there; without it the demo's is made")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)  # of the process that runs once
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    if arguments.result:
        row = run_once(folder, arguments.corpus, arguments.assignments)
        arguments.result.write_text(json.dumps(row), encoding="utf-8")
        return
    folder.mkdir(parents=True)
    corpus = arguments.corpus
    if corpus is None:
        from hares.synthesis import make_corpus

        corpus = folder / "corpus"
        make_corpus(corpus)
    corpus = corpus.resolve()
    show("everything", measure(folder, corpus, arguments.assignments))
    show("cached", measure(folder, corpus, arguments.assignments))


if __name__ == "__main__":
    main()
