"""`hares compile`: the pipeline as one file for a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.errors import CommandError, ExitCode, claim_file, writing_to
from cli.options import CONFIG, CORPUS, METADATA, SET, check_places, metadata_address, parse_corpus

if TYPE_CHECKING:
    from hares.buckets import Place
    from kubeflow.cluster_file import ClusterConfig
    from pipeline.lineage.connection import StoreAddress


@click.command()
@click.option(
    "--target", type=click.Choice(["vertex", "kubeflow"]), required=True, help="The kind of cluster."
)
@click.option("--cluster", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE",
              help="Images, storage and resources (YAML).")  # fmt: skip
@CONFIG
@SET
@CORPUS
@METADATA
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE",
              help="The file to write: JSON for Vertex, YAML for Kubeflow.")  # fmt: skip
def command(
    target: str,
    cluster: Path,
    name: str,
    assignments: tuple[str, ...],
    corpora: tuple[str, ...],
    metadata: str,
    output: Path,
) -> None:
    """Write the pipeline as one file that a cluster runs.

    Data, span window, warm start and baseline are resolved now, from the indexes and the metadata store, and written
    into the file. The same input gives the same bytes.

    \b
    hares compile --target kubeflow --cluster cluster.yaml --config paper_simclr --corpus /data --output hares.yaml
    hares compile --target vertex --cluster vertex.yaml --corpus /gcs/BUCKET/corpora --output hares.json
    """
    claim_file(output, "--output")
    from cli.quiet import logging_to
    from hares.atomic_files import write_atomically
    from kubeflow.cluster_file import load_cluster
    from pipeline.settings import SettingError

    corpus, placements = parse_corpus(corpora)
    check_places(corpus, placements)
    try:
        settings = load_cluster(cluster, "vertex" if target == "vertex" else "kubeflow")
        workspace = Path(settings.workspace)
        address = metadata_address(metadata, workspace)
        with logging_to(Path(os.devnull)):
            text, run_key = _compiled(settings, name, assignments, corpus, placements, address)
    except SettingError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    with writing_to(output, "--output"):
        write_atomically(output, text)
    click.echo(f"wrote {output} ({len(text)} bytes) for {target}: run key {run_key[:12]}")


def _compiled(
    settings: ClusterConfig,
    name: str,
    assignments: tuple[str, ...],
    corpus: Place | None,
    placements: Mapping[str, Place],
    address: StoreAddress,
) -> tuple[str, str]:
    """The file's text and the run key."""
    from kubeflow.cluster_file import check_beam_flags
    from pipeline.config import load_config

    config = load_config(name, assignments)
    check_beam_flags(settings, config)
    from hares.code_digest import PROJECT
    from kubeflow.compiled.compile import (
        compile_pipeline,  # imports TFX, so a wrong setting is reported first
    )
    from pipeline.lineage.connection import StoreUnreachableError
    from pipeline.lineage.record import facts_of_start
    from pipeline.run import prepare

    try:
        run = prepare(config, corpus, placements, Path(settings.workspace), address, in_image=True)
    except StoreUnreachableError as error:
        raise CommandError(str(error), ExitCode.STORE) from error
    recorded = facts_of_start(name, run.code, PROJECT)
    revision = recorded["git_revision"] + ("-changed" if recorded["git_clean"] == "no" else "")
    return compile_pipeline(run, settings, revision, recorded), run.run_key
