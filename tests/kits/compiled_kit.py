"""Compiling the demo's settings as a user does, and reading what a run of the compiled file published."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from kits.pipeline_runs import environment, project

CLUSTER = {"image": "images.example/hares:1", "pipeline_root": "gs://bucket/hares"}
NAMES = {"kubeflow": "pipeline.yaml", "vertex": "pipeline.json"}


def hares(*arguments: str, timeout: int = 900) -> subprocess.CompletedProcess[str]:
    """`hares`, as a user starts it."""
    folder = project()
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def compiled(
    target: str,
    corpus: Path | str,
    folder: Path,
    *settings: str,
    more: Mapping[str, Any] | None = None,
    config: str = "demo",
) -> Path:
    """The file that `hares compile` writes; `more` stands in the cluster's file, the workspace in `folder`."""
    cluster = folder / "cluster.yaml"
    written = {**CLUSTER, "workspace": str(folder / "workspace"), **(more or {})}
    cluster.write_text(yaml.safe_dump(written), encoding="utf-8")
    options = [part for setting in settings for part in ("--set", setting)]
    done = hares(
        "compile", "--target", target, "--cluster", str(cluster), "--config", config, "--corpus", str(corpus),
        "--output", str(folder / NAMES[target]), *options,
    )  # fmt: skip
    assert done.stderr == ""
    return folder / NAMES[target]


def published(run: Path, step: str) -> dict[str, Any]:
    """A step's artifacts, by output."""
    record = json.loads((run / step / "published.json").read_text(encoding="utf-8"))
    return {key: artifacts[0] for key, artifacts in record["artifacts"].items()}


def report_of(run: Path) -> dict[str, Any]:
    """The report of a run of a compiled file."""
    path = Path(published(run, "evaluator")["report"]["uri"]) / "report.json"
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return report


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
