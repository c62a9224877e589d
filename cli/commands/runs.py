"""`hares runs`: what a cluster runs and has run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

from cli.cluster import JSON, cluster_options, opened


@click.group()
def command() -> None:
    """List, show and cancel runs on a cluster.

    \b
    hares runs list --target kubeflow --cluster cluster.yaml
    hares runs show --target kubeflow --cluster cluster.yaml RUN
    hares runs cancel --target kubeflow --cluster cluster.yaml RUN
    """


@command.command("list")
@cluster_options
@click.option(
    "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first."
)
@JSON
def list_runs(target: str, cluster: Path, limit: int, as_json: bool) -> None:
    """The newest runs. Example: hares runs list --target kubeflow --cluster cluster.yaml --limit 5."""
    from cli.terminal import say

    with opened(target, cluster) as service:
        runs = service.runs(limit)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(run) for run in runs], indent=1))
        return
    for run in runs:
        say(f"{run.run_id:<38} {run.state.value:<10} {run.created:<21} {run.name}")
    if not runs:
        click.echo("no runs")


@command.command()
@cluster_options
@click.argument("run_id", metavar="RUN")
@JSON
def show(target: str, cluster: Path, run_id: str, as_json: bool) -> None:
    """One run with its steps. Example: hares runs show --target kubeflow --cluster cluster.yaml RUN."""
    from cli.terminal import say

    with opened(target, cluster) as service:
        run = service.run(run_id)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(run), indent=1))
        return
    say(f"{run.run_id} ({run.name}), made {run.created}: {run.state.value} {run.message}".rstrip(), run.url)
    for step in run.steps:
        say(f"  {step.state.value:<10} {step.name:<28} {step.message}".rstrip())


@command.command()
@cluster_options
@click.argument("run_id", metavar="RUN")
@JSON
def cancel(target: str, cluster: Path, run_id: str, as_json: bool) -> None:
    """Stop a run; one that has ended is left unchanged.

    Example: hares runs cancel --target kubeflow --cluster cluster.yaml RUN.
    """
    from cli.terminal import say

    with opened(target, cluster) as service:
        service.cancel(run_id)
        run = service.run(run_id)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(run), indent=1))
    else:
        say(f"{run.run_id}: {run.state.value}")
