"""Argo's own validators and Kubernetes' own rules for names take every file that we compile, and refuse what is wrong.

The validators are unmodified Go modules (tests/cluster), in the releases that Kubeflow Pipelines 2.5.0 and 2.17.0 are
built with. `kits.argo_workflow` stands for Kubeflow's compiler between our file and them.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.argo_workflow import RELEASES, edges, workflow
from kits.small_runs import small_cluster, small_run

pytest.importorskip("tfx")

from hares.task import task_names
from kubeflow.compiled.compile import compile_pipeline
from kubeflow.compiled.scheduled_watch import watch_pipeline, watch_words
from models.warm_start import WarmStart
from pipeline.config import PipelineConfig
from pipeline.resolve import Source

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("go") is None, reason="no go here, which builds Argo's validators"),
]
MODULES = Path(__file__).resolve().parents[2] / "cluster"
GOLDEN = Path(__file__).with_name("golden") / "kubeflow.yaml"
Documents = list[dict[str, Any]]


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Says why the API server of a release, or Kubernetes behind it, refuses a file; "" if it takes it."""
    folder = tmp_path_factory.mktemp("argo")
    for module in ("argo_3_5", "argo_4_0"):
        if (done := _go(module, "mod", "download")).returncode:
            pytest.skip(f"Argo's modules cannot be downloaded: {done.stderr.strip()[-200:]}")
        done = _go(module, "build", "-p", "2", "-o", str(folder / module), ".")
        assert done.returncode == 0, done.stderr
    commands = {
        "2.5.0": ["argo_3_5"],
        "2.17.0": ["argo_4_0", "argo"],
        "kubernetes": ["argo_4_0", "kubernetes"],
    }

    def refused(documents: Sequence[Any], by: str) -> str:
        path = folder / "workflow.json"
        # Labels stand in the templates of 2.5.0; 2.17.0 gives them as parameters.
        path.write_text(
            json.dumps(workflow(documents, "2.5.0" if by == "kubernetes" else by)), encoding="utf-8"
        )
        program, *words = commands[by]
        done = subprocess.run([folder / program, *words, path], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1) and not done.stderr, done.stderr
        assert bool(done.stdout) == bool(done.returncode)
        return done.stdout

    return refused


def _go(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["go", *words], cwd=MODULES / module, env={**os.environ, "GOFLAGS": "-mod=readonly"}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip


@functools.cache
def _reviewed() -> Documents:
    return list(yaml.safe_load_all(GOLDEN.read_text(encoding="utf-8")))


def golden() -> Documents:
    """The reviewed file: one task, two spans, a warm start from a volume."""
    return copy.deepcopy(_reviewed())


def of_all_tasks(workspace: Path, **changes: Any) -> Documents:
    """The paper's twelve tasks."""
    tasks = task_names()
    steps = [f"{step}_{task}" for task in tasks for step in ("ingest", "embed")]
    run = small_run(
        config=PipelineConfig(name="h" * 63, tasks=tasks),
        tasks={task: Source({task: f"/mnt/{task}"}, ("fold-1", "fold-2"), task) for task in tasks},
        code=dict.fromkeys((*small_run().code, *steps), "sources"),
        **changes,
    )
    text = compile_pipeline(run, small_cluster("kubeflow", workspace), "revision", {"user": "someone"})
    return list(yaml.safe_load_all(text))


def of_a_schedule(workspace: Path) -> Documents:
    """What a schedule starts; its words have braces and quotes."""
    words = [
        *watch_words("kubeflow", "/mnt/span-{SPAN}", 2, "_SUCCESS", "/mnt/hares"),
        "--set",
        'tasks=["esc50"]',
    ]
    text = watch_pipeline(small_cluster("kubeflow", workspace), {"service": {"host": "http://h"}}, words)
    return list(yaml.safe_load_all(text))


PIPELINES = {
    "a warm start from a volume": lambda _: golden(),
    "a schedule for spans that arrive": lambda folder: of_a_schedule(folder),
    "all tasks": lambda folder: of_all_tasks(folder, older_spans=(), warm_start=None),
    "an importer from a bucket": lambda folder: of_all_tasks(
        folder, warm_start=WarmStart("gs://models/7/weights.npz", "digest", "gs://models/7")
    ),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_every_pipeline_is_taken(name: str, refusal: Callable[..., str], tmp_path: Path) -> None:
    documents = PIPELINES[name](tmp_path)
    assert {by: refusal(documents, by) for by in (*RELEASES, "kubernetes")} == dict.fromkeys(
        (*RELEASES, "kubernetes"), ""
    )


@pytest.mark.parametrize("release", RELEASES)
def test_one_underscore_in_a_steps_name_is_refused(release: str, refusal: Callable[..., str]) -> None:
    documents = golden()
    tasks = documents[0]["root"]["dag"]["tasks"]
    tasks["push_er"] = tasks.pop("pusher")  # nothing waits for it
    assert "push" in refusal(documents, release)  # 4.0 reads the name up to the underscore


@pytest.mark.parametrize("release", RELEASES)
def test_a_step_that_waits_for_none_of_the_file_is_refused(release: str, refusal: Callable[..., str]) -> None:
    documents = golden()
    documents[0]["root"]["dag"]["tasks"]["pusher"]["dependentTasks"] = ["no-such-step"]
    assert "no-such-step" in refusal(documents, release)


def test_kubernetes_refuses_the_names_that_we_refuse(refusal: Callable[..., str]) -> None:
    documents = golden()
    documents[0]["pipelineInfo"]["name"] = "hares_golden"
    pod = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["trainer_executor"]
    pod["podMetadata"]["labels"]["note"] = "with a blank"
    pod["nodeSelector"] = {"labels": {"a/b/c": "1"}}
    pod["pvcMount"] = [{"constant": "data.of.ours", "mountPath": "/mnt"}]
    said = refusal(documents, "kubernetes")
    for name in ("hares_golden-", "with a blank", "a/b/c", "data.of.ours"):
        assert name in said


def test_the_workflow_is_what_kubeflows_compiler_makes() -> None:
    """As 2.5.0 and 2.17.0 made it of the reviewed file, run by hand: 24 tasks, their templates and conditions."""
    for release, template in zip(RELEASES, ("{}-", "metadata-0-6-retry-"), strict=True):
        made = edges(workflow(golden(), release))
        names = sorted(golden()[0]["root"]["dag"]["tasks"])
        assert sorted(made) == sorted([*names, *(f"{name}-driver" for name in names)])
        for name in names:
            executor = f"{template.format(name)}system-container-executor"
            assert made[name] == (executor, f"{name}-driver.Succeeded")
        waits = {name: made[f"{name}-driver"][1] for name in names}
        assert {name for name, waited in waits.items() if not waited} == {
            "base-model", "ingest-esc50", "ingest-pretraining-span-1", "ingest-pretraining-span-2", "schema",
        }  # fmt: skip
        assert waits["embed-esc50"] == "ingest-esc50.Succeeded && trainer.Succeeded"
        assert waits["evaluator"] == "embed-esc50.Succeeded && ingest-esc50.Succeeded && trainer.Succeeded"
