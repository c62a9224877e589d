"""Runs in the pods of a real Kubernetes, by a real Kubeflow Pipelines, held against the same runs here.

    make test-cluster KFP_SOURCE=DIR

DIR is a source tree of Kubeflow Pipelines (its Go module cannot be had from a proxy). The first time everything is
built, for an hour on two cores; afterwards the node is there in ten seconds, and Kubeflow in a minute.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.images import PROJECT, Images
from cluster.kubeflow import DATA_CLAIM, HARES_IMAGE, NAMESPACE, KubeflowPipelines
from cluster.node import HERE, VERSION, Node, build, missing
from kits.pipeline_runs import FEW_TASKS, SHORT, Finished, environment, made_corpus, project, run

SOURCE = os.environ.get("KFP_SOURCE", "")
pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not SOURCE, reason="KFP_SOURCE names no source tree of Kubeflow Pipelines"),
    pytest.mark.skipif(bool(SOURCE and missing()), reason=f"no node can run here: {SOURCE and missing()}"),
]
__all__ = ["made_corpus"]
BUILT = PROJECT / "build" / "cluster"
MINUTES = 60


@dataclasses.dataclass(frozen=True)
class Cluster:
    """What a user of the cluster has: a cluster file, a volume, and the address of its ML Metadata.

    Attributes:
        data: the volume, at the same path here and in every pod.
    """

    node: Node
    file: Path
    data: Path
    metadata: str

    def hares(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments], cwd=project(), env=environment(project()),
            capture_output=True, text=True, timeout=60 * MINUTES, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def compile(self, output: Path, *settings: str) -> Path:
        options = [part for setting in (*SHORT, *settings) for part in ("--set", setting)]
        self.hares(
            "compile", "--target", "kubeflow", "--cluster", str(self.file), "--config", "demo", "--corpus",
            str(self.data / "corpus"), "--output", str(output), *options,
        )  # fmt: skip
        return output

    def command(self, *words: str) -> list[str]:
        return [*words[:2], "--target", "kubeflow", "--cluster", str(self.file), *words[2:]]

    def imported(self, workspace: Path) -> dict[str, dict[str, Any]]:
        """The cluster's runs by id, as `hares lineage runs` answers once they are imported."""
        self.hares("metadata", "import", "--kubeflow", self.metadata, "--all", "--workspace", str(workspace))
        listed = json.loads(self.hares("lineage", "runs", "--workspace", str(workspace), "--json"))
        return {found["run"]: found for found in listed}


