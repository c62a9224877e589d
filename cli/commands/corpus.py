"""`hares corpus`: what is in a folder of data sets."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode
from cli.options import LONGEST_CLIP, parse_corpus

if TYPE_CHECKING:
    from hares.corpus import TaskCheck


@click.group()
def command() -> None:
    """Look at data sets before a run reads them."""


@command.command()
@click.argument("directory", nargs=-1, required=True)
@click.option("--task", "tasks", multiple=True, help="Check this task only; may be repeated.")
@click.option(
    "--headers-only", is_flag=True, help="Read headers and do not decode: fast, and blind to broken audio."
)
@LONGEST_CLIP
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def check(
    directory: tuple[str, ...],
    tasks: tuple[str, ...],
    headers_only: bool,
    longest_clip: float,
    as_json: bool,
) -> None:
    """Print what is found, task by task: clips, classes, hours, missing and unreadable files.

    DIRECTORY holds one folder for each data set; NAME=DIR places a data set that is elsewhere.

    \b
    hares corpus check corpora
    hares corpus check corpora esc50=/data/ESC-50-master --task esc50 --json

    Exit code 4 if a data set is missing, its index or all of its clips are unusable, or the system refuses to read a
    file.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from hares.corpus import check_corpus
    from hares.decoding import Limits
    from hares.task import Reason

    corpus, placements = parse_corpus(directory)
    terminal = Console(stderr=True)
    shown = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}  {task.completed} clips"),
        TimeElapsedColumn(),
        console=terminal,
        transient=True,
        disable=as_json or not terminal.is_terminal,
    )
    try:
        with shown as progress:
            bar = progress.add_task("reading", total=None)
            checks = check_corpus(
                corpus,
                placements,
                tasks or None,
                decode_audio=not headers_only,
                on_clip=lambda task: progress.update(bar, advance=1, description=task),
                limits=Limits(longest=longest_clip),
            )
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    except OSError as error:  # the machine lacks room, memory, or a working decoder
        raise CommandError(str(error), ExitCode.STEP) from error
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(c) for c in checks], indent=1, default=str))
    else:
        _show(checks)
    failed = [c.name for c in checks if c.error or Reason.UNREADABLE.value in c.rejected]
    if failed:
        raise CommandError(f"cannot be used: {', '.join(failed)}", ExitCode.DATA)


def _show(checks: tuple[TaskCheck, ...]) -> None:
    from cli.fitted_table import FittedTable
    from cli.terminal import Terminal, joined, styled

    # A pipe has no width, so nothing is wrapped.
    console = Terminal(width=200)
    table = FittedTable()
    for name in ("task", "files", "clips", "splits", "classes", "hours", "not used", "split"):
        table.add_column(name, justify="right" if name in ("files", "clips", "hours") else "left")
    for c in checks:
        splits = " ".join(f"{name}:{count}" for name, count in c.clips_per_split.items())
        classes = " ".join(f"{s.classes_present}/{s.classes_defined}" for s in c.slots)
        reasons = " ".join(f"{reason}:{count}" for reason, count in c.rejected.items()) or "-"
        official = "-" if c.error else "official" if c.split_is_official else "own"
        table.add_row(
            c.name, str(c.files), str(c.clips), splits, classes, f"{c.hours:.3f}", reasons, official
        )
    console.print(table)
    for c in checks:
        if c.error:
            console.print(styled("red", c.error), soft_wrap=True)
        for line in (*c.deviations, *(f"{e.path}: {e.reason.value}: {e.detail}" for e in c.examples)):
            console.print(joined(styled("dim", f"{c.name}:"), f" {line}"), soft_wrap=True)
