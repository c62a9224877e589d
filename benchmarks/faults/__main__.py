"""Faults under every step of a run: after the cause is gone, does one plain re-run end as an undisturbed run does?

    python -m benchmarks.faults                                  every row that faults.json in docs/measurements lacks
    python -m benchmarks.faults --only Trainer:SIGKILL           one row, again; may be repeated
    python -m benchmarks.faults --only pusher                    all causes under one step
    python -m benchmarks.faults --table                          only writes the table of faults.md there again

{ingest, Transform, Trainer, embedder, evaluator, pusher} x {SIGKILL, SIGTERM, disk full, read-only output, store
locked, out of memory, clock going back}, and two runs at once in one workspace and in one store. A row starts from the
undisturbed run's workspace as it was when the step began, runs `hares run` until the step is at work, puts the cause in
place, notes what the run says and how it ends, takes the cause away, and runs the same command once more. Then

- scores and weights must be those of the undisturbed run;
- every artifact that the store calls live, at the fault and at the end, must be whole: by its recorded digest, and
  file by file against the undisturbed run's; so must every version in `pushed/`;
- no step that had succeeded may have been done again.

A row takes one to three minutes on two cores. It needs Linux with `unshare` and `mount`: as root, or where a user may
have namespaces. Rows that are done are kept; one whose code has changed since is run again with `--only`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.faults.causes import CAUSES
from benchmarks.faults.lives import STEPS, Setup, copy_project
from benchmarks.faults.record import Record, table, write_table
from benchmarks.faults.rows import ONE_STORE, ONE_WORKSPACE, TOGETHER, Matrix, revision_of
from hares.synthesis import make_corpus

PROJECT = Path(__file__).resolve().parents[2]
NAMES = [*(f"{step.name}:{cause.name}" for step in STEPS for cause in CAUSES),
         f"{TOGETHER}:{ONE_WORKSPACE}", f"{TOGETHER}:{ONE_STORE}"]  # fmt: skip
_NAMESPACE = "HARES_FAULTS_NAMESPACE"  # set in the life that has a mount namespace of its own


def chosen(only: list[str], done: set[str]) -> list[str]:
    """Names of the rows to run: those not done yet, or those that `--only` names.

    Raises:
        ValueError: `--only` names no row.
    """
    if not only:
        return [name for name in NAMES if name not in done]
    for text in only:
        if not any(name == text or name.startswith(f"{text}:") for name in NAMES):
            raise ValueError(f"--only: got {text!r}; accepted are a step or {', '.join(NAMES)}")
    return [name for name in NAMES if any(name == text or name.startswith(f"{text}:") for text in only)]


def make_rows(names: list[str], record: Record, work: Path) -> None:
    """Runs the named rows and keeps each as it is done."""
    project = work / "project"
    shutil.rmtree(project, ignore_errors=True)
    copy_project(PROJECT, project)
    setup = Setup(project, work / "corpus", work)
    if not setup.corpus.is_dir():
        make_corpus(setup.corpus, scale=0.1)
    matrix = Matrix(work, setup, revision_of(PROJECT), lambda text: print(f"    {text}", flush=True))
    try:
        for number, name in enumerate(names, 1):
            print(f"{time.strftime('%H:%M:%S')} {number}/{len(names)} {name}", flush=True)
            step_name, _, cause_name = name.partition(":")
            if step_name == TOGETHER:
                row = matrix.one_workspace() if cause_name == ONE_WORKSPACE else matrix.one_store()
            else:
                step = next(step for step in STEPS if step.name == step_name)
                row = matrix.row(step, next(cause for cause in CAUSES if cause.name == cause_name))
            record.add(row)
            verdict = "sound" if row.sound else "not tried" if not row.tried else "A FAULT"
            problems = "; ".join([*row.partial, *(f"{node} done again" for node in row.repeated)])
            print(f"    {verdict} in {row.seconds:.0f} s {problems}", flush=True)
    finally:
        matrix.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], metavar="STEP[:CAUSE]")
    parser.add_argument("--record", type=Path, default=PROJECT / "docs/measurements/faults.json")
    parser.add_argument("--document", type=Path, default=PROJECT / "docs/measurements/faults.md")
    parser.add_argument("--work", type=Path, help="keep corpus and snapshots there, for the next time")
    parser.add_argument("--table", action="store_true", help="run nothing")
    arguments = parser.parse_args()
    record = Record(arguments.record)
    try:
        names = [] if arguments.table else chosen(arguments.only, set(record.rows))
    except ValueError as error:
        parser.error(str(error))
    if names:
        _enter_namespace()
        with tempfile.TemporaryDirectory(prefix="hares-faults-") as temporary:
            work = (arguments.work or Path(temporary)).resolve()
            work.mkdir(parents=True, exist_ok=True)
            make_rows(names, record, work)
    write_table(arguments.document, table(list(record.rows.values()), NAMES))
    bad = [row.name for row in record.rows.values() if row.name in (names or NAMES) and not row.sound]
    print(
        "\n".join(["not sound:", *bad]) if bad else f"{len(record.rows)} of {len(NAMES)} rows done, all sound"
    )
    return 1 if bad else 0


def _enter_namespace() -> None:
    """Starts this program again in a mount namespace of its own, where nobody else sees what it mounts."""
    if os.environ.get(_NAMESPACE):
        return
    if shutil.which("unshare") is None:
        raise SystemExit(
            "benchmarks.faults: `unshare` is not there; it comes with util-linux, on Linux alone"
        )
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    os.environ[_NAMESPACE] = "1"
    os.execvp(
        "unshare",
        ["unshare", "--mount", *user, sys.executable, "-m", "benchmarks.faults", *sys.argv[1:]],
    )


if __name__ == "__main__":
    sys.exit(main())
