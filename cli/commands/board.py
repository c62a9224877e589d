"""`hares board`: a leaderboard page of many reports."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import claim_file


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path, exists=True)
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write the leaderboard as a page."
)
@click.option("--json", "as_json", is_flag=True, help="Print the leaderboard as JSON and nothing else.")
def command(runs: tuple[Path, ...], page: Path | None, as_json: bool) -> None:
    """Make a leaderboard of runs: a table for each protocol, with the paper's rows beside those of its own.

    RUN is what `hares report` takes: a bundle, a folder with a report.json, or a workspace. A run with all twelve
    scores has a rank among those of its protocol; missing tasks and clips, splits that are not the paper's, other test
    clips and leakage are marked.

    \b
    hares board bundles/*.zip --html board.html
    hares board evaluation/ours theirs.zip --json
    """
    from cli.board_view import show_board, write_board
    from cli.report_view import load_runs
    from hares.report.board import build_board

    if page is not None:
        claim_file(page, "--html")
    board = build_board(load_runs(runs))
    if page is not None:
        write_board(board, page)
    show_board(board, as_json)
    if page is not None and not as_json:
        click.echo(f"page   {page}")
