"""The work of `hares corpus get`: a block for each data set, a bar for each file, a line for what is missing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cli.errors import CommandError, ExitCode, file_failure
from cli.terminal import say
from hares.connection import FetchError
from hares.downloads import Download, load_download
from hares.get import get, left_to_do
from hares.lock import BusyError, held
from hares.task import Task
from hares.unpack import first_names, unpack

_UNKNOWN = Download(room="not known here", source="")
_LOCK = ".get.lock"


def print_steps(tasks: Iterable[Task]) -> None:
    """Prints licence, size, home and steps of each task's data set."""
    for task in tasks:
        _print_head(task, _record(task))


def get_data_sets(tasks: Iterable[Task], folder: Path, mirror: str, unpacked: bool) -> None:
    """Fetches and unpacks data sets, one after another.

    Args:
        tasks: one for each data set.
        folder: of the corpus; it is there.
        mirror: an address, "" for the publishers'.
        unpacked: whether to unpack what has come.

    Raises:
        CommandError: something is missing (DATA), a server does not answer (SERVICE), or another such command is at
            work (BUSY).
        OSError: the disk; the same command goes on.
    """
    missing: list[str] = []
    silent: list[str] = []
    try:
        with held(folder / _LOCK):
            for task in tasks:
                _print_head(task, _record(task))
                try:
                    missing += _get_one(task, folder / task.dataset, mirror, unpacked)
                except FetchError as error:  # of this server; another may answer
                    silent.append(f"{task.dataset}: {error}")
    except BusyError as error:
        raise CommandError(f"{error}; wait for it", ExitCode.BUSY) from error
    except ValueError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except OSError as error:  # no room, no permission, or a package that reads the archive is not installed
        raise file_failure(error) or CommandError(str(error), ExitCode.STEP) from error
    if silent or missing:
        raise CommandError("\n".join((*silent, *missing)), ExitCode.SERVICE if silent else ExitCode.DATA)
    say(f"all is there; 'hares corpus check {folder}' says whether it is whole")


def _get_one(task: Task, root: Path, mirror: str, unpacked: bool) -> list[str]:
    """Fetches one data set; what is missing of it."""
    terminal = Console(stderr=True)
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), DownloadColumn()),
        *(TransferSpeedColumn(), TimeRemainingColumn()),
    )
    record, problems = _record(task), []
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        bar = progress.add_task("", total=None)

        def show(name: str, done: int, total: int | None) -> None:
            progress.update(bar, description=name, completed=done, total=total)

        for got in get(record, root, mirror, show):
            if got.problem:
                problems.append(f"{task.dataset}: {got.problem}")
                continue
            state = "fetched" if got.fetched else "there already"
            say(f"{got.place}: {state}, {got.compared or 'the publisher gives no digest to compare with'}")
        progress.update(bar, description="unpacking", completed=0, total=None)
        if unpacked and root.is_dir() and not problems:
            for found in unpack(root, first_names(task)):
                if found.problem:
                    problems.append(f"{root / found.archive}: {found.problem}")
                else:
                    say(f"{root / found.archive}: {found.files} files in {root / found.folder}")
    return problems + [f"{task.dataset}: by hand: {what}" for what in left_to_do(record, root)]


def _print_head(task: Task, record: Download) -> None:
    by_hand = [f"  by hand:  {part.what}" for part in record.by_hand]
    open_ = [file for file in record.files if file.url]
    named = (
        f"{len(open_)} {'file' if len(open_) == 1 else 'files'}, from {record.source}" if open_ else "nothing"
    )
    say(
        f"{task.dataset}: {task.title}",
        f"  licence:  {task.licence}",
        f"  home:     {task.url}",
        f"  size:     {record.room}",
        f"  fetched:  {named}",
        *by_hand,
        f"  note:     {record.note}" if record.note else "",
    )


def _record(task: Task) -> Download:
    return load_download(task.dataset) or _UNKNOWN
