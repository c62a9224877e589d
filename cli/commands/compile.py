"""`hares compile`: the pipeline as one file for a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli.errors import CommandError, ExitCode
from cli.options import METADATA, metadata_address, parse_corpus


@click.command()
@click.option(
    "--target", type=click.Choice(["vertex", "kubeflow"]), required=True, help="The kind of cluster."
)
@click.option("--cluster", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE",
              help="Images, storage and resources (YAML).")  # fmt: skip
@click.option("--config", "name", default="demo", show_default=True, help="A preset's name, or a YAML file.")
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated."
)
@click.option(
    "--corpus", "corpora", multiple=True, metavar="DIR|NAME=DIR", help="Data sets; NAME=DIR places one."
)
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

    Data, span window, warm start and baseline are resolved here and now, from the indexes and the metadata store, and
    stand in the file. The same input gives the same bytes.

    \b
    hares compile --target kubeflow --cluster cluster.yaml --config sf_nfnet_f0 --corpus /data --output hares.yaml
    hares compile --target vertex --cluster vertex.yaml --corpus /gcs/BUCKET/corpora --output hares.json
    """
    from cli.quiet import logging_to
    from kubeflow.config import load_cluster
    from pipeline.config import load_config
    from pipeline.lineage.connection import StoreUnreachableError
    from pipeline.settings import SettingError

    corpus, placements = parse_corpus(corpora)
    try:
        settings = load_cluster(cluster, "vertex" if target == "vertex" else "kubeflow")
        config = load_config(name, assignments)
        workspace = Path(settings.workspace)
        address = metadata_address(metadata, workspace)
        with logging_to(Path(os.devnull)):
            from kubeflow.compile import compile_pipeline
            from pipeline.code_digest import PROJECT
            from pipeline.lineage.record import revision_of
            from pipeline.run import prepare

            run = prepare(config, corpus, placements, workspace, address)
            text = compile_pipeline(run, settings, revision_of(PROJECT)[0])
    except SettingError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    except StoreUnreachableError as error:
        raise CommandError(str(error), ExitCode.STORE) from error
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text, encoding="utf-8")
    click.echo(f"wrote {output} ({len(text)} bytes) for {target}: run key {run.run_key[:12]}")
