"""`hares workspace`: keeping the folder that runs leave behind in order."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, store_failures
from cli.options import METADATA, metadata_address
from cli.terminal import say

if TYPE_CHECKING:
    from pipeline.gc import Garbage


@click.group()
def command() -> None:
    """Keep the workspace of runs in order."""


@command.command()
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"),
              show_default=True, help="The workspace of `hares run`.")  # fmt: skip
@METADATA
@click.option("--keep-runs", type=click.IntRange(1), metavar="N",
              help="Keep the last N runs and those of blessed or pushed models only.  [default: all runs]")  # fmt: skip
@click.option(
    "--yes/--dry-run", "removes", default=False, help="Remove it, or only say what would go (default)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def gc(workspace: Path, metadata: str, keep_runs: int | None, removes: bool, as_json: bool) -> None:
    """Remove what nothing in a workspace refers to: files of steps that were killed, checkpoints of trainings that
    have ended, temporary files; with --keep-runs also what only older runs made or used.

    Without --yes it only says what would go, why, and what that frees.

    \b
    hares workspace gc --workspace W
    hares workspace gc --workspace W --yes
    hares workspace gc --workspace W --keep-runs 5 --yes

    Exit code 10 while a run is at work in the workspace. Stopped half way, the same command goes on.
    """
    from pipeline.gc import find_garbage, remove
    from pipeline.workspace import Workspace, WorkspaceBusyError

    if not workspace.is_dir():
        raise CommandError(f"--workspace: there is no folder {workspace}", ExitCode.DATA)
    place = Workspace(workspace.resolve())
    address = metadata_address(metadata, workspace)
    if others := place.other_stores(address.shown):
        raise CommandError(
            f"runs of {workspace} are recorded in {', '.join(others)} and not only in {address.shown}; one store does "
            f"not tell what the others refer to. Name the only one with --metadata, or bring them together with `hares "
            f"metadata migrate` and take the others' lines out of {workspace}/stores.txt",
            ExitCode.SETTINGS,
        )
    try:
        with store_failures():
            store = address.open()
            with place.held():
                found = find_garbage(place, store, time.time(), keep_runs)
                removed = []
                for item in remove(store, found) if removes else ():
                    removed.append(item)
                    if not as_json:
                        say(_line(item))
    except WorkspaceBusyError as error:
        raise CommandError(str(error), ExitCode.BUSY) from error
    except OSError as error:
        raise CommandError(f"{error}. The same command goes on where it stopped", ExitCode.DATA) from error
    freed = sum(item.bytes for item in found)
    if as_json:
        items = [_as_dict(item, item in removed) for item in found]
        click.echo(json.dumps({"items": items, "bytes": freed, "removed": removes}, indent=1))
        return
    if not removes:
        for item in found:
            say(_line(item))
    done = "removed" if removes else "would go"
    more = "; --yes removes them" if found and not removes else ""
    click.echo(f"{len(found)} {done}, {_size(freed)}{more}")


def _as_dict(item: Garbage, removed: bool) -> dict[str, object]:
    return {
        "kind": item.kind,
        "path": str(item.path),
        "reason": item.reason,
        "bytes": item.bytes,
        "artifacts": list(item.artifacts),
        "removed": removed,
    }


def _line(item: Garbage) -> str:
    return f"{item.kind:<12}{_size(item.bytes):>10}  {item.path}: {item.reason}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
