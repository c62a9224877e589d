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
    from collections.abc import Callable

    from ml_metadata.metadata_store import MetadataStore

    from pipeline.lineage.connection import StoreAddress
    from pipeline.lineage.importing.recorded import RecordedRun
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
    kubeflow: str
    run: str
    everything: bool
    endpoint: str
    token_file: Path | None
    token_env: str
    timeout: float
    attempts: int

    def check(self) -> None:
        """Raises CommandError for options that do not go together."""
        problem = ""
        if bool(self.vertex) == bool(self.kubeflow):
            problem = "give one of --vertex and --kubeflow"
        elif bool(self.run) == self.everything:
            problem = f"--{'vertex' if self.vertex else 'kubeflow'}: give one of --run RUN and --all"
        elif self.token_file is not None and self.token_env:
            problem = "give one of --token-file and --token-env"
        elif self.kubeflow and (self.endpoint or self.token_file or self.token_env):
            problem = "--endpoint, --token-file and --token-env go with --vertex"
        elif self.kubeflow and not self.kubeflow.startswith("grpc://"):
            problem = (
                f"--kubeflow: got {self.kubeflow}; expected the address of Kubeflow's ML Metadata, as in "
                "grpc://127.0.0.1:8080"
            )
        if problem:
            raise CommandError(problem, ExitCode.SETTINGS)

    def run_import(self, address: StoreAddress) -> dict[str, Imported]:
        """Imports one run, or with --all every run that was not imported whole before, the first one first.

        Raises:
            ImportFailedError: a run cannot be imported; those before it are.
        """
        from pipeline.lineage.importing.writer import write_runs

        names, read = self._kubeflow() if self.kubeflow else self._vertex()
        return write_runs(_made(address), names, read, again=bool(self.run))

    def _kubeflow(self) -> tuple[list[str], Callable[[str], RecordedRun]]:
        from pipeline.lineage.importing.kubeflow import list_runs, read_run

        there = metadata_address(self.kubeflow, Path()).open()
        return [self.run] if self.run else list_runs(there), lambda run: read_run(there, run)

    def _vertex(self) -> tuple[list[str], Callable[[str], RecordedRun]]:
        from pipeline.lineage.importing.rest import GivenToken, GoogleToken, Patience, RestClient

        with warnings.catch_warnings():
            # Google's libraries announce at their import which Python versions they will drop.
            warnings.simplefilter("ignore", FutureWarning)
            from pipeline.lineage.importing.vertex import list_runs, read_run, vertex_store

        found = vertex_store(self.vertex)
        given = self.token_file or self.token_env
        tokens = GivenToken(self.token_file, self.token_env) if given else GoogleToken()
        patience = Patience(timeout=self.timeout, attempts=self.attempts)
        client = RestClient(self.endpoint or found.endpoint, tokens, patience)
        return [self.run] if self.run else list_runs(client, found), lambda run: read_run(client, found, run)


@command.command("import")
@click.option("--vertex", default="", metavar="PROJECT/REGION[/METADATA_STORE]",
              help="Import from the metadata service of Vertex AI.")  # fmt: skip
@click.option("--kubeflow", default="", metavar="grpc://HOST:PORT",
              help="Import from the ML Metadata of Kubeflow Pipelines.")  # fmt: skip
@click.option("--run", "run", default="", metavar="RUN", help="The run's id.")
@click.option("--all", "everything", is_flag=True, help="Every run that was not imported completely before.")
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
    hares metadata import --kubeflow grpc://127.0.0.1:8080 --all --workspace W

    The next import completes one that was stopped. On Vertex it uses Google's application default credentials unless
    --token-file or --token-env is given.
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
