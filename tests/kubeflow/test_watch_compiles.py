"""`hares watch` with the real `hares compile`: what it submits holds the spans that were whole, once a span."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.kfp_server import KfpServer, kfp
from kits.pipeline_runs import environment, project

__all__ = ["kfp"]
pytestmark = [pytest.mark.full, pytest.mark.timeout(1200)]


def arrive(corpus: Path, folder: Path, span: int, whole: bool = True) -> None:
    place = folder / "data" / f"span-{span}"
    shutil.copytree(corpus / "pretrain", place, dirs_exist_ok=True)
    (place / f"of-{span}.wav").write_bytes(next(place.rglob("*.wav")).read_bytes())
    if whole:
        (place / "_SUCCESS").touch()


def watch(folder: Path) -> list[str]:
    """One look, as a restarted watcher takes it; its lines."""
    (folder / "hares.yaml").write_text(
        f"preset: demo\ntasks: [esc50]\npretraining: {{source: '{folder}/data/span-{{SPAN}}', window: 2}}\n"
    )
    there = ["--target", "kubeflow", "--cluster", str(folder / "cluster.yaml")]
    compiles = [
        *("compile", *there, "--config", str(folder / "hares.yaml"), "--corpus", str(folder / "corpus")),
        *("--set", "pretraining.span={SPAN}", "--output", "{OUTPUT}"),
    ]
    watches = [
        *("watch", *there, "--source", str(folder / "data" / "span-{SPAN}")),
        *("--workspace", str(folder / "W"), "--once"),
    ]
    hares = [sys.executable, "-m", "cli.main"]
    line = [*hares, *watches, "--", *hares, *compiles]
    done = subprocess.run(
        line, cwd=project(), env=environment(project()), capture_output=True, text=True, timeout=600, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def sources_of(run: dict[str, Any]) -> dict[str, str]:
    """Step to the folder that it ingests for pretraining."""
    spec = run["pipeline_spec"]
    spec = spec.get("pipeline_spec", spec)
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    return {
        name.removesuffix("_sources"): Path(json.loads(entry["defaultValue"])["folder"]).name
        for name, entry in parameters.items()
        if name.startswith("ingest_pretraining") and name.endswith("_sources")
    }


def test_a_span_is_submitted_once_with_those_before_it(
    kfp: KfpServer, made_corpus: Path, tmp_path: Path
) -> None:
    shutil.copytree(made_corpus / "esc50", tmp_path / "corpus" / "esc50")
    cluster = {
        "image": "images.example/hares:1",
        "pipeline_root": "gs://bucket/hares",
        "workspace": str(tmp_path / "workspace"),
        "service": {"host": kfp.url, "retries": 1, "backoff_seconds": 0.01},
    }
    (tmp_path / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    arrive(made_corpus, tmp_path, 1)
    arrive(made_corpus, tmp_path, 2, whole=False)
    assert len(watch(tmp_path)) == 1
    arrive(made_corpus, tmp_path, 2)
    assert len(watch(tmp_path)) == 1
    (tmp_path / "data" / "span-2" / "_SUCCESS").unlink()
    arrive(made_corpus, tmp_path, 2)  # it arrives again
    assert watch(tmp_path) == [] and kfp.got["POST", "runs"] == 2
    first, second = sorted(kfp.things["runs"].values(), key=lambda run: run["display_name"])
    assert sources_of(first) == {"ingest_pretraining_span_1": "span-1"}
    assert sources_of(second) == {
        "ingest_pretraining_span_1": "span-1", "ingest_pretraining_span_2": "span-2",
    }  # fmt: skip
