"""The report as one self-contained HTML page: no script, no network, readable on a telephone, light and dark.

All text goes through the template's automatic escaping: names of clips and classes come from files anyone
may have named. A content security policy forbids the page everything but its own styles and inline pictures.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from hares.report.mistakes import worst_mistakes
from hares.report.paper import paper_tables
from hares.report.runs import Run, all_entries, differences
from hares.report.summary import percent, summary_rows
from hares.task import DOMAINS

DATA_FILES = ("hares/report/page.html.j2", "hares/report/parts.html.j2", "hares/report/style.css.j2")
CLASSES_SHOWN = 70  # above, the worst and the best half of it


def render_page(runs: Sequence[Run]) -> str:
    """The page of one report, or of several side by side.

    Args:
        runs: at least one; the others are set against the first.

    Returns:
        HTML.
    """
    first = runs[0]
    return page_template("page.html.j2").render(
        runs=[_run_view(run) for run in runs],
        title=", ".join(run.name for run in runs),
        references=[(name, column["title"]) for name, column in first.report["paper"].items()],
        charts=_charts(runs),
        comparisons=list(zip(runs[1:], differences(runs), strict=True)),
        tables=paper_tables(),
        domains=DOMAINS,
        choices=first.report["protocol"]["choices"],
    )


def page_template(name: str) -> jinja2.Template:
    """A template of this folder, which escapes all text it is given."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, points=_points)
    return environment.get_template(name)


def _run_view(run: Run) -> dict[str, Any]:
    """What the template shows of one run."""
    tasks = {
        name: {
            **entry,
            "mistakes": _mistakes(run, name),
            "classes_shown": _classes_shown(entry["per_class"]),
        }
        for name, entry in all_entries(run.report).items()
    }
    everywhere = set.intersection(*(set(entry["deviations"]) for entry in tasks.values()))
    return {
        "name": run.name,
        "report": run.report,
        "rows": summary_rows(run.report),
        "tasks": tasks,
        "deviations": sorted(everywhere),
    }


def _mistakes(run: Run, task: str) -> list[dict[str, Any]]:
    if task not in run.predictions:
        return []
    pictures = run.pictures.get(task, {})
    return [
        {
            "clip": mistake.clip_id,
            "truth": mistake.truth,
            "answer": mistake.answer,
            "picture": base64.b64encode(pictures[mistake.clip_id]).decode()
            if mistake.clip_id in pictures
            else "",
        }
        for mistake in worst_mistakes(run.predictions[task])
    ]


def _classes_shown(classes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Classes from the worst to the best; of very many, those at both ends."""
    ordered = sorted(classes, key=lambda row: (row["score"], row["name"]))
    if len(ordered) <= CLASSES_SHOWN:
        return ordered
    return ordered[: CLASSES_SHOWN // 2] + ordered[-CLASSES_SHOWN // 2 :]


def _charts(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """A chart each of HARES and the domains: the runs, then the paper's columns."""
    charts = []
    for name in ("hares", *DOMAINS):
        bars = []
        for number, run in enumerate(runs):
            report = run.report
            value = report["hares"] if name == "hares" else report["domains"][name]
            partial = value is None
            bounds = report["intervals"]["hares"] if name == "hares" else report["intervals"]["domains"][name]
            bars.append(
                {
                    "label": run.name + (" (of the tasks scored)" if partial else ""),
                    "value": report["partial_mean"][name] if partial else value,
                    "interval": bounds,
                    "kind": f"run{number % 4}",
                }
            )
        for column in runs[0].report["paper"].values():
            value = column["hares"] if name == "hares" else column["domains"][name]
            bars.append({"label": column["title"], "value": value, "interval": None, "kind": "paper"})
        charts.append({"title": "HARES" if name == "hares" else name.capitalize(), "bars": bars})
    return charts


def _points(value: float) -> str:
    """A difference of fractions in points of percent, with its sign."""
    return f"{100 * value:+.1f}"
