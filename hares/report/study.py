"""What a study says: table 2 of the paper, made again from the reports of its cells.

Three of the paper's claims are put to its cells, each as pairs of cells that differ in one thing, compared on the same
test clips:

- "On the speech and music benchmarks SimCLR leads to better generalization across architectures" (section 3.1): one
  encoder by both objectives.
- Slowfast encoders score above their plain siblings (section 3.1): one objective, `resnet50` and `nfnet`.
- Without normaliser is not below (section 3.2, table 3): one objective, `sf_nf_resnet50` against each normaliser.

And one that is a correlation over encoders: "AudioSet does not correlate with our HARES benchmark - it aligns with the
overall score on the environment sub-suite". What is found is reported as it is, with its interval, beside what the same
computation gives on the numbers that the paper prints.

All scores are fractions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from hares.predictions import Answers
from hares.report.page import page_template
from hares.report.paper import PaperRow
from hares.report.runs import Run, compare, resampled_run
from hares.statistics import (
    CONFIDENCE,
    PairedDifference,
    Resampled,
    difference_of,
    mean_of,
    paired_difference,
)
from hares.task import DOMAINS, task_names

DATA_FILES = ("hares/report/study.html.j2", "hares/report/parts.html.j2", "hares/report/style.css.j2")
SCORES = (*DOMAINS, "hares")
_TITLES = {name: name.capitalize() for name in DOMAINS} | {"hares": "HARES", "audioset": "AudioSet"}
_FEWEST = 3  # points that have a correlation worth the name

_PAIRED_OBJECTIVES = ("classification", "simclr")
_SLOWFAST = (("resnet50", "sf_resnet50_bn"), ("nfnet", "sf_nfnet"))
_NORMALISERS = tuple((f"sf_resnet50_{name}", "sf_nf_resnet50") for name in ("bn", "ln", "in"))
_SIZES = ("", "_f0", "_tiny")  # how names of one architecture end


@dataclass(frozen=True)
class StudyCell:
    """One cell of a study.

    Attributes:
        name: of the cell.
        encoder, objective: what it trained.
        parameters: of the encoder, without any head.
        row: what the paper prints of it, or None.
        run: its report and predictions; None where it has none.
        error: why it failed, "" where it did not.
        seconds: how long it took; None where it has not run.
    """

    name: str
    encoder: str
    objective: str
    parameters: int
    row: PaperRow | None
    run: Run | None
    error: str = ""
    seconds: float | None = None

    @property
    def state(self) -> str:
        """Whether it is "done", "failed" or "pending"."""
        return "done" if self.run is not None else "failed" if self.error else "pending"


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims, as pairs of cells: the second should score above the first."""

    name: str
    title: str
    pairs: tuple[tuple[StudyCell, StudyCell], ...]


def build_study(name: str, cells: Sequence[StudyCell]) -> dict[str, Any]:
    """The whole study as plain data, which JSON can hold.

    Args:
        name: the study's.
        cells: all of them, in the order of the table.

    Returns:
        `name`; `cells`, each with its scores and the paper's; `correlations`; and `claims`, each with its pairs and
        their mean.
    """
    answers = {cell.name: resampled_run(cell.run) for cell in cells if cell.run is not None}
    return {
        "name": name,
        "cells": [_cell(cell) for cell in cells],
        "correlations": _correlations(cells),
        "claims": [_claim(claim, answers) for claim in claims(cells)],
    }


def render_study(study: Mapping[str, Any]) -> str:
    """A study that `build_study` made as one HTML page without scripts, all text escaped (`hares.report.page`)."""
    return page_template("study.html.j2").render(study=study, titles=_TITLES, title=study["name"])


