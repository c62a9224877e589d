"""The undisturbed run with a snapshot before each step, and the rows that start from the snapshots.

A store names artifacts by path, so every life is in the same folder, a tmpfs that is made anew for each row and
filled from the snapshot. A snapshot is the workspace as a run leaves it that dies when the step has begun: those
before it have succeeded, and its own execution is RUNNING in the store.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from benchmarks.faults.causes import Cause, NotPossibleHereError, mount_workspace, unmount
from benchmarks.faults.lives import STEPS, Ended, Life, Setup, Step
from benchmarks.faults.published import (
    Reference,
    digest_of,
    finished_steps,
    open_store,
    partial,
    published,
    reference_of,
)
from benchmarks.faults.record import Row

Say = Callable[[str], None]
TOGETHER = "two at once"
ONE_WORKSPACE, ONE_STORE = "one workspace", "one store"
_ATTEMPTS = 5  # to meet a step at work: the pusher's takes a tenth of a second


class Matrix:
    """Makes rows, one at a time.

    Args:
        folder: where all of it lives: the workspace, the snapshots, what the lives print.
        setup: what the lives share.
        revision: of the code, for the record.
        say: told what is going on.
    """

    def __init__(self, folder: Path, setup: Setup, revision: str, say: Say):
        self._workspace = folder / "workspace"
        self._snapshots = folder / "snapshots" / digest_of(setup.project)
        self._setup = setup
        self._revision = revision
        self._say = say
        self._reference: Reference | None = None

    def undisturbed(self) -> Reference:
        """What an undisturbed run comes to; run once, with a snapshot before each step.

        Raises:
            RuntimeError: it fails.
        """
        kept = self._snapshots / "reference.json"
        if self._reference is None and kept.is_file():
            self._reference = Reference(**json.loads(kept.read_text(encoding="utf-8")))
        if self._reference is None:
            self._say("the undisturbed run, with a snapshot before each step")
            shutil.rmtree(self._snapshots, ignore_errors=True)
            mount_workspace(self._workspace)
            life = Life(self._setup, self._workspace, "undisturbed")
            for step in STEPS[1:]:
                begun = self._workspace / "artifacts" / step.node
                if life.stop_when(begun.exists):
                    shutil.copytree(self._workspace, self._snapshots / step.node)
                    shutil.rmtree(self._snapshots / step.node / "artifacts" / step.node)
                    life.go_on()
            ended = life.end()
            if ended.code:
                raise RuntimeError(f"the undisturbed run ended with {ended.ending()}: {ended.stderr[-2000:]}")
            self._reference = reference_of(self._workspace)
            kept.write_text(json.dumps(asdict(self._reference), indent=1), encoding="utf-8")
        return self._reference

    def row(self, step: Step, kind: type[Cause]) -> Row:
        """One cause under one step."""
        reference = self.undisturbed()
        began = time.monotonic()
        cause = kind(self._workspace, self._setup.scratch)
        try:
            for _ in range(_ATTEMPTS):
                ended = self._disturbed(step, cause)
                if ended is not None:
                    break
                self._say(f"{step.name} had ended before {cause.name} met it: once more")
            else:
                raise RuntimeError(f"{step.name}: not met at work in {_ATTEMPTS} runs")
        except NotPossibleHereError as error:
            return Row(
                step.name, cause.name, False, "", str(error), "", [], False, [], [], self._revision, 0.0
            )
        self._say(f"{step.name}, {cause.name}: {ended.ending()} {ended.message(self._workspace)}")
        return self._rerun(step.name, cause.name, ended, reference, began)

    def one_workspace(self) -> Row:
        """A second run while the first one's Trainer is at work, in the same workspace."""
        return self._together(ONE_WORKSPACE, self._workspace)

    def one_store(self) -> Row:
        """A second run in a workspace of its own that records into the first one's store."""
        return self._together(
            ONE_STORE, self._workspace / "second", "--metadata", str(self._workspace / "metadata.sqlite")
        )

    def _disturbed(self, step: Step, cause: Cause) -> Ended | None:
        """The run that the cause meets; None where the step had ended before."""
        self._restore(step)
        variables = cause.environment()
        cause.prepare()
        life = Life(self._setup, self._workspace, "disturbed", variables=variables)
        if not life.stop_when(lambda: any(any(self._workspace.glob(p)) for p in step.at_work)):
            life.end()
            return None
        if self._finished()[step.node]:
            life.go_on()
            life.end()
            return None
        while not cause.apply(life.pid):
            life.run_a_little()
            life.pause()
        life.go_on()
        ended = life.wait(cause.held_seconds)
        if ended is None:
            self._say(
                f"{step.name}, {cause.name}: taken away after {cause.held_seconds:.0f} s, the run still waits"
            )
        cause.remove()
        return ended or life.end()

    def _restore(self, step: Step) -> None:
        mount_workspace(self._workspace)
        if step is not STEPS[0]:
            shutil.copytree(self._snapshots / step.node, self._workspace, dirs_exist_ok=True)

    def _rerun(self, step: str, cause: str, ended: Ended, reference: Reference, began: float) -> Row:
        """One plain re-run, and what is promised held against the store and the disk, before it and after."""
        before = self._finished()
        found = self._partial(reference)
        again = Life(self._setup, self._workspace, "rerun").end()
        after = self._finished()
        found += [text for text in self._partial(reference) if text not in found]
        same = False
        if again.code == 0:
            result = reference_of(self._workspace)
            same = result.scores == reference.scores and result.weights == reference.weights
        return Row(
            step, cause, True, ended.ending(), ended.message(self._workspace), again.ending(), again.steps("done"),
            same, found, sorted(node for node in before if after[node] > before[node] or before[node] > 1),
            self._revision, round(time.monotonic() - began, 1),
        )  # fmt: skip

    def _together(self, name: str, workspace: Path, *options: str) -> Row:
        reference = self.undisturbed()
        began = time.monotonic()
        trainer = next(step for step in STEPS if step.name == "Trainer")
        self._restore(trainer)
        first = Life(self._setup, self._workspace, "first")
        seen = first.stop_when(lambda: any(any(self._workspace.glob(p)) for p in trainer.at_work))
        if not seen:
            raise RuntimeError(f"{name}: the first run ended before its Trainer was met at work")
        if workspace == self._workspace:
            # The first stands until the second has been refused: it would else end before the second has begun.
            second = Life(self._setup, workspace, "second", *options).end()
            first.go_on()
        else:
            first.go_on()
            second = Life(self._setup, workspace, "second", *options).end()
        one = first.end()
        self._say(f"{name}: {one.ending()} and {second.ending()} {second.message(self._workspace)}")
        ending = Ended(second.code, second.stdout, second.stderr, second.hung or one.hung)
        row = self._rerun(TOGETHER, name, ending, reference, began)
        return Row(**{**asdict(row), "ending": f"{one.ending()} and {second.ending()}"})

    def _finished(self) -> Counter[str]:
        store = self._workspace / "metadata.sqlite"
        return finished_steps(open_store(store)) if store.is_file() else Counter()

    def _partial(self, reference: Reference) -> list[str]:
        store = self._workspace / "metadata.sqlite"
        return partial(self._workspace, published(open_store(store)), reference) if store.is_file() else []

    def close(self) -> None:
        """Takes the workspace away."""
        if self._workspace.is_mount():
            unmount(self._workspace)


def revision_of(project: Path) -> str:
    """The git revision of a folder, with "+" where files differ from it; "unknown" outside of git."""
    try:
        words = ["git", "-C", str(project)]
        revision = subprocess.run(
            [*words, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
        changes = subprocess.run([*words, "status", "--porcelain", "--", "*.py"], capture_output=True, text=True,
                                 check=True)  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return revision.stdout.strip() + ("+" if changes.stdout.strip() else "")
