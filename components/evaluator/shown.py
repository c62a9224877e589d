"""What a cluster's own pages show of an evaluation: the scores as a table of numbers, the report as a page.

Vertex and Kubeflow tabulate the properties of a `system.Metrics` and set those of several runs beside each other; they
show a `system.HTML`, which is the one file at its address.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.io import fileio

from hares.atomic_files import atomically
from hares.report import PAGE_FILE

SCORES_FILE = "scores.json"


def show_scores(artifact: types.Artifact, report: Mapping[str, Any]) -> None:
    """Puts every score on `artifact`, as a share of 1: tasks by name, domains, HARES. What was not scored is left out.

    They stand in its folder too, so that it has content, and a digest of it, like every artifact.

    Args:
        artifact: the `ScoreMetrics`.
        report: made by `hares.benchmark.build_report`.
    """
    scores = {task: entry["value"] for task, entry in report["tasks"].items()}
    scores |= {f"domain_{name}": value for name, value in report["domains"].items()}
    scores["hares"] = report["hares"]
    found = {name: value for name, value in scores.items() if value is not None}
    for name, value in found.items():
        artifact.set_float_custom_property(name, value)
    fileio.makedirs(artifact.uri)
    with fileio.open(os.path.join(artifact.uri, SCORES_FILE), "w") as file:
        file.write(json.dumps(found, indent=1, sort_keys=True) + "\n")


def show_page(artifact: types.Artifact, report_uri: str) -> None:
    """Copies the report's page to where `artifact` is.

    A local runner has made a folder there, and the page goes into it. A cluster makes none and shows the file at the
    address itself, so that there the page is that file.

    Args:
        artifact: the `ReportPage`.
        report_uri: folder of the report.
    """
    target = os.path.join(artifact.uri, PAGE_FILE) if fileio.isdir(artifact.uri) else artifact.uri
    with atomically(target) as part:
        fileio.copy(os.path.join(report_uri, PAGE_FILE), part, overwrite=True)
