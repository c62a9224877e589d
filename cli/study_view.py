"""A study in a terminal: the scores beside the paper's, AudioSet's correlations, and the paper's claims."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from hares.report.summary import percent
from hares.task import DOMAINS

_PIPED_WIDTH = 180
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
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPED_WIDTH)  # a pipe has no width; 80 would cut names
    console.print(_scores(study["cells"]))
    console.print(
        "\n[bold]AudioSet's correlation[/] over encoders: Pearson, its 95% interval, and how many encoders"
    )
    console.print(_correlations(study["correlations"]))
    for claim in study["claims"]:
        console.print(f"\n[bold]{escape(claim['title'])}?[/] Points, on the same test clips")
        console.print(_claim(claim) if claim["pairs"] else "no two cells of this study speak to it")


def _scores(cells: list[Mapping[str, Any]]) -> Table:
    table = _table(
        "encoder", "objective", "parameters", *_SHORT.values(), *(f"paper's {t}" for t in _SHORT.values())
    )
    for cell in cells:
        start = (escape(cell["encoder"]), escape(cell["objective"]), f"{cell['parameters'] / 1e6:.1f}m")
        if cell["scores"] is None:
            table.add_row(*start, "[red]failed[/]" if cell["state"] == "failed" else "not run yet")
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
    table = _table("pair", *_SHORT_MEANS, *(f"paper's {title}" for title in _SHORT_MEANS))
    for pair in claim["pairs"]:
        rows = pair["scores"].values()
        table.add_row(
            escape(f"{pair['second']} - {pair['first']}"),
            *map(_difference, rows),
            *(_points(r["paper"]) for r in rows),
        )
    rows = claim["mean"].values()
    table.add_row("mean", *map(_difference, rows), *(_points(r["paper"]) for r in rows), style="bold")
    table.add_row(
        "above in",
        *(f"{r['above']} of {r['pairs']}" for r in rows),
        *(f"{r['paper_above']} of {r['paper_pairs']}" for r in rows),
    )
    return table


_SHORT_MEANS = tuple(title for name, title in _SHORT.items() if name != "audioset")


def _difference(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return "–"
    low, high = row["interval"]
    return f"{_points(row['difference'])} ({_points(low)} to {_points(high)})"


def _points(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:+.1f}"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        left = name in ("encoder", "objective", "pair", "AudioSet with")
        table.add_column(name, justify="left" if left else "right", no_wrap=name in ("encoder", "pair"))
    return table
