"""Answers of `hares lineage` in a terminal, or as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from cli.errors import CommandError, ExitCode, store_failures
from cli.fitted_table import FittedTable
from cli.terminal import Terminal, lines, say, to_a_terminal

if TYPE_CHECKING:
    from ml_metadata.metadata_store import MetadataStore

    from pipeline.lineage.connection import StoreAddress
    from pipeline.lineage.diff import RunDifference
    from pipeline.lineage.runs import RunSummary
    from pipeline.lineage.trace import Trace

_SHOWN_CLIPS = 5
_DIGEST = 12  # digits of a digest that a person compares
_FACTS = (
    "status",
    "start",
    "end",
    "user",
    "target",
    "preset",
    "git_revision",
    "git_clean",
    "lock_digest",
    "config_digest",
)


def show_trace(address: StoreAddress, what: str, run_name: str, only_clips: bool, as_json: bool) -> None:
    """Prints a trace."""
    from pipeline.lineage.targets import find_target
    from pipeline.lineage.trace import clip_data, trace, trace_data

    with answering(address) as store:
        found = trace(store, find_target(store, what, run_name))
        if as_json:
            _print_with_clips(trace_data(found), (clip_data(clip) for clip in found.clips()))
        elif only_clips:
            _print_checksums(found)
        else:
            _print_trace(found)


def show_impact(address: StoreAddress, what: str, as_json: bool) -> None:
    """Prints an impact."""
    from pipeline.lineage.impact import impact_data, impact_of_artifact, impact_of_file
    from pipeline.lineage.targets import artifact_at

    with answering(address) as store:
        artifact = None if what.isdecimal() else artifact_at(store, what)
        if what.isdecimal() and not store.get_artifacts_by_id([int(what)]):
            raise LookupError(f"artifact {what}: the store has none with this id")
        if what.isdecimal() or artifact is not None:
            found = impact_of_artifact(store, artifact.id if artifact is not None else int(what))
        else:
            found = impact_of_file(store, what)
        if as_json:
            _print_json(impact_data(found))
            return
        console = Terminal()
        for manifest, clips in found.clips.items():
            for clip in clips:
                console.print(f"clip {clip.clip_id} ({clip.split}) of manifest {manifest}, {clip.sha256}")
        types = dict.fromkeys(a.type for a in found.graph.artifacts.values())
        for name in sorted(types):
            for made in found.of_type(name):
                where = found.made_in.get(made.id)
                console.print(
                    f"{name:<26} {made.id:>6}  {made.uri}" + (f"  made in run {where}" if where else ""),
                    soft_wrap=True,
                )
        console.print(f"used by {len(found.runs)} run(s): {', '.join(found.runs)}", soft_wrap=True)
        for manifest_artifact in found.unread:
            console.print(f"not read, gone from the disk: {manifest_artifact.uri}", soft_wrap=True)


def show_why(address: StoreAddress, run: str, as_json: bool) -> None:
    """Prints why a run ended as it did."""
    from pipeline.lineage.runs import find_run
    from pipeline.lineage.why import why, why_data

    with answering(address) as store:
        found = why(store, find_run(store, run))
        if as_json:
            _print_json(why_data(found))
            return
        console = Terminal()
        verdict = {
            None: "has no verdict: its evaluator did not end",
            True: "was blessed",
            False: "was not blessed",
        }
        console.print(f"run {found.run.run_id}: the model {verdict[found.blessed]}", soft_wrap=True)
        for reason in found.reasons:
            console.print(f"  {reason}", soft_wrap=True)
        if found.baseline:
            console.print(f"  held against run {found.baseline}")
        table = _table("step", "outcome", "why")
        for step in found.steps:
            table.add_row(step.node, step.outcome, lines(*step.reasons))
        console.print(table)


def show_diff(address: StoreAddress, first: str, second: str, as_json: bool) -> None:
    """Prints what differs between two runs."""
    from pipeline.lineage.diff import diff, diff_data, paired_scores
    from pipeline.lineage.runs import find_run

    with answering(address) as store:
        found = diff(store, find_run(store, first), find_run(store, second))
        scores = paired_scores(found)
        if as_json:
            _print_json(diff_data(found, scores))
        else:
            _print_diff(found, scores)


def show_runs(address: StoreAddress, conditions: Mapping[str, Any], limit: int, as_json: bool) -> None:
    """Prints runs that meet the fields of a `RunFilter`; its moments are given as text."""
    from pipeline.lineage.runs import RunFilter, list_runs, parse_moment
    from pipeline.lineage.trace import run_data

    with answering(address) as store:
        given: dict[str, Any] = {name: value for name, value in conditions.items() if value}
        given.update((name, parse_moment(given[name])) for name in ("since", "until") if name in given)
        wanted = RunFilter(**given)
        found = list_runs(store, wanted, limit)
        if as_json:
            _print_list(run_data(run) for run in found)
            return
        Terminal().print(_runs_table(list(found)))


def show_export(address: StoreAddress, run: str, form: str, as_json: bool) -> None:
    """Prints a run for other tools."""
    from pipeline.lineage.export import openlineage, prov
    from pipeline.lineage.runs import find_run

    with answering(address) as store:
        summary = find_run(store, run)
        if form == "prov":
            _print_json(prov(store, summary))
        elif as_json:
            _print_json(openlineage(store, summary))
        else:
            for event in openlineage(store, summary):
                click.echo(json.dumps(event))


@contextmanager
def answering(address: StoreAddress) -> Iterator[MetadataStore]:
    """The store inside the block; what is missing or unreadable becomes exit code 4, a wrong filter 3."""
    try:
        with store_failures():
            yield address.open()
    except LookupError as error:
        raise CommandError(str(error.args[0] if error.args else error), ExitCode.DATA) from error
    except ValueError as error:
        raise CommandError(str(error), ExitCode.SETTINGS) from error
    except OSError as error:  # a path in the store that no file can have, or one that we may not read
        raise CommandError(f"{error.filename}: {error.strerror}", ExitCode.DATA) from error


def _print_trace(found: Trace) -> None:
    from pipeline.lineage.trace import properties_of

    console = Terminal()
    target = found.target
    if target.score:
        interval = (
            "" if target.low is None else f", 95% interval {_percent(target.low)} to {_percent(target.high)}"
        )
        console.print(
            f"{target.score} {_percent(target.value)}{interval}, in {target.artifact.uri}",
            soft_wrap=True,
        )
    else:
        console.print(f"{target.artifact.type} {target.artifact.id}, {target.artifact.uri}", soft_wrap=True)
    for model in (a for a in found.graph.artifacts.values() if a.type == "Model"):
        facts = properties_of(model)
        shown = ("encoder", "objective", "steps", "seed", "weights_digest", "hardware", "step_hours")
        console.print(
            "model " + ", ".join(f"{name} {facts[name]}" for name in shown if name in facts), soft_wrap=True
        )
    table = _table("step", "made by run", "execution", "code")
    for traced in found.steps:
        settings = properties_of(traced.step.execution)
        run = found.runs.get(traced.run_id)
        code = str(settings.get("code_digest") or (run.code.get(traced.node, "") if run else ""))
        table.add_row(traced.node, traced.run_id, str(traced.step.id), code[:_DIGEST])
    console.print(table)
    for run in found.runs.values():
        listed = (f"  {name} {run.facts[name]}" for name in _FACTS if name in run.facts)
        console.print(lines(f"run {run.run_id}", *listed), soft_wrap=True)
    for manifest in found.manifests:
        _print_manifest(console, manifest)


def _print_manifest(console: Terminal, manifest: Any) -> None:
    from pipeline.lineage.clips import source_clips

    console.print(f"source {manifest.uri}", soft_wrap=True)
    for name in ("source", "content_digest", "used", "rejected"):
        if name in manifest.custom_properties:
            value = manifest.custom_properties[name]
            console.print(f"  {name} {getattr(value, value.WhichOneof('value'))}", soft_wrap=True)
    for number, clip in enumerate(source_clips(manifest.uri)):
        if number == _SHOWN_CLIPS:
            console.print("  ... all with --clips")
            break
        console.print(f"  {clip.sha256}  {clip.path or clip.clip_id}", soft_wrap=True)


def _print_checksums(found: Trace) -> None:
    """Prints each source file once, in the form that `sha256sum --check` reads."""
    seen: set[str] = set()
    for clip in found.clips():
        if clip.path and clip.path not in seen:
            seen.add(clip.path)
            line = _checksum_line(clip.path.encode("utf-8", "surrogateescape"), clip.sha256)
            if to_a_terminal():
                say(os.fsdecode(line))
            else:
                click.echo(line)


def _checksum_line(path: bytes, sha256: str) -> bytes:
    """GNU's form: if a path has a backslash or a line break it is escaped, and the line starts with a backslash."""
    escaped = path.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    return (b"\\" if escaped != path else b"") + f"{sha256}  ".encode() + escaped


