"""`hares submit`: a compiled pipeline as a run on a cluster."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import uuid
from pathlib import Path

import click

from cli.cluster import (
    COMPILED,
    JSON,
    PARAMETERS,
    check_succeeded,
    cluster_options,
    opened,
    parse_parameters,
    shown_name,
    until_ended,
)


@click.command()
@cluster_options
@COMPILED
@click.option("--name", default="", help="Name of the run; by default the file's name.")
@PARAMETERS
@click.option("--again", is_flag=True, help="Start another run of what was submitted before.")
@click.option("--wait", "waits", is_flag=True, help="Show the steps until the run has ended.")
@click.option("--poll", type=click.FloatRange(min=0.01), default=10.0, show_default=True, metavar="SECONDS",
              help="How often --wait asks.")  # fmt: skip
@JSON
def command(
    target: str,
    cluster: Path,
    compiled: Path,
    name: str,
    assignments: tuple[str, ...],
    again: bool,
    waits: bool,
    poll: float,
    as_json: bool,
) -> None:
    """Start a run of COMPILED, the file that `hares compile` wrote.

    The same file with the same name and parameters is one run, however often this is called, so repeating it after an
    error is safe. --again starts another run.

    \b
    hares submit --target kubeflow --cluster cluster.yaml hares.yaml --wait
    hares submit --target vertex --cluster vertex.yaml hares.json --name nightly --json

    With --wait, exit code 5 if the run failed or was cancelled. Exit code 9 if the cluster refused.
    """
    from cli.terminal import say

    parameters = parse_parameters(assignments)
    name = shown_name(name, compiled)
    content = json.dumps(
        [name, hashlib.sha256(compiled.read_bytes()).hexdigest(), parameters], sort_keys=True
    )
    key = uuid.uuid4().hex if again else hashlib.sha256(content.encode()).hexdigest()
    with opened(target, cluster) as service:
        run = service.submit(compiled, name, key, parameters)
        if not as_json:
            say(f"run {run.run_id} ({run.name}), made {run.created}: {run.state.value}", run.url)
        if waits:
            run = until_ended(service, run, poll, shows=not as_json)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(run), indent=1))
    if waits:
        check_succeeded(run)
