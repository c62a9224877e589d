"""One life of `hares run`: started as a user starts it, stopped while a step is at work, and read when it has ended."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.causes import continue_process
from hares.version_lines import this_lock

PACKAGES = ("hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds")
TASK = "birdsong"
# The demo preset with less of everything: what is tried is the chain, not the scores.
SETTINGS = (
    f"tasks=[{TASK}]",
    "compare_untrained=false",
    "training.encoder=mean_bands",
    "training.batch_size=4",
    "training.steps=40",
    "training.warmup_steps=1",
    "training.steps_per_loop=2",
    "training.checkpoint_every_steps=2",
    "training.objective_settings.projector_sizes=[16]",
    "protocol.max_steps=20",
    "protocol.crops_per_clip=1",
    "protocol.augmented_epochs=1",
    "protocol.bootstrap_resamples=20",
)
_SECONDS = 900  # a life takes some 20 to 60 on an idle machine; more is a hang
_IDLE_SECONDS, _WORK = 120.0, 0.5  # so is less than so many seconds of processor time in so long


@dataclass(frozen=True)
class Step:
    """A step of the pipeline: its node, and the patterns below the workspace whose first match says "at work".

    They match what the step itself writes, in its middle: the Trainer's second checkpoint, the others' first files.
    """

    name: str
    node: str
    at_work: tuple[str, ...]


STEPS = (
    Step("ingest", f"ingest_{TASK}", (f"artifacts/ingest_{TASK}/examples/*/*/*",)),
    Step("Transform", "transform", ("artifacts/transform/transform*/*/.temp_path/*",
                                    "artifacts/transform/transform*/*/*")),
    Step("Trainer", "trainer", ("checkpoints/*/ckpt-4.index",)),
    Step("embedder", f"embed_{TASK}", (f"artifacts/embed_{TASK}/embeddings/*/*",)),
    Step("evaluator", "evaluator", ("artifacts/evaluator/report/*/*",)),
    Step("pusher", "pusher", ("pushed/*/*", "pushed/.*/*")),
)  # fmt: skip


@dataclass(frozen=True)
class Setup:
    """What every life shares.

    Attributes:
        project: a copy of the packages, so that a file saved meanwhile does not change what runs.
        corpus: the data sets.
        scratch: for what the lives print.
    """

    project: Path
    corpus: Path
    scratch: Path

    def command(self, workspace: Path, *options: str) -> list[str]:
        """The `hares run` of one life."""
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        return [sys.executable, "-m", "cli.main", "run", "--config", "demo", "--corpus", str(self.corpus),
                "--workspace", str(workspace), "--plugin", str(self.project / "encoder.py"),
                *settings, *options]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """A life that has ended."""

    code: int
    stdout: str
    stderr: str
    hung: bool

    def steps(self, outcome: str) -> list[str]:
        """Nodes that ended in "done", "cached" or "FAILED"."""
        lines = [line.split() for line in self.stdout.splitlines()]
        return [words[1] for words in lines if len(words) > 1 and words[0] == outcome]

    def ending(self) -> str:
        """How it ended: an exit code, or the signal that ended it."""
        if self.hung:
            return "hung, killed"
        return signal.Signals(-self.code).name if self.code < 0 else str(self.code)

    def message(self, workspace: Path) -> str:
        """What it said last on stderr, without the paths of this machine; "" where it said nothing."""
        said = [line for line in self.stderr.splitlines() if line.startswith("hares: ")]
        text = (said or self.stderr.splitlines() or [""])[-1].replace(str(workspace), "W")
        return re.sub(r"run-\d+-\d+\.log", "run-….log", text).strip()


class Life:
    """A `hares run` that is at work."""

    def __init__(
        self,
        setup: Setup,
        workspace: Path,
        name: str,
        *options: str,
        variables: Mapping[str, str] | None = None,
    ):
        self._workspace = workspace
        self._printed = [setup.scratch / f"{name}.{end}" for end in ("out", "err")]
        inherited = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        environment = {**inherited, "PYTHONPATH": str(setup.project), "TF_CPP_MIN_LOG_LEVEL": "2",
                       **(variables or {})}  # fmt: skip
        with self._printed[0].open("wb") as out, self._printed[1].open("wb") as err:
            self._process = subprocess.Popen(
                setup.command(workspace, *options), cwd=setup.project, env=environment,
                stdout=out, stderr=err, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.pid = self._process.pid
        self._began = self._seen = time.monotonic()
        self._worked = 0.0

    def stop_when(self, seen: Callable[[], bool]) -> bool:
        """Stops it (SIGSTOP), outside of any transaction, as soon as `seen`; False where it ended before."""
        while not seen():
            if self._process.poll() is not None or self._over():
                return False
            time.sleep(0.002)
        while self._process.poll() is None:
            self.pause()
            if not (self._workspace / "metadata.sqlite-journal").exists():
                return True
            self.run_a_little()
        return False

    def pause(self) -> None:
        """SIGSTOP, and waits until it stands."""
        os.kill(self.pid, signal.SIGSTOP)
        state = Path(f"/proc/{self.pid}/stat")
        while state.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] not in "TtZX":
            time.sleep(0.001)

    def run_a_little(self) -> None:
        """A millisecond of work for a process that stands."""
        continue_process(self.pid)
        time.sleep(0.001)

    def go_on(self) -> None:
        """Ends a stop."""
        continue_process(self.pid)

    def wait(self, seconds: float = float("inf")) -> Ended | None:
        """Waits for its end; None where it is still at work after so long. One that hangs is killed."""
        until = time.monotonic() + seconds
        while self._process.poll() is None and time.monotonic() < until and not self._over():
            time.sleep(0.05)
        hung = self._process.poll() is None and self._over()
        if hung:
            self.kill()
        if self._process.poll() is None:
            return None
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in self._printed]
        return Ended(self._process.returncode, texts[0], texts[1], hung)

    def end(self) -> Ended:
        """Waits for its end, however long it takes."""
        ended = self.wait()
        assert ended is not None
        return ended

    def kill(self) -> None:
        """Ends it, should it still be there."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def _over(self) -> bool:
        """Whether it hangs: it takes far too long, or has stopped working."""
        now = time.monotonic()
        if now - self._seen > _IDLE_SECONDS:
            fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
            user, system = fields.rpartition(")")[2].split()[11:13]
            worked = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
            if worked - self._worked < _WORK:
                return True
            self._seen, self._worked = now, worked
        return now - self._began > _SECONDS


def copy_project(source: Path, folder: Path) -> None:
    """The packages with their command, the lock file and the encoder, as they are now."""
    for name in PACKAGES:
        shutil.copytree(source / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("hares_command.py", this_lock()):
        shutil.copy(source / name, folder)
    shutil.copy(Path(__file__).with_name("encoder.py"), folder)
