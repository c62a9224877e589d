"""Reports in a terminal: the scores of each run, differences on the same clips, and the paper's columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from cli.errors import CommandError, ExitCode, writing_to
from cli.fitted_table import FittedTable
from cli.terminal import Terminal, joined, styled
from hares.atomic_files import write_atomically
from hares.report.bundle import bundle_bytes, is_bundle, load_bundle
from hares.report.page import render_page
from hares.report.paper import paper_tables
from hares.report.runs import REPORT_FILE, Difference, Run, all_entries, differences, load_run
from hares.report.summary import SummaryRow, percent, summary_rows
from hares.task import DOMAINS

_SHORT_REFERENCES = {"table 9": "sf_nfnet_f0_simclr", "table 8": "sf_nfnet_f0_classification"}
_WORKSPACE_REPORTS = ("artifacts", "evaluator", "report")  # `pipeline.workspace.Workspace`


def load_runs(paths: Sequence[Path]) -> list[Run]:
    """Loads the reports of workspaces, folders and bundles, each under a unique name.

    Raises:
        CommandError: there is no report, or it cannot be read.
    """
    try:
        return [_load(path, name) for path, name in zip(paths, _names(paths), strict=True)]
    except ValueError as error:
        raise CommandError(str(error), ExitCode.DATA) from error


def _load(path: Path, name: str) -> Run:
    return load_bundle(path, name) if is_bundle(path) else load_run(_report_folder(path), name)


def _report_folder(path: Path) -> Path:
    if path.is_file():
        path = path.parent
    if (path / REPORT_FILE).is_file():
        return path
    reports = path.joinpath(*_WORKSPACE_REPORTS)
    found = sorted(int(p.parent.name) for p in reports.glob(f"*/{REPORT_FILE}") if p.parent.name.isdigit())
    if not found:
        raise ValueError(
            f"{path}: neither a {REPORT_FILE} in it nor a run that was scored in "
            f"{'/'.join(_WORKSPACE_REPORTS)}. Has `hares run` or `hares evaluate` ended there?"
        )
    return reports / str(found[-1])  # executions count up: the latest


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest unique ends of the paths."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise CommandError("the same run is given twice", ExitCode.SETTINGS)


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Writes the page of all runs."""
    with writing_to(path, "--html"):
        write_atomically(path, render_page(runs))


def write_bundle(runs: Sequence[Path], path: Path) -> str:
    """Writes the only run as a bundle.

    Returns:
        The bundle's SHA-256.

    Raises:
        CommandError: several runs, a bundle, or a run that cannot be bundled.
    """
    if len(runs) != 1 or is_bundle(runs[0]):
        raise CommandError(
            "--bundle takes one run, and a folder, not a bundle; call it once for each", ExitCode.SETTINGS
        )
    try:
        content = bundle_bytes(_report_folder(runs[0]))
    except ValueError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    with writing_to(path, "--bundle"):
        write_atomically(path, content)
    return hashlib.sha256(content).hexdigest()


def show_runs(runs: Sequence[Run], as_json: bool) -> None:
    """Prints everything, as tables or as JSON."""
    compared = list(zip(runs[1:], differences(runs), strict=True))
    if as_json:
        click.echo(json.dumps(_as_json(runs, compared), indent=1, allow_nan=False))
        return
    console = Terminal()
    console.print(_scores(runs))
    for run in runs:
        _print_caveats(console, run)
    for run, rows in compared:
        console.print()
        console.print(
            joined(styled("bold", f"{run.name} minus {runs[0].name}"), ", points, on the same clips")
        )
        console.print(_differences(rows))
    console.print()
    console.print(joined(styled("bold", "The paper's tables"), ", percent"))
    console.print(_paper(runs))


def _scores(runs: Sequence[Run]) -> Table:
    table = _table("task", *(run.name for run in runs), "chance", "untrained", *_SHORT_REFERENCES, "clips")
    by_name: dict[str, list[SummaryRow | None]] = {}
    for place, run in enumerate(runs):
        for row in summary_rows(run.report):  # a task of one's own may be in some of the runs alone
            by_name.setdefault(row.name, [None] * len(runs))[place] = row
    for rows in by_name.values():
        first = next(row for row in rows if row is not None)
        style = "bold" if first.kind in ("domain", "hares") else ""
        own = [percent(row.value) + _bounds(row.interval) if row else "–" for row in rows]
        clips = "" if first.clips is None else f"{first.clips}/{first.expected_clips or '?'}"
        paper = (percent(first.paper[name]) for name in _SHORT_REFERENCES.values())
        table.add_row(
            first.name,
            *own,
            percent(first.chance),
            percent(first.untrained),
            *paper,
            clips,
            style=style,
        )
    return table


