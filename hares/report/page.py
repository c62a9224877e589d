"""The report as one self-contained HTML page: no script, no network, readable on a telephone, light and dark.

All text goes through the template's automatic escaping: names of clips and classes come from files anyone
may have named.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from hares.predictions import Predictions
from hares.report.summary import percent, summary_rows

MISTAKES_SHOWN = 5


def render_page(report: Mapping[str, Any], predictions: Mapping[str, Predictions]) -> str:
    """The page of a report.

    Args:
        report: made by `hares.scoring.build_report`.
        predictions: by task name, of the tasks that were scored.

    Returns:
        HTML.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = percent
    source = resources.files("hares.report").joinpath("page.html.j2").read_text("utf-8")
    return environment.from_string(source).render(
        report=report,
        rows=summary_rows(report),
        encoder=str(report["encoder"].get("name", "encoder")),
        references=[(name, column["title"]) for name, column in report["paper"].items()],
        mistakes={name: _mistakes(answers) for name, answers in predictions.items()},
    )


def _mistakes(answers: Predictions) -> list[dict[str, str]]:
    """The wrong answers given with the highest scores: where a listener should look first."""
    if answers.metric == "mAP":
        return []
    wrong = np.flatnonzero(~answers.correct())
    chosen = answers.answers()
    surest = wrong[np.argsort(-answers.scores[wrong].max(axis=1), kind="stable")][:MISTAKES_SHOWN]
    return [
        {
            "clip": answers.clip_ids[clip],
            "truth": _named(answers, answers.labels[clip]),
            "answer": _named(answers, tuple(int(label) for label in chosen[clip])),
        }
        for clip in surest
    ]


def _named(answers: Predictions, labels: tuple[int, ...]) -> str:
    return ", ".join(slot.classes[label] for slot, label in zip(answers.slots, labels, strict=True))
