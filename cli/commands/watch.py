"""`hares watch`: a run on a cluster for every span that arrives."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cli.cluster import cluster_options, opened
from cli.errors import CommandError, ExitCode


@click.command()
@cluster_options
@click.option(
    "--source", required=True, metavar="PATTERN", help="Folders of the spans, with {SPAN} for the number."
)
@click.option(
    "--marker", default="_SUCCESS", show_default=True, help="File that says a span's folder is whole."
)
@click.option("--workspace", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Where submitted spans are recorded.")  # fmt: skip
@click.option("--poll", type=click.FloatRange(min=0.01), default=60.0, show_default=True, metavar="SECONDS",
              help="How often to look at the source.")  # fmt: skip
@click.option("--once", is_flag=True, help="Look once, submit what is due, and end.")
@click.argument("compile_command", metavar="-- COMMAND", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    target: str,
    cluster: Path,
    source: str,
    marker: str,
    workspace: Path,
    poll: float,
    once: bool,
    compile_command: tuple[str, ...],
) -> None:
    """Compile and submit when a span is complete, once per span, however often this is restarted.

    COMMAND compiles; in it {SPAN} becomes the span's number and {OUTPUT} the file to write.

    \b
    hares watch --target kubeflow --cluster cluster.yaml --source '/data/span-{SPAN}' --workspace W -- \\
        hares compile --target kubeflow --cluster cluster.yaml --set 'pretraining.span={SPAN}' --output '{OUTPUT}'

    Exit code 9 if the cluster refused, 5 if COMMAND failed; started again, it goes on at that span.
    """
    from cli.terminal import say
    from kubeflow.watch import Watch, WatchError

    try:
        watch = Watch(source, marker, workspace.resolve(), compile_command)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    try:
        with opened(target, cluster) as service, watch.locked():
            while True:
                for span in watch.due():
                    run = watch.submit(span, service)
                    say(f"span {span}: run {run.run_id}, {run.state.value}")
                if once:
                    return
                time.sleep(poll)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except WatchError as error:
        raise CommandError(str(error), ExitCode.STEP) from error
