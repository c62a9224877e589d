"""Running the pipeline from the command line: settings first, then the live view, then the scores."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from cli.errors import CommandError, ExitCode
from cli.options import metadata_address
from cli.quiet import logging_to

if TYPE_CHECKING:
    from pipeline.lineage.connection import StoreAddress
    from pipeline.run import RunOutcome


def run_and_show(
    config_name: str,
    assignments: Sequence[str],
    corpus: Path | None,
    placements: Mapping[str, Path],
    workspace: Path,
    require_blessing: bool = False,
    as_json: bool = False,
    plugins: Sequence[Path] = (),
    metadata: str = "",
) -> RunOutcome:
    """Runs a config and prints its twelve scores.

    Raises:
        CommandError: with an exit code for each kind of failure.
    """
    address = metadata_address(metadata, workspace)
    log = workspace / "logs" / f"run-{time.strftime('%Y%m%d-%H%M%S')}.log"
    began = time.monotonic()
    with logging_to(log) as terminal:
        console = Console(quiet=True) if as_json else terminal
        outcome = _run(
            config_name, assignments, corpus, placements, workspace, address, console, log, plugins
        )
    if as_json:
        click.echo(json.dumps(outcome.report, indent=1))
    else:
        show_scores(outcome, workspace, address.shown, log, time.monotonic() - began)
    if require_blessing and not outcome.verdict.blessed:
        raise CommandError(f"the model was not blessed: {outcome.verdict.reasons}", ExitCode.NOT_BLESSED)
    return outcome


def _run(
    config_name: str,
    assignments: Sequence[str],
    corpus: Path | None,
    placements: Mapping[str, Path],
    workspace: Path,
    address: StoreAddress,
    console: Console,
    log: Path,
    plugins: Sequence[Path],
) -> RunOutcome:
    from models.training.loop import TrainingInterrupted
    from pipeline.config import load_config, preset_of
    from pipeline.lineage.connection import StoreUnreachableError
    from pipeline.settings import SettingError

    try:
        config = load_config(config_name, assignments, plugins)
        preset = preset_of(config_name)
        with console.status("reading the indexes of the data sets"):
            from pipeline.run import execute, prepare

            run = prepare(config, corpus, placements, workspace, address)
    except SettingError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    except StoreUnreachableError as error:
        raise CommandError(str(error), ExitCode.STORE) from error
    sources = ", ".join(
        f"{name} ({root})"
        for source in (run.pretraining, *run.older_spans)
        for name, root in sorted(source.readers.items())
    )
    console.print(
        f"pipeline [bold]{config.name}[/]: {len(config.tasks)} tasks, {config.training.encoder} by "
        f"{config.training.objective}",
        highlight=False,
    )
    console.print(f"pretraining on {sources}", highlight=False, soft_wrap=True)
    if config.pretraining.warm_start:
        start = (
            run.warm_start.model
            if run.warm_start
            else f"fresh weights: {address.shown} has no blessed model of {config.name}"
        )
        console.print(f"training starts from {start}", highlight=False, soft_wrap=True)
    from cli.interruption import Interruptible
    from cli.steps_view import StepsView
    from pipeline.local_runner import StepFailedError
    from pipeline.workspace import WorkspaceBusyError

    try:
        with Interruptible() as interruption, StepsView(console) as view:
            return execute(run, view, preset, address)
    except WorkspaceBusyError as error:
        raise CommandError(str(error), ExitCode.BUSY) from error
    except StepFailedError as error:
        if isinstance(error.cause, TrainingInterrupted):
            raise CommandError(str(error.cause), ExitCode.INTERRUPTED) from error
        if interruption.requested:
            raise CommandError(
                f"interrupted in step {error.node}; the same command goes on where it stopped",
                ExitCode.INTERRUPTED,
            ) from error
        raise CommandError(f"{error}. The whole log is in {log}", ExitCode.STEP) from error
    except StoreUnreachableError as error:
        raise CommandError(str(error), ExitCode.STORE) from error


def show_scores(outcome: RunOutcome, workspace: Path, store: str, log: Path, seconds: float) -> None:
    """The twelve scores beside chance and the untrained encoder, domain means, HARES, and where all is."""
    from cli.score_table import score_table

    console = Console()
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