def _print_diff(found: RunDifference, scores: list[dict[str, Any]]) -> None:
    console = Terminal()
    console.print(f"first   run {found.first.run_id}", soft_wrap=True)
    console.print(f"second  run {found.second.run_id}", soft_wrap=True)
    if found.config is None:
        console.print("settings: not recorded of both runs")
    for title, rows in (("settings", found.config or []), ("code", found.code)):
        if rows:
            table = _table(title, "first", "second")
            for name, a, b in rows:
                table.add_row(name, _shown(a), _shown(b))
            console.print(table)
        elif title == "code" or found.config is not None:
            console.print(f"{title}: no difference")
    _print_data(console, found)
    if scores:
        table = _table("score", "first", "second", "difference", "95% interval", "p", "note")
        for row in scores:
            paired = row["paired"]
            table.add_row(
                row["name"], _percent(row["first"]), _percent(row["second"]),
                f"{100 * paired['difference']:+.1f}" if paired else "-",
                f"{100 * paired['low']:+.1f} to {100 * paired['high']:+.1f}" if paired else "",
                f"{paired['p_value']:.3f}" if paired else "",
                row["note"],
            )  # fmt: skip
        console.print(table)


def _print_data(console: Terminal, found: RunDifference) -> None:
    if not found.data:
        console.print("clips: no difference")
    for part in found.data:
        if not part.before or not part.after:
            console.print(f"clips of {part.node}: only in the {'second' if part.after else 'first'} run")
            continue
        console.print(f"clips of {part.node}: {len(part.changes)} differ")
        for change in part.changes:
            clip = change.after or change.before
            digests = [c.sha256[:_DIGEST] for c in (change.before, change.after) if c is not None]
            path = (clip.path if clip else "") or change.clip_id
            console.print(
                f"  {change.what:<8}{path} ({change.split})  {' -> '.join(digests)}", soft_wrap=True
            )


