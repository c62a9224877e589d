"""`hares watch`: a run on a cluster for every span that arrives."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.cluster import check_succeeded, cluster_options, opened, until_ended
from cli.errors import CommandError, ExitCode, store_failures
from cli.options import METADATA, metadata_address

if TYPE_CHECKING:
    from kubeflow.clusters import PipelineService


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
@click.option("--wait", "waits", is_flag=True,
              help="Compile for a span only when the run before has ended, as for a warm start.")  # fmt: skip
@METADATA
@click.argument("compile_command", metavar="-- COMMAND", nargs=-1, required=True, type=click.UNPROCESSED)
def command(
    target: str,
    cluster: Path,
    source: str,
    marker: str,
    workspace: Path,
    poll: float,
    once: bool,
    waits: bool,
    metadata: str,
    compile_command: tuple[str, ...],
) -> None:
    """Compile and submit when a span is complete, once per span, however often this is restarted.

    COMMAND compiles; in it {SPAN} becomes the span's number, {SOURCE} the pattern, and {OUTPUT} the file to write.
    Before it, the runs that the cluster has recorded are imported into the metadata store (by default that of the
    cluster file's workspace), so that it finds the latest blessed model. On Kubeflow this needs service.metadata_store
    in the cluster file.

    \b
    hares watch --target kubeflow --cluster cluster.yaml --source '/data/span-{SPAN}' --workspace W -- \\
        hares compile --target kubeflow --cluster cluster.yaml --output '{OUTPUT}' \\
        --set 'pretraining.source={SOURCE}' --set 'pretraining.span={SPAN}'

    Exit code 9 if the cluster refused, 8 if a metadata store does not answer, 5 if COMMAND failed; started again, it
    goes on at that span. With --wait, 5 also if a run failed; started again, it goes on at the next span.
    """
    from cli.terminal import say
    from kubeflow.watch import Watch, WatchError

    try:
        watch = Watch(source, marker, workspace.resolve(), compile_command)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    import_them = _import(target, cluster, metadata)
    try:
        with opened(target, cluster) as service, watch.locked():
            while True:
                for span in watch.due():
                    if waits and (last := watch.last_run()):
                        _wait_for(service, last, poll)  # a watcher that was killed did not
                    import_them()
                    run = watch.submit(span, service)
                    say(f"span {span}: run {run.run_id}, {run.state.value}")
                    if waits:
                        check_succeeded(until_ended(service, run, poll, shows=True))
                if once:
                    return
                time.sleep(poll)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except WatchError as error:
        raise CommandError(str(error), ExitCode.STEP) from error


def _wait_for(service: PipelineService, run_id: str, poll: float) -> None:
    """Until an earlier run has ended, however it did; one that the cluster has forgotten has."""
    from kubeflow.clusters import Failure, ServiceError

    try:
        until_ended(service, service.run(run_id), poll, shows=False)
    except ServiceError as error:
        if error.failure is not Failure.NOT_FOUND:
            raise


def _import(target: str, cluster: Path, metadata: str) -> Callable[[], None]:
    """What imports the cluster's runs; where a setting for it is missing, that is said once, and it does nothing.

    Raises:
        CommandError: the cluster file is wrong, or `metadata` is no address.
    """
    from cli.terminal import say
    from kubeflow.clusters import read_service

    try:
        config, workspace = read_service(target, cluster)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    needed = {
        "service.metadata_store": bool(config.metadata_store) or target == "vertex",
        "workspace": bool(workspace or metadata),
    }
    if missing := [name for name, there in needed.items() if not there]:
        say(
            f"{cluster} has no {' and no '.join(missing)}: runs are not imported, and COMMAND knows no model but those "
            "that `hares metadata import` brought"
        )
        return lambda: None
    address = metadata_address(metadata, Path(workspace))

    def import_them() -> None:
        from kubeflow.recorded_runs import import_runs
        from pipeline.lineage.importing.recorded import ImportFailedError

        try:
            with store_failures():
                for run in import_runs(target, config, address):
                    say(f"run {run}: imported into {address.shown}")
        except ImportFailedError as error:
            raise CommandError(str(error), ExitCode.STORE if error.refused else ExitCode.DATA) from error

    return import_them