@pytest.fixture(scope="module")
def cluster(made_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    programs = BUILT / "programs"
    build(HERE / "kubernetes", programs, f"-X k8s.io/component-base/version.gitVersion={VERSION}")
    for module in ("coredns", "minio", "registry"):
        build(HERE / module, programs)
    pause = subprocess.run(
        ["go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"], cwd=HERE / "kubernetes", capture_output=True,
        text=True, check=True,
    ).stdout.strip()  # fmt: skip
    subprocess.run(
        ["gcc", "-Os", "-static", "-DVERSION=3.10", "-o", programs / "pause", f"{pause}/build/pause/linux/pause.c"],
        check=True,
    )  # fmt: skip
    pipelines = KubeflowPipelines(Path(SOURCE), programs)
    pipelines.build()
    node = Node((BUILT / "node").resolve(), programs)
    node.forget()
    data = node.folder / "volumes" / DATA_CLAIM
    shutil.copytree(made_corpus, data / "corpus")
    (data / "workspace").mkdir()  # else `hares compile` makes it, for this user
    try:
        node.start()
        pipelines.make_images(Images(BUILT / "images"), node)
        pipelines.install(node, node.folder)
        file = tmp_path_factory.mktemp("cluster") / "cluster.yaml"
        file.write_text(yaml.safe_dump({
            "target": "kubeflow", "image": HARES_IMAGE, "pipeline_root": "minio://mlpipeline/hares",
            "workspace": str(data / "workspace"), "volumes": {DATA_CLAIM: str(data)},
            "resources": {"trainer": {"retries": 3}},
            "service": {"host": f"http://{_address(node, 'ml-pipeline')}:8888", "namespace": NAMESPACE},
        }))  # fmt: skip
        yield Cluster(
            node, file, data, f"grpc://{_address(node, 'metadata-grpc-service')}:8080?plaintext=true"
        )
    finally:
        node.stop()


def _address(node: Node, service: str) -> str:
    return node.kubectl("get", "service", service, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}")


def same(pods: dict[str, Any], here: Finished) -> None:
    """Weights and scores are those of the run here, to the last digit."""
    (local,) = json.loads(
        subprocess.run(
            [sys.executable, "-m", "cli.main", "lineage", "runs", "--workspace", str(here.workspace), "--json"],
            cwd=project(), env=environment(project()), capture_output=True, text=True, check=True,
        ).stdout
    )  # fmt: skip
    assert pods["status"] == local["status"] == "complete"
    for name in ("weights_digest", "scores", "blessed"):
        assert pods[name] == local[name], name


def test_a_run_in_pods_equals_the_run_here(cluster: Cluster, made_corpus: Path, tmp_path: Path) -> None:
    compiled = cluster.compile(tmp_path / "hares.yaml", FEW_TASKS)
    cluster.hares(*cluster.command("submit", str(compiled), "--wait", "--poll", "3"))
    ((_, pods),) = cluster.imported(tmp_path / "imported").items()
    same(pods, run(made_corpus, tmp_path / "here", FEW_TASKS))
    listed = json.loads(cluster.hares(*cluster.command("runs", "list", "--json")))
    assert [entry["state"] for entry in listed] == ["succeeded"]


def test_killed_programs_and_pods_change_nothing(cluster: Cluster, made_corpus: Path, tmp_path: Path) -> None:
    """kill -9 of the trainer between two checkpoints, and of KFP's API server and Argo's controller meanwhile."""
    settings = ("tasks=[birdsong]", "training.seed=3", "training.steps=60", "compare_untrained=false")
    compiled = cluster.compile(tmp_path / "hares.yaml", *settings)
    waiting = subprocess.Popen(
        [sys.executable, "-m", "cli.main", *cluster.command("submit", str(compiled), "--wait", "--poll", "3")],
        cwd=project(), env=environment(project()), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    checkpoints = cluster.data / "workspace" / "checkpoints"
    before = set(checkpoints.glob("*"))
    until(
        lambda: any(set(folder.glob("*-15*.index")) for folder in set(checkpoints.glob("*")) - before),
        waiting,
    )
    for program in ("kubeflow.entrypoint.*trainer", "^workflow-controller", "^/bin/apiserver"):
        subprocess.run(["pkill", "-9", "-f", program], check=True)
    output = waiting.communicate()[0]
    assert waiting.returncode == 0, output
    killed = cluster.node.kubectl("get", "pods", "-n", NAMESPACE, "--no-headers")
    assert any("trainer" in line and "Error" in line for line in killed.splitlines())
    runs = cluster.imported(tmp_path / "imported")
    here = run(made_corpus, tmp_path / "here", *settings)
    same(max(runs.values(), key=lambda found: found["start"]), here)


def test_a_schedule_starts_runs(cluster: Cluster, tmp_path: Path) -> None:
    """Every minute, one at a time, by the real scheduled-workflow controller."""
    compiled = cluster.compile(tmp_path / "hares.yaml", "tasks=[birdsong]", "compare_untrained=false")
    known = {
        entry["run_id"] for entry in json.loads(cluster.hares(*cluster.command("runs", "list", "--json")))
    }
    cluster.hares(
        *cluster.command("schedule", "create", "--cron", "* * * * *", "--name", "minutely", str(compiled))
    )

    def started() -> list[dict[str, Any]]:
        listed = json.loads(cluster.hares(*cluster.command("runs", "list", "--json")))
        return [entry for entry in listed if entry["run_id"] not in known]

    try:
        until(lambda: any(entry["state"] == "succeeded" for entry in started()))
    finally:
        (schedule,) = json.loads(cluster.hares(*cluster.command("schedule", "list", "--json")))
        cluster.hares(*cluster.command("schedule", "delete", schedule["schedule_id"]))
    assert json.loads(cluster.hares(*cluster.command("schedule", "list", "--json"))) == []


def until(ready: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 60 * MINUTES
    while not ready():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
