"""What `hares metadata import` is asked, and doing it: from where, with which account, into which store."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore

from cli.errors import CommandError, ExitCode
from pipeline.lineage.connection import StoreAddress
from pipeline.lineage.importing.rest import GivenToken, GoogleToken, Patience, RestClient, TokenSource
from pipeline.lineage.importing.writer import Imported, imported_whole, write_run


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
        with warnings.catch_warnings():
            # Google's libraries announce at their import which Python versions they will drop.
            warnings.simplefilter("ignore", FutureWarning)
            from pipeline.lineage.importing.vertex import list_runs, read_run, vertex_store

        found = vertex_store(self.vertex)
        given = self.token_file or self.token_env
        tokens: TokenSource = GivenToken(self.token_file, self.token_env) if given else GoogleToken()
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

        read = read_run(folder, self.run or folder.resolve().name, self.pipeline)
        return {read.run.name: write_run(_made(address), read)}


def _made(address: StoreAddress) -> MetadataStore:
    """The store; a missing SQLite file is made, as a server's tables are."""
    if address.file is None:
        return address.open()
    address.file.parent.mkdir(parents=True, exist_ok=True)
    return MetadataStore(address.config)
