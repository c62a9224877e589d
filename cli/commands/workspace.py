"""`hares workspace`: keeps the folder of runs in order."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, store_failures
from cli.options import METADATA, metadata_address

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
    "--yes/--dry-run", "removes", default=False, help="Remove it, or only print what would go (default)."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def gc(workspace: Path, metadata: str, keep_runs: int | None, removes: bool, as_json: bool) -> None:
    """Remove what nothing in a workspace refers to: files of steps that were killed, checkpoints of trainings that
    have ended, temporary files, the trash; with --keep-runs also what only older runs made or used.

    It prints first what would go, why, and what that frees; it removes nothing without --yes.

    \b
    hares workspace gc --workspace W
    hares workspace gc --workspace W --yes
    hares workspace gc --workspace W --keep-runs 5 --yes

    Exit code 10 while a run is at work in the workspace. If it is stopped half way, the same command goes on.
    """
    from cli.terminal import say
    from pipeline.gc import find_garbage, remove
    from pipeline.keeping import Keeping, other_stores
    from pipeline.workspace import Workspace, WorkspaceBusyError

    if not workspace.is_dir():
        raise CommandError(f"--workspace: there is no folder {workspace}", ExitCode.DATA)
    place = Workspace(workspace.resolve())
    address = metadata_address(metadata, workspace)
    try:
        with store_failures(), place.held():
            store = address.open()
            keeping = Keeping(place, store, other_stores(place, address.shown))
            found = find_garbage(keeping, time.time(), keep_runs)
            if not as_json:
                for item in found:
                    say(_line(item))
            for doubt in keeping.doubts:
                click.echo(f"no artifacts and checkpoints are removed: {doubt}", err=as_json)
            removed = list(remove(store, found)) if removes else []
    except WorkspaceBusyError as error:
        raise CommandError(str(error), ExitCode.BUSY) from error
    except OSError as error:
        raise CommandError(f"{error}. The same command goes on where it stopped", ExitCode.DATA) from error
    freed = sum(item.bytes for item in found)
    if as_json:
        items = [_as_dict(item, item in removed) for item in found]
        content = {"items": items, "bytes": freed, "removed": removes, "doubts": keeping.doubts}
        click.echo(json.dumps(content, indent=1))
        return
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
