"""Options and errors that the commands for clusters share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from kubeflow.clusters import ClusterRun, PipelineService

_TARGET = click.option(
    "--target", type=click.Choice(["kubeflow", "vertex"]), required=True, help="The kind of cluster."
)
_CLUSTER = click.option(
    "--cluster", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE",
    help="How it is reached: the group 'service:' of a YAML file.",
)  # fmt: skip
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
PARAMETERS = click.option(
    "--parameter", "assignments", multiple=True, metavar="NAME=VALUE",
    help="A value of one of the pipeline's parameters; may be repeated.",
)  # fmt: skip
COMPILED = click.argument("compiled", type=click.Path(path_type=Path, dir_okay=False, exists=True))


def cluster_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --target and --cluster."""
    return _TARGET(_CLUSTER(function))


@contextmanager
def opened(target: str, cluster: Path) -> Iterator[PipelineService]:
    """The service inside the block, where its refusals end the command with one line and exit code 9.

    Raises:
        CommandError: the cluster file is wrong, or the service refused or did not answer.
    """
    from kubeflow.clusters import ServiceError, open_service

    try:
        service = open_service(target, cluster)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    try:
        yield service
    except ServiceError as error:
        raise CommandError(str(error), ExitCode.SERVICE) from error


def until_ended(service: PipelineService, run: ClusterRun, poll: float, shows: bool) -> ClusterRun:
    """The run once it has ended; its steps are shown meanwhile."""
    from cli.cluster_view import ClusterView
    from cli.terminal import Terminal

    with ClusterView(Terminal(quiet=not shows)) as view:
        while True:
            run = service.run(run.run_id)
            view.show(run)
            if run.state.ended:
                return run
            time.sleep(poll)


def check_succeeded(run: ClusterRun) -> None:
    """Raises CommandError for a run that failed or was cancelled."""
    if run.state.value != "succeeded":
        failed = [f"{s.name}: {s.message or s.state.value}" for s in run.steps if s.state.value == "failed"]
        raise CommandError(
            f"run {run.run_id} {run.state.value}; {'; '.join(failed) or run.message or 'see its page'}",
            ExitCode.STEP,
        )


def shown_name(given: str, compiled: Path) -> str:
    """The name that the cluster shows for a run or schedule: `--name`, or the compiled file's name.

    Raises:
        CommandError: a cluster would refuse it, or the name of the pipeline in the file.
    """
    from kubeflow.clusters import check_shown_name
    from kubeflow.compiled.file import pipeline_name
    from pipeline.settings import check_pipeline_name

    try:
        check_shown_name("--name", given or compiled.stem)
        if (pipeline := pipeline_name(compiled)) is not None:
            check_pipeline_name(pipeline)
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    return given or compiled.stem


def parse_parameters(assignments: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` texts; every parameter of our compiled files is a string.

    Raises:
        CommandError: no `=`, or one name twice.
    """
    parameters: dict[str, str] = {}
    for text in assignments:
        name, sign, value = text.partition("=")
        if not sign or not name or name in parameters:
            raise CommandError(f"--parameter {text}: give NAME=VALUE, each name once", ExitCode.SETTINGS)
        parameters[name] = value
    return parameters
