"""`hares metadata`: keeping the metadata store itself in order."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from cli.errors import CommandError, ExitCode
from cli.options import METADATA, metadata_address


@click.group()
def command() -> None:
    """Check and move the metadata store."""


@command.command()
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"),
              show_default=True, help="The workspace of `hares run`: its store and its artifacts.")  # fmt: skip
@METADATA
@click.option(
    "--mend", "mends", is_flag=True, help="Put right what is certain: FAILED, DELETED, files removed."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def check(workspace: Path, metadata: str, mends: bool, as_json: bool) -> None:
    """Find what a crash left: running steps without a process, artifacts without files, files without artifacts.

    \b
    hares metadata check --workspace W
    hares metadata check --workspace W --mend

    Exit code 4 where something is found and not mended.
    """
    from ml_metadata.errors import StatusError

    from pipeline.lineage.check import check as find
    from pipeline.lineage.check import mend
    from pipeline.lineage.connection import StoreUnreachableError
    from pipeline.workspace import Workspace

    try:
        store = metadata_address(metadata, workspace).open()
        found = find(store, Workspace(workspace.resolve()).root)
        mended = mend(store, found) if mends else []
    except FileNotFoundError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except (StoreUnreachableError, StatusError) as error:
        raise CommandError(str(error).splitlines()[0], ExitCode.STORE) from error
    if as_json:
        click.echo(json.dumps([{**dataclasses.asdict(f), "mended": f in mended} for f in found], indent=1))
    else:
        for finding in found:
            state = "mended" if finding in mended else "can be mended" if finding.can_mend else "left alone"
            click.echo(f"{finding.kind:<10}{finding.what}: {finding.detail} ({state})")
        click.echo(f"{len(found)} found, {len(mended)} mended")
    if len(mended) < len(found):
        raise CommandError(
            "the store and the disk do not agree; --mend puts right what is certain", ExitCode.DATA
        )


@command.command()
@click.argument("source")
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def migrate(source: str, target: str, as_json: bool) -> None:
    """Copy the store SOURCE into the store TARGET, ids mapped; what is there already is not copied twice.

    Both are as --metadata takes them. Passwords come from HARES_METADATA_PASSWORD, or from the file that
    ?password_file= names in each address.

    \b
    hares metadata migrate W/metadata.sqlite mysql://hares@db/hares
    hares metadata migrate W/metadata.sqlite 'postgresql://hares@db/hares?password_file=/run/secrets/hares'
    """
    from ml_metadata.errors import StatusError
    from ml_metadata.metadata_store import MetadataStore

    from pipeline.lineage.connection import StoreUnreachableError
    from pipeline.lineage.migrate import migrate as copy

    origin, goal = (metadata_address(text, Path()) for text in (source, target))
    try:
        # A SQLite file that is not there yet is made, as a server's tables are.
        there = goal.open() if goal.file is None else MetadataStore(goal.config)
        done = copy(origin.open(), there, str(origin.file.resolve()) if origin.file else origin.shown)
    except FileNotFoundError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except (StoreUnreachableError, StatusError) as error:
        raise CommandError(str(error).splitlines()[0], ExitCode.STORE) from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
    else:
        counts = ", ".join(f"{count} {name}" for name, count in dataclasses.asdict(done).items())
        click.echo(f"copied {counts} from {origin.shown} into {goal.shown}")
