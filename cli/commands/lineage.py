"""`hares lineage`: which bytes, code and settings made this number?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cli.errors import claim_file
from cli.options import METADATA, metadata_address

WORKSPACE = click.option(
    "--workspace", type=click.Path(path_type=Path, file_okay=False), default=Path("workspace"), show_default=True,
    help="The workspace of `hares run` whose store is read.",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


def _asks_store(function: Callable[..., Any]) -> Callable[..., Any]:
    return WORKSPACE(METADATA(JSON(function)))


@click.group()
def command() -> None:
    """Ask the metadata store which bytes, code and settings made a number, and what was made from a file."""


@command.command()
@click.argument("what", metavar="ARTIFACT|SCORE")
@click.option(
    "--run",
    "run_name",
    default="latest",
    show_default=True,
    help="The run of the score: its id, or the beginning of it.",
)
@click.option("--clips", "only_clips", is_flag=True, help="Print the source clips alone, as sha256sum does.")
@_asks_store
def trace(what: str, run_name: str, only_clips: bool, workspace: Path, metadata: str, as_json: bool) -> None:
    """Follow a score or an artifact back to its source files, code, settings and runs.

    SCORE is hares, a domain or a task; ARTIFACT is an artifact's id or folder, or a pushed model.

    \b
    hares lineage trace hares --workspace W
    hares lineage trace esc50 --run 2026-11-24T10 --workspace W --json
    hares lineage trace W/pushed/1795518697 --workspace W
    hares lineage trace esc50 --clips --workspace W | sha256sum --check
    """
    from cli.lineage_view import show_trace

    show_trace(metadata_address(metadata, workspace), what, run_name, only_clips, as_json)


@command.command()
@click.argument("what", metavar="FILE|ARTIFACT")
@_asks_store
def impact(what: str, workspace: Path, metadata: str, as_json: bool) -> None:
    """List everything made from an audio file or an artifact: embeddings, models, reports, pushed models, runs.

    FILE is a path, even of a file that is gone, or the SHA-256 of the file; ARTIFACT is an artifact's id or folder.

    \b
    hares lineage impact corpora/esc50/audio/1-100032-A-0.wav --workspace W
    hares lineage impact 13 --workspace W --json
    """
    from cli.lineage_view import show_impact

    show_impact(metadata_address(metadata, workspace), what, as_json)


@command.command()
@click.argument("run", default="latest")
@_asks_store
def why(run: str, workspace: Path, metadata: str, as_json: bool) -> None:
    """Say why a run's model was blessed or not, and why each step was run or taken from the cache.

    RUN is a run's id, its beginning, "latest" or "previous".

    \b
    hares lineage why --workspace W
    hares lineage why 2026-11-24T10:02 --workspace W --json
    """
    from cli.lineage_view import show_why

    show_why(metadata_address(metadata, workspace), run, as_json)


@command.command()
@click.argument("first", metavar="RUN")
@click.argument("second", metavar="RUN")
@_asks_store
def diff(first: str, second: str, workspace: Path, metadata: str, as_json: bool) -> None:
    """Show what differs between two runs: settings, code, clips added, removed or changed, and scores.

    Scores are second minus first on the same clips, with a 95% interval and p.

    \b
    hares lineage diff previous latest --workspace W
    hares lineage diff 2026-11-24T10:02 2026-11-25 --workspace W --json
    """
    from cli.lineage_view import show_diff

    show_diff(metadata_address(metadata, workspace), first, second, as_json)


@command.command()
@click.option(
    "--score", "scores", multiple=True, metavar="NAME>NUMBER", help="As in 'hares>0.5' or 'esc50>=50%'."
)
@click.option("--encoder", default="", help="Runs of this encoder.")
@click.option("--span", default="", help="Runs on this span of the pretraining corpus.")
@click.option("--status", type=click.Choice(["running", "complete", "failed"]), help="Runs in this state.")
@click.option(
    "--since",
    default="",
    metavar="DATE",
    help="Runs that started at or after; 2026-11-24, or 7d for a week ago.",
)
@click.option("--until", default="", metavar="DATE", help="Runs that started before.")
@click.option(
    "--limit", type=click.IntRange(1), default=50, show_default=True, help="How many, the latest first."
)
@_asks_store
def runs(workspace: Path, metadata: str, as_json: bool, limit: int, **conditions: Any) -> None:
    """List runs with their scores, the latest first.

    \b
    hares lineage runs --workspace W
    hares lineage runs --score 'hares>45%' --encoder sf_nfnet_f0 --since 30d --workspace W --json
    """
    from cli.lineage_view import show_runs

    show_runs(metadata_address(metadata, workspace), conditions, limit, as_json)


@command.command()
@click.argument("run", default="latest")
@click.option("--format", "form", type=click.Choice(["openlineage", "prov"]), default="openlineage",
              show_default=True, help="OpenLineage events, or a W3C PROV document.")  # fmt: skip
@_asks_store
def export(run: str, form: str, workspace: Path, metadata: str, as_json: bool) -> None:
    """Print a run as OpenLineage events, one JSON line for each step, or as PROV-JSON.

    With --json the events of OpenLineage are one JSON list. RUN is as in `hares lineage why`.

    \b
    hares lineage export --workspace W > events.jsonl
    hares lineage export 2026-11-24T10:02 --format prov --workspace W
    """
    from cli.lineage_view import show_export

    show_export(metadata_address(metadata, workspace), run, form, as_json)


@command.command()
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The file to write."
)
@click.option("--serve", is_flag=True, help="Serve it on this machine instead, read anew at every load.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8765,
    show_default=True,
    help="Port of --serve; 0 takes any free one.",
)
@click.option("--runs", "run_count", type=click.IntRange(1), default=5000, show_default=True,
              help="How many runs the page holds, newest first.")  # fmt: skip
@click.option("--graphs", type=click.IntRange(0), default=500, show_default=True,
              help="For how many of them the page holds the whole lineage.")  # fmt: skip
@click.option("--paired", type=click.IntRange(0), default=8, show_default=True,
              help="For how many of them every pair is compared clip by clip.")  # fmt: skip
@WORKSPACE
@METADATA
def page(
    output: Path | None,
    serve: bool,
    port: int,
    run_count: int,
    graphs: int,
    paired: int,
    workspace: Path,
    metadata: str,
) -> None:
    """Write one self-contained page: runs and scores over time, lineage graphs, comparisons, search.

    It opens from the disk, loads nothing from a network, and holds no password.

    \b
    hares lineage page --output lineage.html --workspace W
    hares lineage page --serve --workspace W --metadata postgresql://hares@127.0.0.1/hares
    """
    from cli.lineage_page import serve_page, write_page

    if bool(output) == serve:
        raise click.UsageError("give --output FILE, or --serve")
    from pipeline.lineage.page.data import PageLimits

    if output:
        claim_file(output, "--output")
    address = metadata_address(metadata, workspace)
    limits = PageLimits(runs=run_count, graphs=graphs, paired=paired)
    if output:
        write_page(address, output, limits)
    else:
        serve_page(address, port, limits)
