"""`hares report`: scores of one or several runs against each other and against the paper's tables."""

from __future__ import annotations

from pathlib import Path

import click

from cli.errors import claim_file


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path, exists=True)
)
@click.option(
    "--html", "page", type=click.Path(path_type=Path, dir_okay=False), help="Write one page of all runs."
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.zip",
    help="Write the run as one file for others.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print scores and differences as JSON and nothing else."
)
def command(runs: tuple[Path, ...], page: Path | None, bundle: Path | None, as_json: bool) -> None:
    """Show runs side by side, and beside the paper's tables.

    RUN is a workspace of `hares run` (its latest report), a folder with a report.json, or a bundle. Every further run
    is compared with the first one clip by clip: the difference, its 95% interval, and p.

    A bundle holds the report, its page, all answers, manifests and versions, and no path of this machine. Whoever
    opens it checks it: a changed or cut one, or scores that its answers do not give, end with exit code 4.

    \b
    hares report W
    hares report evaluation/ours evaluation/theirs --html both.html
    hares report evaluation/ours --bundle ours.zip
    hares report theirs.zip evaluation/ours
    hares report W/artifacts/evaluator/report/30 --json
    """
    from cli.report_view import load_runs, show_runs, write_bundle, write_page

    if bundle is not None:
        claim_file(bundle, "--bundle")
    if page is not None:
        claim_file(page, "--html")
    loaded = load_runs(runs)
    if page is not None:
        write_page(loaded, page)
    digest = write_bundle(runs, bundle) if bundle is not None else ""
    show_runs(loaded, as_json)
    if page is not None and not as_json:
        click.echo(f"page   {page}")
    if bundle is not None and not as_json:
        click.echo(f"bundle {bundle}\nsha256 {digest}")
