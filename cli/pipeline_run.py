"""Runs pipelines from the command line: what `run`, `study` and `demo` share, and a run with its scores."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from cli.errors import CommandError, ExitCode
from cli.options import check_places, metadata_address
from cli.quiet import logging_to
from cli.terminal import Terminal, joined, styled
from hares.interruption import Interruptible, RunInterruptedError

if TYPE_CHECKING:
    from hares.buckets import Place
    from pipeline.lineage.connection import StoreAddress
    from pipeline.local_runner import StepResult
    from pipeline.run import RunOutcome


_MARK = {  # by the value of an `Outcome`
    "ran": Text("done  ", "green"),
    "cached": Text("cached", "cyan"),
    "failed": Text("FAILED", "red"),
}
_QUIET_SECONDS = 15.0  # between two lines of a long step where there is no terminal to redraw


@dataclass(frozen=True)
class RunRequest:
    """What a command is asked to run.

    Attributes:
        name: a preset, a grid, or a YAML file of either.
        workspace: where the runs live.
        corpus: folder with one folder for each data set, or None if `placements` has them all.
        placements: data set name to its folder, if that is elsewhere.
        assignments: `key=value` texts, on top of the settings.
        plugins: files that define encoders or an objective.
        metadata: address of the metadata store; "" for the workspace's own.
        as_json: print one JSON document and nothing else.
    """

    name: str
    workspace: Path
    corpus: Place | None = None
    placements: Mapping[str, Place] = field(default_factory=dict)
    assignments: tuple[str, ...] = ()
    plugins: tuple[Path, ...] = ()
    metadata: str = ""
    as_json: bool = False


@dataclass(frozen=True)
class Work:
    """What a command has while it runs pipelines: the terminal, the log, the store, and the signal handler."""

    console: Terminal
    log: Path
    address: StoreAddress
    interruption: Interruptible


@contextmanager
def at_work(kind: str, request: RunRequest) -> Iterator[Work]:
    """Inside the block libraries write to the command's log, and failures become exit codes.

    Args:
        kind: begins the log's name.
        request: what is run.

    Raises:
        CommandError: with an exit code for each kind of failure.
    """
    from pipeline.settings import SettingError, check_path

    try:
        check_path("--workspace", request.workspace.resolve(), below_it_patterns=True)
    except SettingError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    check_places(request.corpus, request.placements, request.plugins)
    address = metadata_address(request.metadata, request.workspace)
    log = request.workspace / "logs" / f"{kind}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
    except OSError as error:
        raise CommandError(
            f"--workspace {request.workspace}: {error.filename}: {error.strerror}; give a folder that may be written",
            ExitCode.SETTINGS,
        ) from error
    interruption = click.get_current_context().ensure_object(Interruptible)
    with logging_to(log) as terminal:
        console = Terminal(quiet=True) if request.as_json else terminal
        try:
            yield Work(console, log, address, interruption)
        except RunInterruptedError as error:
            raise CommandError(str(error), ExitCode.INTERRUPTED) from error
        except Exception as error:
            if foreseen := _foreseen(error, log):
                raise foreseen from error
            raise


def _foreseen(error: Exception, log: Path) -> CommandError | None:
    """The CommandError for a failure. TFX is imported last, so a wrong setting is reported first."""
    from pipeline.settings import SettingError

    if isinstance(error, SettingError):
        return CommandError(str(error), ExitCode.SETTINGS)
    from pipeline.lineage.connection import StoreUnreachableError
    from pipeline.workspace import WorkspaceBusyError

    if isinstance(error, StoreUnreachableError):
        return CommandError(str(error), ExitCode.STORE)
    if isinstance(error, WorkspaceBusyError):
        return CommandError(str(error), ExitCode.BUSY)
    from pipeline.local_runner import StepFailedError

    if isinstance(error, StepFailedError):
        return CommandError(f"{error}. The whole log is in {log}", ExitCode.STEP)
    return None


def run_and_show(
    request: RunRequest,
    require_blessing: bool = False,
    make_corpus: Callable[[Path, Terminal], None] | None = None,
) -> None:
    """Runs a config and prints its twelve scores.

    Args:
        request: the config, and where it runs.
        require_blessing: whether a model that is not blessed is a failure.
        make_corpus: makes the corpus, once the settings are checked.

    Raises:
        CommandError: with an exit code for each kind of failure.
    """
    began = time.monotonic()
    with at_work("run", request) as work:
        outcome = _run(request, work, make_corpus)
    if request.as_json:
        click.echo(json.dumps(outcome.report, indent=1))
    else:
        show_scores(outcome, request.workspace, work.address.shown, work.log, time.monotonic() - began)
    if require_blessing and not outcome.verdict.blessed:
        raise CommandError(f"the model was not blessed: {outcome.verdict.reasons}", ExitCode.NOT_BLESSED)


def _run(request: RunRequest, work: Work, make_corpus: Callable[[Path, Terminal], None] | None) -> RunOutcome:
    from pipeline.config import load_config, preset_of

    console = work.console
    config = load_config(request.name, request.assignments, request.plugins)
    preset = preset_of(request.name)
    if make_corpus is not None and isinstance(request.corpus, Path):
        make_corpus(request.corpus, console)
    with console.status("reading the indexes of the data sets"):
        from pipeline.run import execute, prepare

        run = prepare(config, request.corpus, request.placements, request.workspace, work.address)
    sources = ", ".join(
        f"{name} ({root})"
        for source in (run.pretraining, *run.older_spans)
        for name, root in sorted(source.readers.items())
    )
    what = f": {len(config.tasks)} tasks, {config.training.encoder} by {config.training.objective}"
    console.print(joined("pipeline ", styled("bold", config.name), what))
    console.print(f"pretraining on {sources}", highlight=False, soft_wrap=True)
    if config.pretraining.warm_start:
        start = (
            run.warm_start.model
            if run.warm_start
            else f"fresh weights: {work.address.shown} has no blessed model of {config.name}"
        )
        console.print(f"training starts from {start}", highlight=False, soft_wrap=True)
    with StepsView(console) as view:
        return execute(run, view, preset, work.address, work.interruption)


def show_scores(outcome: RunOutcome, workspace: Path, store: str, log: Path, seconds: float) -> None:
    """Prints the scores beside chance and the untrained encoder, domain means, HARES, and where everything is."""
    from cli.score_table import score_table

    console = Terminal()
    console.print(score_table(outcome.report))
    state = "blessed" if outcome.verdict.blessed else "not blessed"
    console.print(f"model {state}: {outcome.verdict.reasons}", highlight=False)
    folder = Path(outcome.verdict.report_uri)
    for what, path in (
        ("report", folder / "report.html"),
        ("scores", folder / "report.json"),
        ("store", store),
        ("models", workspace / "pushed"),
        ("log", log),
    ):
        console.print(f"{what:<7}{path}", highlight=False, soft_wrap=True)
    ran = sum(step.outcome.value == "ran" for step in outcome.steps)
    console.print(f"{ran} of {len(outcome.steps)} steps ran in {seconds:.0f} s, the rest came from the cache")


class StepsView:
    """Shows steps as they go: on a terminal a bar for the running step, elsewhere a line now and then.

    Use as a context manager around the run.
    """

    def __init__(self, console: Terminal):
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._total = self._done = 0
        self._spoke = 0.0

    def __enter__(self) -> StepsView:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def begin(self, nodes: list[str]) -> None:
        """The steps, in the order in which they will run."""
        self._total = len(nodes)

    def start(self, node: str) -> None:
        """A step starts."""
        self._task = self._progress.add_task(node, total=None, text="")
        self._spoke = time.monotonic()

    def update(self, node: str, fraction: float, text: str) -> None:
        """A long step reports its progress."""
        if self._task is not None:
            self._progress.update(self._task, total=1.0, completed=fraction, text=text)
        if not self._console.is_terminal and time.monotonic() - self._spoke > _QUIET_SECONDS:
            self._console.print(f"         {node:<28} {text}", soft_wrap=True)
            self._spoke = time.monotonic()

    def finish(self, result: StepResult) -> None:
        """A step has ended."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
        self._done += 1
        self._console.print(
            joined(
                "  ", _MARK[result.outcome.value], f" {result.node:<28} {result.seconds:7.1f} s   ",
                styled("dim", f"{self._done}/{self._total}"),
            )
        )  # fmt: skip
