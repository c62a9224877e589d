"""`hares presets`: what `--config` takes, beside the paper's scores."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON and nothing else.")
def command(as_json: bool) -> None:
    """List the presets: encoder, objective, parameters, and the paper's scores of the row that each repeats.

    Scores are the paper's, in percent; a dash where it prints none.

    \b
    hares presets
    hares presets --json
    hares run --config simclr_resnet50 --corpus corpora --workspace W
    """
    from cli.presets_view import show_presets

    show_presets(as_json)
