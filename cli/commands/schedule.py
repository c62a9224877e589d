"""`hares schedule`: scheduled runs on a cluster."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli.cluster import COMPILED, JSON, PARAMETERS, cluster_options, opened, parse_parameters, shown_name
from cli.errors import CommandError, ExitCode


@dataclass(frozen=True)
class ScheduleRequest:
    """The options of `hares schedule create`, as the command describes them."""

    compiled: Path
    cron: str
    max_concurrent: int
    name: str
    window: int | None
    source: str
    marker: str
    assignments: tuple[str, ...]

    def checked_cron(self, target: str) -> str:
        """When runs start on a target. Raises CommandError for options that are wrong or do not go together."""
        from kubeflow.cron import checked_cron

        try:
            cron = checked_cron(self.cron, target)
        except ValueError as error:
            raise CommandError(str(error), ExitCode.SETTINGS) from error
        if (self.window is None) != (not self.source):
            raise CommandError("--window and --source: give both or neither", ExitCode.SETTINGS)
        return cron

    def pipeline_file(self, folder: Path) -> Path:
        """The file to send: the compiled one, or with --window a copy in `folder` that finds the newest spans first."""
        if self.window is None:
            return self.compiled
        from kubeflow.compiled.file import CompiledFileError, compiled_text, read_compiled, read_documents
        from kubeflow.compiled.newest_spans_step import with_newest_spans

        try:
            read_compiled(self.compiled)
            found = with_newest_spans(read_documents(self.compiled), self.source, self.window, self.marker)
            text = compiled_text(found)
        except CompiledFileError as error:
            raise CommandError(str(error), ExitCode.DATA) from error
        except ValueError as error:
            raise CommandError(str(error), ExitCode.SETTINGS) from error
        sent = folder / self.compiled.name
        sent.write_text(text, encoding="utf-8")
        return sent


@click.group()
def command() -> None:
    """Create, list, pause, resume and delete schedules on a cluster.

    \b
    hares schedule create --target kubeflow --cluster cluster.yaml --cron '0 3 * * *' hares.yaml
    hares schedule list --target kubeflow --cluster cluster.yaml
    hares schedule pause --target kubeflow --cluster cluster.yaml SCHEDULE
    """


@command.command()
@cluster_options
@COMPILED
@click.option("--cron", required=True, help="Minute, hour, day of month, month, day of week: "
              "'0 3 * * *'; on Vertex after a time zone: 'TZ=Europe/Berlin 0 3 * * *'.")  # fmt: skip
@click.option("--max-concurrent", type=click.IntRange(1, 10), default=1, show_default=True,
              help="How many runs may be at work at once.")  # fmt: skip
@click.option("--name", default="", help="Its unique name; by default the file's name.")
@click.option("--window", type=click.IntRange(1), default=None, metavar="N",
              help="Each run takes the N newest spans there are when it starts; needs --source.")  # fmt: skip
@click.option("--source", default="", metavar="PATTERN",
              help="Folders of the spans as the steps see them, with {SPAN} for the number.")  # fmt: skip
@click.option(
    "--marker", default="_SUCCESS", show_default=True, help="File that marks a span's folder as complete."
)
@PARAMETERS
@JSON
def create(target: str, cluster: Path, compiled: Path, as_json: bool, **options: Any) -> None:
    """Run COMPILED on a schedule; repeating the same call changes nothing.

    Runs take the spans that are written in the file. With --window, each run begins with a step that finds the newest
    spans; the file must be compiled with as many (--set pretraining.window=N).

    \b
    hares schedule create --target kubeflow --cluster cluster.yaml --cron '0 3 * * *' --max-concurrent 1 hares.yaml
    hares schedule create --target kubeflow --cluster cluster.yaml --cron '0 3 * * *' \\
        --window 4 --source '/mnt/data/span-{SPAN}' hares.yaml
    """
    from cli.terminal import say

    request = ScheduleRequest(compiled, **options)
    cron = request.checked_cron(target)
    parameters = parse_parameters(request.assignments)
    name = shown_name(request.name, compiled)
    with opened(target, cluster) as service, tempfile.TemporaryDirectory() as folder:
        sent = request.pipeline_file(Path(folder))
        made = service.create_schedule(sent, name, cron, request.max_concurrent, parameters)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(made), indent=1))
    else:
        say(f"schedule {made.schedule_id} ({made.name}): {made.cron}, at most {made.max_concurrent} at once")


@command.command("list")
@cluster_options
@JSON
def list_schedules(target: str, cluster: Path, as_json: bool) -> None:
    """All schedules. Example: hares schedule list --target kubeflow --cluster cluster.yaml."""
    from cli.terminal import say

    with opened(target, cluster) as service:
        found = service.schedules()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(schedule) for schedule in found], indent=1))
        return
    for schedule in found:
        state = "on" if schedule.enabled else "paused"
        say(f"{schedule.schedule_id:<38} {state:<7} {schedule.cron:<16} {schedule.name}")
    if not found:
        click.echo("no schedules")


def _change(verb: str, done: str, text: str) -> None:
    @command.command(
        verb, help=f"{text} Example: hares schedule {verb} --target kubeflow --cluster cluster.yaml ID."
    )
    @cluster_options
    @click.argument("schedule_id", metavar="SCHEDULE")
    @JSON
    def change(target: str, cluster: Path, schedule_id: str, as_json: bool) -> None:
        with opened(target, cluster) as service:
            if verb == "delete":
                service.delete_schedule(schedule_id)
            else:
                service.set_enabled(schedule_id, verb == "resume")
        state = {"schedule_id": schedule_id, "state": done}
        click.echo(json.dumps(state) if as_json else f"schedule {schedule_id}: {done}")


_change("pause", "paused", "Start no runs until it is resumed.")
_change("resume", "resumed", "Go on by the clock; what was missed is not made up for.")
_change("delete", "deleted", "Remove a schedule; its runs stay.")