def claims(cells: Sequence[StudyCell]) -> tuple[Claim, ...]:
    """The paper's claims with the pairs of cells that speak to them, of those that are done."""
    done = [cell for cell in cells if cell.run is not None]

    def pairs(matches: Callable[[StudyCell, StudyCell], bool]) -> tuple[tuple[StudyCell, StudyCell], ...]:
        return tuple((first, second) for first in done for second in done if matches(first, second))

    return (
        Claim(
            "simclr_above_classification",
            "SimCLR above classification",
            pairs(lambda a, b: a.encoder == b.encoder and (a.objective, b.objective) == _PAIRED_OBJECTIVES),
        ),
        Claim(
            "slowfast_above_plain",
            "Slowfast above plain",
            pairs(lambda a, b: _differ_by(a, b, _SLOWFAST)),
        ),
        Claim(
            "normaliser_free_not_below",
            "Normaliser-free not below",
            pairs(lambda a, b: _differ_by(a, b, _NORMALISERS)),
        ),
    )


def _differ_by(first: StudyCell, second: StudyCell, stems: Sequence[tuple[str, str]]) -> bool:
    """Whether two encoders of one objective and size are those of a pair of architectures."""
    if first.objective != second.objective or first.encoder.endswith("_tiny") != second.encoder.endswith(
        "_tiny"
    ):
        return False
    named = [({f"{a}{end}" for end in _SIZES}, {f"{b}{end}" for end in _SIZES}) for a, b in stems]
    return any(first.encoder in a and second.encoder in b for a, b in named)


def correlation(first: Sequence[float], second: Sequence[float]) -> dict[str, Any] | None:
    """How two scores of several encoders go together.

    Args:
        first: scores, one an encoder.
        second: as many, of the same encoders.

    Returns:
        `count`, `pearson` with its 95% `interval` (Fisher's; None with three encoders) and `spearman`; None with fewer
        than three encoders, or where one of the scores is the same for all.
    """
    if len(first) < _FEWEST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    pearson = pearsonr(first, second)
    bounds = pearson.confidence_interval(CONFIDENCE) if len(first) > _FEWEST else None
    return {
        "count": len(first),
        "pearson": float(pearson.statistic),
        "interval": [float(bounds.low), float(bounds.high)] if bounds else None,
        "spearman": float(spearmanr(first, second).statistic),
    }


def _cell(cell: StudyCell) -> dict[str, Any]:
    report = cell.run.report if cell.run is not None else None
    return {
        "name": cell.name,
        "encoder": cell.encoder,
        "objective": cell.objective,
        "parameters": cell.parameters,
        "state": cell.state,
        "error": cell.error,
        "seconds": cell.seconds,
        "scores": _scores(report) if report else None,
        "intervals": _intervals(report) if report else None,
        "scored_tasks": report["partial_mean"]["scored_tasks"] if report else 0,
        "of_tasks": len(task_names()),
        "partial_mean": report["partial_mean"]["hares"] if report else None,
        "protocol": report["protocol"]["name"] if report else None,
        "paper": _paper_scores(cell.row),
    }


def _scores(report: Mapping[str, Any]) -> dict[str, float | None]:
    """Domain means, HARES and AudioSet's mAP of a report."""
    return {
        **{domain: report["domains"][domain] for domain in DOMAINS},
        "hares": report["hares"],
        "audioset": report["tasks"].get("audioset", {"value": None})["value"],
    }


def _intervals(report: Mapping[str, Any]) -> dict[str, list[float] | None]:
    return {
        **{domain: report["intervals"]["domains"][domain] for domain in DOMAINS},
        "hares": report["intervals"]["hares"],
        "audioset": report["tasks"].get("audioset", {"interval": None})["interval"],
    }


def _paper_scores(row: PaperRow | None) -> dict[str, Any] | None:
    if row is None:
        return None
    column = row.scores()
    percents = {**column["domains"], "hares": column["hares"], "audioset": column["tasks"]["audioset"]}
    fractions = {name: None if value is None else round(value / 100, 6) for name, value in percents.items()}
    return {"system": row.system, "table": row.table, **fractions}


