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
from dataclasses import asdict, replace
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
        self._store = self._workspace / "metadata.sqlite"
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
            self._reference = reference_of(self._workspace, self._store)
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
        """A second run while the first one's Trainer is at work, in the same workspace: refused."""
        reference = self.undisturbed()
        began = time.monotonic()
        first = self._training("first")
        # The first stands until the second has been refused: it could else end before the second has begun.
        second = Life(self._setup, self._workspace, "second").end()
        first.go_on()
        return self._together(ONE_WORKSPACE, first.end(), second, reference, began)

    def one_store(self) -> Row:
        """A second run in a workspace of its own that records into the first one's store: both right."""
        reference = self.undisturbed()
        began = time.monotonic()
        first = self._training("first")
        first.go_on()
        other = self._workspace / "second"
        second = Life(self._setup, other, "second", "--metadata", str(self._store)).end()
        row = self._together(ONE_STORE, first.end(), second, reference, began)
        same = row.same and second.code == 0 and self._same(other, reference)
        return replace(row, same=same, partial=[*row.partial, *self._partial_in(other, reference)])

    def _training(self, name: str) -> Life:
        """A run that stands in the middle of its Trainer."""
        trainer = next(step for step in STEPS if step.name == "Trainer")
        self._restore(trainer)
        life = Life(self._setup, self._workspace, name)
        if not life.stop_when(lambda: any(any(self._workspace.glob(p)) for p in trainer.at_work)):
            raise RuntimeError(
                f"{name}: it ended before its Trainer was met at work: {life.end().stderr[-2000:]}"
            )
        return life

    def _together(self, name: str, one: Ended, other: Ended, reference: Reference, began: float) -> Row:
        said = other.message(self._workspace)
        self._say(f"{name}: {one.ending()} and {other.ending()} {said}")
        row = self._rerun(TOGETHER, name, other, reference, began, 2 if name == ONE_STORE else 1)
        return replace(row, ending=f"{one.ending()} and {other.ending()}", same=row.same and one.code == 0)

    def _disturbed(self, step: Step, cause: Cause) -> Ended | None:
        """The run that the cause meets; None where the step had ended before."""
        self._restore(step)
        variables = cause.environment()
        cause.prepare()
        life = Life(self._setup, self._workspace, "disturbed", variables=variables)
        try:
            if not life.stop_when(lambda: any(any(self._workspace.glob(p)) for p in step.at_work)):
                return None
            if self._finished()[step.node]:
                return None
            while not cause.apply(life.pid):
                life.run_a_little()
                life.pause()
            try:
                life.go_on()
                ended = life.wait(cause.held_seconds)
                if ended is None:
                    self._say(f"taken away after {cause.held_seconds:.0f} s, in which the run has not ended")
            finally:
                cause.remove()
            return ended or life.end()
        finally:
            life.kill()

    def _restore(self, step: Step) -> None:
        mount_workspace(self._workspace)
        if step is not STEPS[0]:
            shutil.copytree(self._snapshots / step.node, self._workspace, dirs_exist_ok=True)

    def _rerun(
        self, step: str, cause: str, ended: Ended, reference: Reference, began: float, workspaces: int = 1
    ) -> Row:
        """One plain re-run, and what is promised held against the store and the disk, before it and after.

        With two workspaces in one store each may have done a step once.
        """
        before = self._finished()
        found = self._partial(reference)
        again = Life(self._setup, self._workspace, "rerun").end()
        after = self._finished()
        found += [text for text in self._partial(reference) if text not in found]
        return Row(
            step, cause, True, ended.ending(), ended.message(self._workspace), again.ending(), again.steps("done"),
            again.code == 0 and self._same(self._workspace, reference), found,
            sorted(node for node in after if after[node] > workspaces or 0 < before[node] < after[node]),
            self._revision, round(time.monotonic() - began, 1),
        )  # fmt: skip

    def _finished(self) -> Counter[str]:
        return finished_steps(open_store(self._store)) if self._store.is_file() else Counter()

    def _same(self, workspace: Path, reference: Reference) -> bool:
        """Whether a finished run came to the scores and weights of the undisturbed one."""
        result = reference_of(workspace, self._store)
        return result.scores == reference.scores and result.weights == reference.weights

    def _partial(self, reference: Reference) -> list[str]:
        return self._partial_in(self._workspace, reference)

    def _partial_in(self, workspace: Path, reference: Reference) -> list[str]:
        if not self._store.is_file():
            return []
        return partial(workspace, published(open_store(self._store), workspace / "artifacts"), reference)

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
