"""`hares presets`: what `--config` takes, beside the paper's scores."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pipeline.preset import Preset


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON and nothing else.")
def command(as_json: bool) -> None:
    """List the presets: encoder, objective, parameters, and the paper's scores of the row that each repeats.

    Scores are the paper's, in percent; a dash means that it prints none.

    \b
    hares presets
    hares presets --json
    hares run --config simclr_resnet50 --corpus corpora --workspace W
    """
    from cli.quiet import logging_to

    with logging_to(Path(os.devnull)):  # TensorFlow 2.21 speaks on stderr when it is imported
        from pipeline.preset import load_preset, preset_names

        presets = [_described(load_preset(name)) for name in preset_names()]
    if as_json:
        click.echo(json.dumps(presets, indent=1, allow_nan=False))
    else:
        _show(presets)


def _show(presets: list[dict[str, Any]]) -> None:
    """Prints the presets of the paper's rows, then the others."""
    from cli.fitted_table import FittedTable
    from cli.terminal import Terminal
    from hares.task import DOMAINS

    table = FittedTable()
    for name in (
        "preset",
        "encoder",
        "objective",
        "parameters",
        "tables",
        "Env.",
        "Speech",
        "Music",
        "HARES",
        "AudioSet",
    ):
        left = name in ("preset", "encoder", "objective", "tables")
        table.add_column(name, justify="left" if left else "right", no_wrap=name == "preset")
    for preset in sorted(presets, key=lambda p: (not p["tables"], p["name"])):
        paper = preset["paper"] or {"domains": {}, "hares": None, "audioset": None}
        scores = (*(paper["domains"].get(domain) for domain in DOMAINS), paper["hares"], paper["audioset"])
        table.add_row(
            preset["name"],
            preset["encoder"],
            preset["objective"],
            f"{preset['parameters'] / 1e6:.1f}m",
            ", ".join(name.removeprefix("table") for name in preset["tables"]),
            *("–" if score is None else f"{score:.1f}" for score in scores),
        )
    Terminal().print(table)


def _described(preset: Preset) -> dict[str, Any]:
    """A preset as plain data; the paper's scores in percent, as printed."""
    from models.encoder import load_encoder

    training = preset.config().training
    described: dict[str, Any] = {
        "name": preset.name,
        "summary": preset.summary,
        "encoder": training.encoder,
        "objective": training.objective,
        "parameters": load_encoder(training.encoder).parameters,
        "tables": [],
        "paper": None,
    }
    if preset.row is not None:
        scores = preset.row.scores()
        described["tables"] = sorted((preset.row.table, *preset.row.also))
        described["paper"] = {
            "table": preset.row.table,
            "system": preset.row.system,
            "domains": scores["domains"],
            "hares": scores["hares"],
            "audioset": scores["tasks"]["audioset"],
        }
    return described
