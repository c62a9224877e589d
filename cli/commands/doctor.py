"""`hares doctor`: what will fail, before it is submitted."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import METADATA


@click.command()
@click.option("--target", type=click.Choice(["local", "vertex", "kubeflow"]), default="local",
              show_default=True, help="Where the pipeline would run.")  # fmt: skip
@click.option("--cluster", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="The cluster file that `hares compile` takes.")  # fmt: skip
@click.option(
    "--config",
    "name",
    default="",
    help="The settings of the planned run; they are compared with the last run's.",
)
@click.option(
    "--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Change one setting; may be repeated."
)
@click.option("--compiled", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="A file that `hares compile` wrote.")  # fmt: skip
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False),
              help="The workspace.  [default: the cluster file's, or ./workspace]")  # fmt: skip
@METADATA
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON and nothing else.")
def command(
    target: str,
    cluster: Path | None,
    name: str,
    assignments: tuple[str, ...],
    compiled: Path | None,
    workspace: Path | None,
    metadata: str,
    as_json: bool,
) -> None:
    """Say what will fail, where and why, in seconds and before anything is submitted.

    Looks at the installed packages, the images and the lock file they were made from, the pipeline root (by writing
    to it), machine types, the compiled pipeline, the metadata store and the settings of the last run. Exit code 3 if
    the run would fail; 0 with warnings alone.

    \b
    hares doctor --target local --workspace W
    hares doctor --target vertex --cluster vertex.yaml --config simclr --compiled pipeline.json
    hares doctor --target kubeflow --cluster kubeflow.yaml --json
    """
    from cli.doctor_view import examine

    examine(target, cluster, name, assignments, compiled, workspace, metadata, as_json)