def _bounds(interval: tuple[float, float] | None) -> str:
    return f" ({percent(interval[0])}-{percent(interval[1])})" if interval else ""


def _print_caveats(console: Terminal, run: Run) -> None:
    """Prints why a run's scores cannot be compared with the paper's, in a few lines."""
    report, entries = run.report, all_entries(run.report)
    scored = report["partial_mean"]["scored_tasks"]
    notes = [f"protocol {report['protocol']['name']}"]
    if report["hares"] is None:
        notes.append(
            f"{scored} of {report['partial_mean']['of_tasks']} tasks scored, mean "
            f"{percent(report['partial_mean']['hares'])}"
        )
    short = [
        f"{name} {entry['manifest']['present']}/{entry['manifest']['expected']}"
        for name, entry in entries.items()
        if entry["manifest"] and entry["manifest"]["present"] < entry["manifest"]["expected"]
    ]
    leaks = [name for name, entry in entries.items() if entry["leakage"]["verdict"] == "leak"]
    ours = [name for name, entry in entries.items() if entry["split_official"] is False]
    for what, names in (("clips missing", short), ("leakage", leaks), ("split not the paper's", ours)):
        if names:
            notes.append(f"{what}: {', '.join(names)}")
    console.print(f"{run.name}: {'; '.join(notes)}", soft_wrap=True)


def _differences(rows: Sequence[Difference]) -> Table:
    table = _table("task", "difference", "95% interval", "p")
    for row in rows:
        if row.paired:
            found = row.paired
            texts = (
                f"{100 * found.difference:+.1f}",
                f"{100 * found.low:+.1f} to {100 * found.high:+.1f}",
                "<0.001" if found.p_value < 0.001 else f"{found.p_value:.3f}",
            )
        else:
            plain = row.first is not None and row.second is not None
            texts = (f"{100 * ((row.second or 0) - (row.first or 0)):+.1f}" if plain else "–", row.note, "")
        table.add_row(row.name, *texts, style="bold" if row.kind in ("domain", "hares") else "")
    return table


def _paper(runs: Sequence[Run]) -> Table:
    table = _table("system", "table", *DOMAINS, "HARES")
    for run in runs:
        values = (*(run.report["domains"][domain] for domain in DOMAINS), run.report["hares"])
        table.add_row(run.name, "this run", *map(percent, values), style="bold")
    for name, columns in paper_tables().items():
        for column in columns:
            values = (*(column["domains"][domain] for domain in DOMAINS), column["hares"])
            printed = ("–" if value is None else f"{value:.1f}" for value in values)
            table.add_row(column["system"], name.removeprefix("table"), *printed)
    return table


def _table(*columns: str) -> Table:
    table = FittedTable()
    for name in columns:
        left = name in ("task", "system", "table")
        table.add_column(name, justify="left" if left else "right", no_wrap=name == "task")
    return table


def _as_json(runs: Sequence[Run], compared: Sequence[tuple[Run, Sequence[Difference]]]) -> dict[str, Any]:
    return {
        "runs": [
            {
                "name": run.name,
                "protocol": run.report["protocol"]["name"],
                "encoder": run.report["encoder"].get("name", ""),
                "hares": run.report["hares"],
                "domains": run.report["domains"],
                "intervals": run.report["intervals"],
                "tasks": {
                    name: {
                        key: entry[key] for key in ("value", "interval", "chance", "untrained", "manifest")
                    }
                    for name, entry in all_entries(run.report).items()
                },
                "own_tasks": list(run.report.get("own_tasks", {})),
            }
            for run in runs
        ],
        "differences": [
            {
                "run": run.name,
                "against": runs[0].name,
                "rows": [
                    {
                        "kind": row.kind,
                        "name": row.name,
                        "difference": row.paired.difference if row.paired else None,
                        "interval": [row.paired.low, row.paired.high] if row.paired else None,
                        "p_value": row.paired.p_value if row.paired else None,
                        "note": row.note,
                    }
                    for row in rows
                ],
            }
            for run, rows in compared
        ],
        "paper": paper_tables(),
    }
