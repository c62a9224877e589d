"""`hares metadata`: checks, copies and fills the metadata store."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.errors import CommandError, ExitCode, store_failures
from cli.options import METADATA, metadata_address

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore

    from pipeline.lineage.connection import StoreAddress
    from pipeline.lineage.importing.writer import Imported


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
    help="Mend what is certain: FAILED, DELETED, files moved into the workspace's trash.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def check(workspace: Path, metadata: str, mends: bool, as_json: bool) -> None:
    """Find what a crash left: running steps without a process, artifacts without files, files without artifacts.

    \b
    hares metadata check --workspace W
    hares metadata check --workspace W --mend

    Exit code 4 if something was found and not mended, 10 with --mend while a run is at work in the workspace.
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
        raise CommandError("the store and the disk do not agree; --mend mends what is certain", ExitCode.DATA)


@command.command()
@click.argument("source")
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def migrate(source: str, target: str, as_json: bool) -> None:
    """Copy the store SOURCE into the store TARGET, with new ids; nothing is copied twice.

    Both are as --metadata takes them. Passwords come from HARES_METADATA_PASSWORD, or from the file that
    ?password_file= names in each address.

    \b
    hares metadata migrate W/metadata.sqlite mysql://hares@127.0.0.1/hares
    hares metadata migrate W/metadata.sqlite 'postgresql://hares@127.0.0.1/hares?password_file=/run/secrets/hares'
    """
    from cli.terminal import say
    from pipeline.lineage.migrate import migrate as copy

    origin, goal = (metadata_address(text, Path()) for text in (source, target))
    with store_failures():
        there = _made(goal)
        done = copy(origin.open(), there, str(origin.file.resolve()) if origin.file else origin.shown)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(done)))
    else:
        counts = ", ".join(f"{count} {name}" for name, count in dataclasses.asdict(done).items())
        say(f"copied {counts} from {origin.shown} into {goal.shown}")


@dataclass(frozen=True)
class ImportRequest:
    """The options of `hares metadata import`, as the command describes them."""

    vertex: str
    kubeflow: Path | None
    run: str
    everything: bool
    pipeline: str
    endpoint: str
    token_file: Path | None
    token_env: str
    timeout: float
    attempts: int

    def check(self) -> None:
        """Raises CommandError for options that do not go together."""
        problem = ""
        if bool(self.vertex) == (self.kubeflow is not None):
            problem = "give one of --vertex and --kubeflow"
        elif self.vertex and bool(self.run) == self.everything:
            problem = "--vertex: give one of --run RUN and --all"
        elif self.token_file is not None and self.token_env:
            problem = "give one of --token-file and --token-env"
        elif self.kubeflow is not None and (
            self.everything or self.endpoint or self.token_file or self.token_env
        ):
            problem = "--all, --endpoint, --token-file and --token-env go with --vertex"
        if problem:
            raise CommandError(problem, ExitCode.SETTINGS)

    def run_import(self, address: StoreAddress) -> dict[str, Imported]:
        """Imports one run, or with --all every run that was not imported whole before, the first one first.

        Raises:
            ImportFailedError: a run cannot be imported; those before it are.
        """
        return (
            self._from_vertex(address) if self.kubeflow is None else self._from_folder(address, self.kubeflow)
        )

    def _from_vertex(self, address: StoreAddress) -> dict[str, Imported]:
        from pipeline.lineage.importing.rest import GivenToken, GoogleToken, Patience, RestClient
        from pipeline.lineage.importing.writer import imported_whole, write_run

        with warnings.catch_warnings():
            # Google's libraries announce at their import which Python versions they will drop.
            warnings.simplefilter("ignore", FutureWarning)
            from pipeline.lineage.importing.vertex import list_runs, read_run, vertex_store

        found = vertex_store(self.vertex)
        given = self.token_file or self.token_env
        tokens = GivenToken(self.token_file, self.token_env) if given else GoogleToken()
        patience = Patience(timeout=self.timeout, attempts=self.attempts)
        client = RestClient(self.endpoint or found.endpoint, tokens, patience)
        store = _made(address)
        listed = [self.run] if self.run else list_runs(client, found)
        names = [name for name in listed if self.run or not imported_whole(store, name)]
        done = {}
        for name in names:
            read = read_run(client, found, name)
            done[read.run.name] = write_run(store, read)
        return done

    def _from_folder(self, address: StoreAddress, folder: Path) -> dict[str, Imported]:
        from pipeline.lineage.importing.kubeflow import read_run
        from pipeline.lineage.importing.writer import write_run

        read = read_run(folder, self.run or folder.resolve().name, self.pipeline)
        return {read.run.name: write_run(_made(address), read)}


@command.command("import")
@click.option("--vertex", default="", metavar="PROJECT/REGION[/METADATA_STORE]",
              help="Import from the metadata service of Vertex AI.")  # fmt: skip
@click.option("--kubeflow", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER",
              help="Import the executor inputs and outputs of one run.")  # fmt: skip
@click.option("--run", "run", default="", metavar="RUN",
              help="With --vertex the run's id; with --kubeflow a name, by default the folder's.")  # fmt: skip
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="With --vertex: every run that was not imported completely before.",
)
@click.option("--pipeline", default="hares", show_default=True, help="With --kubeflow: name of the pipeline.")
@click.option("--endpoint", default="", metavar="URL", help="With --vertex: another address of the service.")
@click.option(
    "--token-file", type=click.Path(path_type=Path, dir_okay=False), help="File with an access token."
)
@click.option("--token-env", default="", metavar="NAME", help="Environment variable with an access token.")
@click.option("--timeout", type=click.FloatRange(min=0.1), default=60.0, show_default=True,
              help="Seconds to wait for an answer.")  # fmt: skip
@click.option("--attempts", type=click.IntRange(1, 20), default=5, show_default=True,
              help="Attempts of one request, with growing waits between them.")  # fmt: skip
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"),
              show_default=True, help="The workspace whose store is written to.")  # fmt: skip
@METADATA
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def import_runs(workspace: Path, metadata: str, as_json: bool, **options: Any) -> None:
    """Import runs that a cluster recorded; a repeated import adds only what is new.

    \b
    hares metadata import --vertex my-project/europe-west4 --run hares-20261124100000 --workspace W
    hares metadata import --vertex my-project/europe-west4 --all --metadata mysql://hares@127.0.0.1/hares
    hares metadata import --kubeflow RUN_FOLDER --workspace W

    The next import completes one that was stopped. Without --token-file and --token-env it uses Google's application
    default credentials.
    """
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


def _made(address: StoreAddress) -> MetadataStore:
    """The store; a missing SQLite file is made, as a server's tables are."""
    from ml_metadata.metadata_store import MetadataStore

    if address.file is None:
        return address.open()
    address.file.parent.mkdir(parents=True, exist_ok=True)
    return MetadataStore(address.config)
