"""`hares schedule`: scheduled runs on a cluster."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.cluster import JSON, PARAMETERS, cluster_options, opened, parse_parameters, shown_name
from cli.errors import CommandError, ExitCode

if TYPE_CHECKING:
    from kubeflow.clusters import ClusterKind


_OWN = ("pretraining.source", "pretraining.span", "pretraining.window")  # settings of a run for a span


@dataclass(frozen=True)
class ScheduleRequest:
    """The options of `hares schedule create`, as the command describes them."""

    target: str
    cluster: Path
    words: tuple[str, ...]
    cron: str
    max_concurrent: int
    name: str
    window: int
    source: str
    marker: str
    assignments: tuple[str, ...]

    def checked_cron(self) -> str:
        """When runs start. Raises CommandError for options that are wrong or do not go together."""
        from kubeflow.cron import checked_cron

        try:
            cron = checked_cron(self.cron, self.target)
        except ValueError as error:
            raise CommandError(str(error), ExitCode.SETTINGS) from error
        if not self.source and (self.window != 1 or len(self.words) != 1):
            raise CommandError(
                "give one compiled file; or --source, and the options of `hares compile` after --",
                ExitCode.SETTINGS,
            )
        if self.source and not self.name:
            raise CommandError(
                "--name: is missing; with --source no file's name stands for it", ExitCode.SETTINGS
            )
        if self.source and (self.assignments or self.max_concurrent != 1):
            raise CommandError(
                "--parameter and --max-concurrent mean nothing with --source: each run is compiled for its span, and "
                "waits for the one before",
                ExitCode.SETTINGS,
            )
        return cron

    def pipeline_file(self, folder: Path) -> Path:
        """The file to send: the compiled one; with --source one in `folder` that looks for spans."""
        if not self.source:
            compiled = Path(self.words[0])
            if not compiled.is_file():
                raise CommandError(f"{compiled}: there is no such file", ExitCode.SETTINGS)
            return compiled
        from kubeflow.cluster_file import load_cluster
        from pipeline.settings import read_yaml

        target: ClusterKind = "vertex" if self.target == "vertex" else "kubeflow"
        try:
            settings = load_cluster(self.cluster, target)
            content = read_yaml(self.cluster, f"--cluster {self.cluster}")
            self._check_words(settings.workspace, list(settings.volumes.values()))
            from kubeflow.compiled.scheduled_watch import watch_pipeline, watch_words

            words = watch_words(target, self.source, self.window, self.marker, settings.workspace)
            text = watch_pipeline(settings, content, [*words, *self.words])
        except ValueError as error:
            raise CommandError(str(error), ExitCode.SETTINGS) from error
        sent = folder / f"{self.name}.compiled"
        sent.write_text(text, encoding="utf-8")
        return sent

    def _check_words(self, workspace: str, mounted: list[str]) -> None:
        """Tries what can be tried here of the options that a pod will give to `hares compile`.

        Raises:
            SettingError: a setting is wrong, or its file is on no volume.
            ValueError: the pattern of the spans is.
        """
        from cli.commands.compile import command as compile_command
        from hares.buckets import is_address
        from hares.folder import spans
        from pipeline.config import load_config
        from pipeline.settings import SettingError

        spans(self.source)
        given = ["--target", self.target, "--cluster", str(self.cluster), "--output", "o", *self.words]
        try:
            options = compile_command.make_context("hares compile", given).params
        except click.UsageError as error:
            raise SettingError(f"after --: {error.format_message()}") from error
        if (
            options["output"] != Path("o")
            or options["target"] != self.target
            or options["cluster"] != self.cluster
        ):
            raise SettingError("after --: --target, --cluster and --output are given by the step itself")
        for setting in options["assignments"]:
            if setting.partition("=")[0] in _OWN:
                raise SettingError(f"after --: {setting}: the step itself gives {', '.join(_OWN)}")
        config = load_config(options["name"], (f"pretraining.source={self.source}", *options["assignments"]))
        places = [("--config", options["name"])] if Path(options["name"]).is_file() else []
        places += [("--corpus", value.rpartition("=")[2]) for value in options["corpora"]]
        places += [("plugins", str(plugin)) for plugin in config.plugins]
        seen = [*mounted, *(["/gcs"] if self.target == "vertex" else [])]
        for option, place in (*places, ("--source", self.source), ("workspace", workspace)):
            if not is_address(place) and not any(Path(place).is_relative_to(path) for path in seen):
                raise SettingError(
                    f"{option} {place}: no pod sees it; give the path below {' or '.join(seen) or 'a volume'}"
                )


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
@click.argument("words", metavar="COMPILED | -- OPTIONS", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--cron", required=True, help="Minute, hour, day of month, month, day of week: "
              "'0 3 * * *'; on Vertex after a time zone: 'TZ=Europe/Berlin 0 3 * * *'.")  # fmt: skip
@click.option("--max-concurrent", type=click.IntRange(1, 10), default=1, show_default=True,
              help="How many runs may be at work at once.")  # fmt: skip
@click.option("--name", default="", help="Its unique name; by default the file's name.")
@click.option("--source", default="", metavar="PATTERN",
              help="Folders of the spans as the pods see them, with {SPAN} for the number.")  # fmt: skip
@click.option("--window", type=click.IntRange(1, 32), default=1, show_default=True, metavar="N",
              help="With --source, how many of the newest spans each run takes.")  # fmt: skip
@click.option(
    "--marker", default="_SUCCESS", show_default=True, help="File that marks a span's folder as complete."
)
@PARAMETERS
@JSON
def create(as_json: bool, **options: Any) -> None:
    """Run COMPILED on a schedule, or with --source a run for every span that has arrived. Repeating it changes nothing.

    A compiled file's runs take the spans, the baseline and the model to start from that are written in it. With
    --source the cluster looks for complete spans by the clock, and for each compiles and submits a run with OPTIONS,
    those of `hares compile`. So each run knows the latest blessed model. The next waits for it.

    \b
    hares schedule create --target kubeflow --cluster cluster.yaml --cron '0 3 * * *' --max-concurrent 1 hares.yaml
    hares schedule create --target kubeflow --cluster cluster.yaml --cron '0 * * * *' --name nightly \\
        --source '/mnt/data/span-{SPAN}' --window 2 -- --config paper_simclr --corpus /mnt/data/corpora \\
        --set pretraining.warm_start=latest_blessed
    """
    from cli.terminal import say

    request = ScheduleRequest(**options)
    cron = request.checked_cron()
    parameters = parse_parameters(request.assignments)
    with tempfile.TemporaryDirectory() as folder:
        sent = request.pipeline_file(Path(folder))
        name = shown_name(request.name, sent)
        with opened(request.target, request.cluster) as service:
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
