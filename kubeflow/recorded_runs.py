"""Imports what a cluster has recorded of its runs, so that the next compilation knows them.

Baseline and starting model come from our own store (`pipeline.run.prepare`), and a cluster records elsewhere: Vertex in
its metadata service, Kubeflow in its ML Metadata.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

from kubeflow.clusters import ServiceConfig
from pipeline.lineage.connection import StoreAddress, store_address
from pipeline.lineage.importing.recorded import ImportFailedError, RecordedRun
from pipeline.lineage.importing.rest import GoogleToken, Patience, ReadToken, RestClient
from pipeline.lineage.importing.writer import Imported, write_runs


def import_runs(target: str, config: ServiceConfig, address: StoreAddress) -> dict[str, Imported]:
    """Imports every run that was not imported whole before; what was new, by run.

    Args:
        target: "kubeflow" or "vertex".
        config: how the cluster is reached; on Kubeflow with its `metadata_store`.
        address: our store; a SQLite file is made if it is missing.

    Raises:
        ImportFailedError: the cluster refuses or does not answer, or has a run that cannot be imported.
        StoreUnreachableError: a store does not answer.
        ValueError: `metadata_store` is no address.
    """
    names, read = (_of_vertex if target == "vertex" else _of_kubeflow)(config)
    with address.asking(create=True) as store:
        return write_runs(store, names, read)


def _of_kubeflow(config: ServiceConfig) -> tuple[list[str], Callable[[str], RecordedRun]]:
    from pipeline.lineage.importing.kubeflow import list_runs, read_run

    there = store_address(config.metadata_store, Path()).open()
    return list_runs(there), lambda run: read_run(there, run)


def _of_vertex(config: ServiceConfig) -> tuple[list[str], Callable[[str], RecordedRun]]:
    with warnings.catch_warnings():
        # Google's libraries announce at their import which Python versions they will drop.
        warnings.simplefilter("ignore", FutureWarning)
        from pipeline.lineage.importing.vertex import VertexStore, list_runs, read_run
    place = VertexStore(config.project, config.region)
    patience = Patience(config.timeout_seconds, config.retries + 1, config.backoff_seconds)
    tokens = ReadToken(lambda: _token(config))
    client = RestClient(
        config.endpoint or place.endpoint, tokens if tokens.token() else GoogleToken(), patience
    )
    return list_runs(client, place), lambda run: read_run(client, place, run)


def _token(config: ServiceConfig) -> str:
    """The bearer token of the cluster file's `service`."""
    try:
        return config.token()
    except ValueError as error:
        raise ImportFailedError(str(error), refused=True) from error
