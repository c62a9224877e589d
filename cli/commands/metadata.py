"""`hares metadata`: keeping the metadata store itself in order."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from cli.errors import CommandError, ExitCode, store_failures
from cli.options import METADATA, metadata_address


@click.group()
def command() -> None:
    """Check and move the metadata store."""


@command.command()
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"),
              show_default=True, help="The workspace of `hares run`: its store and its artifacts.")  # fmt: skip
@METADATA
@click.option(
    "--mend",
    "mends",
    is_flag=True,
    help="Put right what is certain: FAILED, DELETED, files moved into the workspace's trash.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def check(workspace: Path, metadata: str, mends: bool, as_json: bool) -> None:
    """Find what a crash left: running steps without a process, artifacts without files, files without artifacts.

    \b
    hares metadata check --workspace W
    hares metadata check --workspace W --mend

    Exit code 4 where something is found and not mended, 10 with --mend while a run is at work in the workspace.
    """
    from pipeline.keeping import Keeping, other_stores
    from pipeline.lineage.check import check as find
    from pipeline.lineage.check import mend
    from pipeline.workspace import Workspace, WorkspaceBusyError

    address, place = metadata_address(metadata, workspace), Workspace(workspace.resolve())
    try:
        with store_failures(), place.held() if mends and workspace.is_dir() else contextlib.nullcontext():
            keeping = Keeping(place, address.open(), other_stores(place, address.shown))
            found = find(keeping)
            for finding in () if as_json else found:
                state = "left alone" if not finding.can_mend else "to be mended" if mends else "can be mended"
                click.echo(f"{finding.kind:<10}{finding.what}: {finding.detail} ({state})")
            mended = mend(keeping, found) if mends else []
    except WorkspaceBusyError as error:
        raise CommandError(str(error), ExitCode.BUSY) from error
    except OSError as error:
        raise CommandError(f"{error}. The same command goes on where it stopped", ExitCode.DATA) from error
    if as_json:
        click.echo(json.dumps([{**dataclasses.asdict(f), "mended": f in mended} for f in found], indent=1))
    else:
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
    hares metadata migrate W/metadata.sqlite mysql://hares@127.0.0.1/hares
    hares metadata migrate W/metadata.sqlite 'postgresql://hares@127.0.0.1/hares?password_file=/run/secrets/hares'
    """
    from ml_metadata.metadata_store import MetadataStore

    from cli.terminal import say
    from pipeline.lineage.migrate import migrate as copy

    origin, goal = (metadata_address(text, Path()) for text in (source, target))
    with store_failures():
        # A SQLite file that is not there yet is made, as a server's tables are.
        there = goal.open() if goal.file is None else MetadataStore(goal.config)
        done = copy(origin.open(), there, str(origin.file.resolve()) if origin.file else origin.shown)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
    else:
        counts = ", ".join(f"{count} {name}" for name, count in dataclasses.asdict(done).items())
        say(f"copied {counts} from {origin.shown} into {goal.shown}")


@command.command("import")
@click.option("--vertex", default="", metavar="PROJECT/REGION[/METADATA_STORE]",
              help="Import from the metadata service of Vertex AI.")  # fmt: skip
@click.option("--kubeflow", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Import the executor inputs and outputs of one run.")  # fmt: skip
@click.option("--run", "run", default="", metavar="RUN",
              help="With --vertex the run's id; with --kubeflow a name, the folder's where not given.")  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="With --vertex: every run not imported whole before.")
@click.option("--pipeline", default="hares", show_default=True, help="With --kubeflow: name of the pipeline.")
@click.option("--endpoint", default="", metavar="URL", help="With --vertex: another address of the service.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File with an access token."
)
@click.option("--token-env", default="", metavar="NAME", help="Environment variable with an access token.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds for an answer.")  # fmt: skip
@click.option("--attempts", type=click.IntRange(1, 20), default=5, show_default=True,
              help="Of one request, with growing waits between them.")  # fmt: skip
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"),
              show_default=True, help="The workspace whose store is written.")  # fmt: skip
@METADATA
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def import_runs(workspace: Path, metadata: str, as_json: bool, **options: Any) -> None:
    """Bring runs that a cluster recorded into the store; again, and only what is new is added.

    \b
    hares metadata import --vertex my-project/europe-west4 --run hares-20261124100000 --workspace W
    hares metadata import --vertex my-project/europe-west4 --all --metadata mysql://hares@127.0.0.1/hares
    hares metadata import --kubeflow RUN_FOLDER --workspace W

    An import that was stopped is completed by the next one. Without --token-file and --token-env the account is that
    of Google's application default credentials.
    """
    from cli.metadata_import import ImportRequest
    from cli.terminal import say
    from pipeline.lineage.importing.recorded import ImportFailedError

    request = ImportRequest(**options)
    request.check()
    address = metadata_address(metadata, workspace)
    try:
        with store_failures():
            done = request.run_import(address)
    except ImportFailedError as error:
        raise CommandError(str(error), ExitCode.STORE if error.refused else ExitCode.DATA) from error
    if as_json:
        click.echo(json.dumps({name: dataclasses.asdict(new) for name, new in done.items()}))
    else:
        for name, new in done.items():
            say(f"{name}: " + ", ".join(f"{n} {what}" for what, n in dataclasses.asdict(new).items()))
        click.echo(f"{len(done)} run(s) imported into {address.shown}")
