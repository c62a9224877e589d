"""`hares study`: a grid of presets over one corpus, and the paper's table 2 from it."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import CORPUS, METADATA, PLUGIN, SET


@click.command()
@click.option("--grid", "name", default="tiny", show_default=True, metavar="NAME|FILE",
              help="A grid of ours (tiny, paper), or a YAML file.")  # fmt: skip
@SET
@CORPUS
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"),
              show_default=True, help="Store, artifacts, checkpoints and the study's files.")  # fmt: skip
@PLUGIN
@METADATA
@click.option("--json", "as_json", is_flag=True, help="Print the study as JSON and nothing else.")
def command(
    name: str,
    assignments: tuple[str, ...],
    corpora: tuple[str, ...],
    workspace: Path,
    plugins: tuple[Path, ...],
    metadata: str,
    as_json: bool,
) -> None:
    """Train and score every cell of a grid, and print the table beside the paper's.

    A finished cell is not run again; one that was killed goes on where it stopped. A cell that fails is recorded and
    the study goes on, with exit code 5 at its end. --set changes a setting of every cell.

    \b
    hares study --grid tiny --corpus corpora --workspace W
    hares study --grid tiny --corpus corpora --workspace W --set training.seed=1
    hares study --grid tiny --corpus corpora --workspace W --metadata postgresql://hares@db/hares
    hares study --grid mine.yaml --plugin my_encoder.py --corpus corpora --workspace W
    """
    from cli.options import parse_corpus
    from cli.pipeline_run import RunRequest
    from cli.study import study_and_show

    corpus, placements = parse_corpus(corpora)
    study_and_show(RunRequest(name, workspace, corpus, placements, assignments, plugins, metadata, as_json))
