"""The work of `hares metadata import`: from where, with which account, into which store."""

from __future__ import annotations

import warnings
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore

from pipeline.lineage.connection import StoreAddress
from pipeline.lineage.importing.rest import GivenToken, GoogleToken, Patience, RestClient, TokenSource
from pipeline.lineage.importing.writer import Imported, imported_whole, write_run


def import_from_vertex(
    address: StoreAddress,
    place: str,
    run: str,
    endpoint: str,
    token_file: Path | None,
    token_env: str,
    patience: Patience,
) -> dict[str, Imported]:
    """Imports one run, or with `run` "" every run that was not imported whole before, the first one first.

    Raises:
        ImportFailedError: it cannot be imported; runs before it are.
    """
    with warnings.catch_warnings():
        # Google's libraries announce at their import which Python versions they will drop.
        warnings.simplefilter("ignore", FutureWarning)
        from pipeline.lineage.importing.vertex import list_runs, read_run, vertex_store

    found = vertex_store(place)
    tokens: TokenSource = GivenToken(token_file, token_env) if token_file or token_env else GoogleToken()
    client = RestClient(endpoint or found.endpoint, tokens, patience)
    store = _made(address)
    names = [run] if run else [n for n in list_runs(client, found) if not imported_whole(store, n)]
    done = {}
    for name in names:
        read = read_run(client, found, name)
        done[read.run.name] = write_run(store, read)
    return done


def import_from_folder(address: StoreAddress, folder: Path, run: str, pipeline: str) -> dict[str, Imported]:
    """Imports the run of a folder, under the folder's name where `run` is "".

    Raises:
        ImportFailedError: the folder is not one of a run.
    """
    from pipeline.lineage.importing.kubeflow import read_run

    read = read_run(folder, run or folder.resolve().name, pipeline)
    return {read.run.name: write_run(_made(address), read)}


def _made(address: StoreAddress) -> MetadataStore:
    """The store; a SQLite file that is not there is made, as a server's tables are."""
    if address.file is None:
        return address.open()
    address.file.parent.mkdir(parents=True, exist_ok=True)
    return MetadataStore(address.config)
