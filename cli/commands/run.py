"""`hares run`: the whole pipeline on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from cli.options import CONFIG, CORPUS, METADATA, PLUGIN, SET


@click.command()
@CONFIG
@SET
@CORPUS
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"),
              show_default=True, help="Store, artifacts, checkpoints and pushed models.")  # fmt: skip
@PLUGIN
@METADATA
@click.option("--require-blessing", is_flag=True, help="Exit with 7 if the model is not blessed.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON and nothing else.")
def command(
    name: str,
    assignments: tuple[str, ...],
    corpora: tuple[str, ...],
    workspace: Path,
    plugins: tuple[Path, ...],
    metadata: str,
    require_blessing: bool,
    as_json: bool,
) -> None:
    """Run the pipeline here: ingest, transform, pretrain, embed, score, push.

    A second run with nothing changed takes every step from the cache; one that was killed goes on where it
    stopped.

    \b
    hares run --config demo --corpus corpora --workspace W
    hares run --config demo --corpus corpora --workspace W --set training.steps=1000 --set training.seed=1
    hares run --config demo --plugin mine.py --set training.encoder=mine_small --corpus corpora --workspace W
    hares run --config demo --corpus corpora --workspace W --metadata postgresql://hares@127.0.0.1/hares
    hares run --config my.yaml --corpus corpora --corpus esc50=/data/ESC-50-master --workspace W
    """
    from cli.options import parse_corpus
    from cli.pipeline_run import RunRequest, run_and_show

    corpus, placements = parse_corpus(corpora)
    request = RunRequest(name, workspace, corpus, placements, assignments, plugins, metadata, as_json)
    run_and_show(request, require_blessing)