def _runs_table(found: Sequence[RunSummary]) -> Table:
    names = list(dict.fromkeys(name for run in found for name in run.scores))
    names.sort(key=lambda name: name != "hares")
    table = _table("run", "status", "encoder", "objective", "preset", "blessed", *names)
    for run in found:
        facts = [run.facts.get(name, "-") for name in ("status", "encoder", "objective", "preset")]
        blessed = {None: "-", True: "yes", False: "no"}[run.blessed]
        table.add_row(run.run_id, *facts, blessed, *(_percent(run.scores.get(name)) for name in names))
    return table


def _print_with_clips(data: dict[str, Any], clips: Iterator[dict[str, Any]]) -> None:
    """Prints one JSON document; its clips are written as they are read, since there may be millions."""
    text = json.dumps(data, indent=1)
    click.echo(text[:-2] + ',\n "clips": [', nl=False)
    for number, clip in enumerate(clips):
        click.echo(("," if number else "") + "\n  " + json.dumps(clip), nl=False)
    click.echo("\n ]\n}")


def _print_list(rows: Iterator[dict[str, Any]]) -> None:
    """Prints a JSON list, one row per line, as it is read."""
    click.echo("[", nl=False)
    for number, row in enumerate(rows):
        click.echo(("," if number else "") + "\n" + json.dumps(row, allow_nan=False), nl=False)
    click.echo("\n]")


def _print_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=1, allow_nan=False))


def _table(*columns: str) -> Table:
    table = FittedTable()
    for name in columns:
        table.add_column(name)
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _shown(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 64 else f"{text[:61]}..."
