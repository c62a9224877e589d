"""A study in a terminal: the scores beside the paper's, AudioSet's correlations, and the paper's claims."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from cli.fitted_table import FittedTable
from cli.terminal import Terminal, joined, styled
from hares.report.summary import percent
from hares.task import DOMAINS

_PIPED_WIDTH = 220
_SCORES = (*DOMAINS, "hares", "audioset")
_SHORT = {
    "environment": "Env.",
    "speech": "Speech",
    "music": "Music",
    "hares": "HARES",
    "audioset": "AudioSet",
}


def show_study(study: Mapping[str, Any]) -> None:
    """Prints everything."""
    console = Terminal(width=_PIPED_WIDTH)
    console.print(_scores(study["cells"]))
    console.print()
    of = styled("bold", "AudioSet's correlation")
    console.print(joined(of, " over encoders: Pearson, its 95% interval, and how many encoders"))
    console.print(_correlations(study["correlations"]))
    for claim in study["claims"]:
        console.print()
        console.print(joined(styled("bold", f"{claim['title']}?"), " Points, on the same test clips"))
        console.print(_claim(claim) if claim["pairs"] else "no two cells of this study speak to it")


def _scores(cells: list[Mapping[str, Any]]) -> Table:
    table = _table(
        "encoder", "objective", "parameters", *_SHORT.values(), *(f"paper's {t}" for t in _SHORT.values())
    )
    for cell in cells:
        start = (cell["encoder"], cell["objective"], f"{cell['parameters'] / 1e6:.1f}m")
        if cell["scores"] is None:
            table.add_row(*start, styled("red", "failed") if cell["state"] == "failed" else "not run yet")
            continue
        own = [percent(cell["scores"][name]) for name in _SCORES]
        bounds = cell["intervals"]["hares"]
        if bounds:
            own[_SCORES.index("hares")] += f" ({percent(bounds[0])}-{percent(bounds[1])})"
        elif cell["scores"]["hares"] is None:
            own[_SCORES.index("hares")] = f"{cell['scored_tasks']} of {cell['of_tasks']} tasks"
        paper = [percent(cell["paper"][name]) if cell["paper"] else "–" for name in _SCORES]
        table.add_row(*start, *own, *paper)
    return table


def _correlations(rows: list[Mapping[str, Any]]) -> Table:
    table = _table("objective", "AudioSet with", "this study", "Spearman", "paper's numbers")
    for row in rows:
        spearman = f"{row['found']['spearman']:+.2f}" if row["found"] else "–"
        table.add_row(
            row["objective"], _SHORT[row["with"]], _pearson(row["found"]), spearman, _pearson(row["paper"])
        )
    return table


def _pearson(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "–"
    bounds = found["interval"]
    interval = f" ({bounds[0]:+.2f} to {bounds[1]:+.2f})" if bounds else ""
    return f"{found['pearson']:+.2f}{interval}, {found['count']}"


def _claim(claim: Mapping[str, Any]) -> Table:
    titles = [_SHORT[name] for name in claim["mean"]]
    table = _table("pair", *titles, "paper's")
    for pair in claim["pairs"]:
        rows = pair["scores"].values()
        title = f"{pair['second']} - {pair['first']}"
        table.add_row(title, *map(_difference, rows), _papers(rows))
    rows = claim["mean"].values()
    table.add_row("mean", *map(_difference, rows), _papers(rows), style="bold")
    above = " ".join(f"{row['paper_above']} of {row['paper_pairs']}," for row in rows).rstrip(",")
    table.add_row("above in", *(f"{row['above']} of {row['pairs']}" for row in rows), above)
    return table


def _papers(rows: Iterable[Mapping[str, Any]]) -> str:
    return " ".join(_points(row["paper"]) for row in rows)


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return "–"
    low, high = row["interval"]
    return f"{_points(row['difference'])} ({_points(low)} to {_points(high)})"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _table(*columns: str) -> Table:
    table = FittedTable()
    for name in columns:
        left = name in ("encoder", "objective", "pair", "AudioSet with")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    return table
