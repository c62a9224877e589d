"""`hares corpus`: fetching data sets, unpacking what is packed, and what is in a folder of them."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, claim_folder
from cli.options import LONGEST_CLIP, PLUGIN, parse_corpus

if TYPE_CHECKING:
    from hares.corpus import TaskCheck


@click.group()
def command() -> None:
    """Fetch data sets, and look at them before a run reads them."""


@command.command()
@click.argument("directory", nargs=-1, required=True)
@click.option("--task", "tasks", multiple=True, help="Check this task only; may be repeated.")
@click.option(
    "--headers-only", is_flag=True, help="Read headers and do not decode: fast, and blind to broken audio."
)
@LONGEST_CLIP
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def check(
    directory: tuple[str, ...],
    tasks: tuple[str, ...],
    headers_only: bool,
    longest_clip: float,
    plugins: tuple[Path, ...],
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

    from hares.buckets import BucketError
    from hares.corpus import check_corpus
    from hares.decoding import Limits
    from hares.plugin import load_plugin
    from hares.task import Reason
    from hares.user_code import contained

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
        for path in plugins:
            with contained(f"plugin {path}"):
                load_plugin(path)
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
    except BucketError:
        raise
    except OSError as error:  # the machine lacks room, memory, or a working decoder
        raise CommandError(str(error), ExitCode.STEP) from error
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(c) for c in checks], indent=1, default=str))
    else:
        _show(checks)
    failed = [c.name for c in checks if c.error or Reason.UNREADABLE.value in c.rejected]
    if failed:
        raise CommandError(f"cannot be used: {', '.join(failed)}", ExitCode.DATA)


@command.command()
@click.argument("directory", nargs=-1, required=True)
@click.option("--task", "tasks", multiple=True, help="Unpack this task's data set only; may be repeated.")
def unpack(directory: tuple[str, ...], tasks: tuple[str, ...]) -> None:
    """Unpack the archives in the folders of data sets: zip, tar, Parquet with sound, NSynth's TFRecords.

    DIRECTORY is as for `check`. Archives stay where they are; what is unpacked already is not written again.

    \b
    hares corpus unpack corpora
    hares corpus unpack corpora voxforge=/data/voxforge --task voxforge

    Exit code 4 if an archive is broken, or of a kind that is not known.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from hares.corpus import dataset_root
    from hares.task import load_task, task_names
    from hares.unpack import first_names
    from hares.unpack import unpack as unpack_folder

    corpus, placements = parse_corpus(directory)
    terminal = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}  {task.completed} files"), TimeElapsedColumn())
    problems = []
    try:
        names = tasks or tuple(
            name for name in task_names() if corpus or {name, load_task(name).dataset} & {*placements}
        )
        roots = {dataset_root(corpus, task, placements): task for task in map(load_task, names)}
        with Progress(
            *columns, console=terminal, transient=True, disable=not terminal.is_terminal
        ) as progress:
            bar = progress.add_task("unpacking", total=None)
            on_file = lambda archive: progress.update(bar, advance=1, description=archive)  # noqa: E731
            for root, task in roots.items():
                if not isinstance(root, Path):
                    raise ValueError(
                        f"{root}: files are unpacked beside their archives, and a bucket is only read; unpack them on "
                        "a disk, and copy the folder to the bucket"
                    )
                for found in unpack_folder(root, first_names(task), on_file) if root.is_dir() else ():
                    place = os.path.join(root, found.archive)
                    click.echo(f"{place}: {found.files} files in {os.path.join(root, found.folder)}")
                    if found.problem:
                        problems.append(f"{place}: {found.problem}")
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    except OSError as error:  # no room, no permission, or a package that reads the archive is not installed
        raise CommandError(str(error), ExitCode.STEP) from error
    if problems:
        raise CommandError("\n".join(problems), ExitCode.DATA)


@command.command()
@click.argument("tasks", metavar="TASK...", nargs=-1)
@click.option(
    "--to", "folder", type=click.Path(path_type=Path), help="The folder of data sets; made if missing."
)
@click.option(
    "--mirror", default="", metavar="URL", help="Fetch URL/DATASET/FILE and not the publishers' addresses."
)
@click.option("--keep-packed", is_flag=True, help="Do not unpack what has come.")
def get(tasks: tuple[str, ...], folder: Path | None, mirror: str, keep_packed: bool) -> None:
    """Fetch, verify and unpack the data sets of tasks; say what is to be fetched by hand.

    Without --to, only print each data set's licence, size, home and steps; without TASK, of all.
    A broken download goes on where it was when the command is run again.

    \b
    hares corpus get
    hares corpus get esc50 nsynth_pitch --to corpora

    Exit code 4 if something is left to do by hand, is not on the server, or is not what its publisher says;
    9 if a server does not answer, or refuses.
    """
    from cli.download import get_data_sets, print_steps
    from hares.connection import refuse_address
    from hares.task import load_task, task_names

    try:
        records = {task.dataset: task for task in map(load_task, tasks or task_names())}
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    if mirror and (why := refuse_address(mirror)):
        raise CommandError(f"--mirror {why}", ExitCode.SETTINGS)
    if folder is None:
        print_steps(records.values())
    elif not tasks:
        raise CommandError(
            f"--to {folder}: name the tasks whose data to fetch; there are {', '.join(task_names())}",
            ExitCode.SETTINGS,
        )
    else:
        claim_folder(folder, "--to")
        get_data_sets(records.values(), folder, mirror, unpacked=not keep_packed)


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
        layouts = [f"found {', '.join(c.layouts)}"] if c.layouts else []
        for line in (
            *layouts,
            *c.deviations,
            *(f"{e.path}: {e.reason.value}: {e.detail}" for e in c.examples),
        ):
            console.print(joined(styled("dim", f"{c.name}:"), f" {line}"), soft_wrap=True)