def _correlations(cells: Sequence[StudyCell]) -> list[dict[str, Any]]:
    """AudioSet against HARES and each domain over encoders: of each objective that has three, and of all cells."""
    counts = [cell.objective for cell in cells]
    several = [objective for objective in dict.fromkeys(counts) if counts.count(objective) >= _FEWEST]
    found = []
    for objective in (*several, "all"):
        own = [cell for cell in cells if objective in (cell.objective, "all")]
        ours = [_scores(cell.run.report) for cell in own if cell.run is not None]
        # A row that two cells share, as those of an encoder's two sizes, counts once.
        printed = {cell.row: _paper_scores(cell.row) for cell in own if cell.row is not None}
        for name in SCORES:
            found.append(
                {
                    "objective": objective,
                    "of": "audioset",
                    "with": name,
                    "found": _correlation_of(ours, name),
                    "paper": _correlation_of([row for row in printed.values() if row], name),
                }
            )
    return found


def _correlation_of(rows: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    both = [
        (row["audioset"], row[name]) for row in rows if row["audioset"] is not None and row[name] is not None
    ]
    return correlation([first for first, _ in both], [second for _, second in both])


def _claim(claim: Claim, answers: Mapping[str, Answers]) -> dict[str, Any]:
    pairs = []
    for first, second in claim.pairs:
        assert first.run is not None and second.run is not None
        compared = compare(first.run, answers[first.name], second.run, answers[second.name])
        rows = {row.name.lower(): row for row in compared if row.kind != "task"}
        pairs.append(
            {
                "first": first.name,
                "second": second.name,
                "scores": {
                    name: {**_record(rows[name].paired), "note": rows[name].note,
                           "paper": _paper_difference(first.row, second.row, name)}
                    for name in SCORES
                },
            }
        )  # fmt: skip
    means = {name: _mean_of_pairs(claim, name, pairs, answers) for name in SCORES} if pairs else {}
    return {"name": claim.name, "title": claim.title, "pairs": pairs, "mean": means}


def _record(paired: PairedDifference | None) -> dict[str, Any]:
    return paired.as_record() if paired else {"difference": None, "interval": None, "p_value": None}


def _paper_difference(first: PaperRow | None, second: PaperRow | None, name: str) -> float | None:
    ours, theirs = _paper_scores(first), _paper_scores(second)
    if ours is None or theirs is None or ours[name] is None or theirs[name] is None:
        return None
    return round(theirs[name] - ours[name], 6)


def _mean_of_pairs(
    claim: Claim,
    name: str,
    pairs: Sequence[Mapping[str, Any]],
    answers: Mapping[str, Answers],
) -> dict[str, Any]:
    """The mean difference over the pairs that have one, how many are above 0, and the paper's.

    All pairs are scored on the same clips and by the same draws, so a task's difference is averaged over the pairs
    resample by resample, and only then over tasks: the pairs are not independent. The interval says what other
    clips would have given, not other encoders.
    """
    compared = [
        (pair, names)
        for pair, names in zip(pairs, claim.pairs, strict=True)
        if pair["scores"][name]["difference"] is not None
    ]
    papers = [
        pair["scores"][name]["paper"] for pair, _ in compared if pair["scores"][name]["paper"] is not None
    ]
    parts = []
    if compared:
        report = compared[0][1][0].run
        assert report is not None
        tasks = [task for task, entry in report.report["tasks"].items() if name in (entry["domain"], "hares")]
        parts = [
            _mean_over_encoders(
                [
                    difference_of(answers[b.name].resampled[task], answers[a.name].resampled[task])
                    for _, (a, b) in compared
                ]
            )
            for task in tasks
        ]
    return {
        **_record(paired_difference(mean_of(parts)) if parts else None),
        "pairs": len(compared),
        "above": sum(pair["scores"][name]["difference"] > 0 for pair, _ in compared),
        "paper": float(np.mean(papers)) if papers else None,
        "paper_above": sum(paper > 0 for paper in papers),
        "paper_pairs": len(papers),
    }


def _mean_over_encoders(parts: Sequence[Resampled]) -> Resampled:
    return replace(
        parts[0],
        score=float(np.mean([part.score for part in parts])),
        values=np.mean([part.values for part in parts], axis=0),
    )
