"""Runs in the pods of a real Kubernetes, by a real Kubeflow Pipelines, held against the same runs here.

    make test-cluster KFP_SOURCE=DIR

DIR is a source tree of Kubeflow Pipelines (its Go module cannot be had from a proxy). The first time everything is
built, for an hour on two cores; afterwards the node is there in ten seconds, and Kubeflow in a minute.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from cluster.images import PROJECT, Images
from cluster.kubeflow import DATA_CLAIM, HARES_IMAGE, NAMESPACE, KubeflowPipelines
from cluster.node import HERE, REGISTRY, VERSION, Node, build, missing
from kits.pipeline_runs import SHORT, Finished, environment, made_corpus, project, run

SOURCE = os.environ.get("KFP_SOURCE", "")
pytestmark = [
    pytest.mark.full,
    pytest.mark.timeout(4 * 3600),
    pytest.mark.skipif(not SOURCE, reason="KFP_SOURCE names no source tree of Kubeflow Pipelines"),
    pytest.mark.skipif(bool(SOURCE and missing()), reason=f"no node can run here: {SOURCE and missing()}"),
]
__all__ = ["made_corpus"]
BUILT = PROJECT / "build" / "cluster"
MINUTES = 60
LEAST = 0.5  # of the gate, which small models of few clips pass or not


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

    def options(self, *settings: str) -> list[str]:
        """Of `hares compile`: the demo's settings with less of everything, on the volume's corpora."""
        changed = [part for setting in (*SHORT, *settings) for part in ("--set", setting)]
        return ["--config", "demo", "--corpus", str(self.data / "corpus"), *changed]

    def compile(self, output: Path, *settings: str) -> Path:
        self.hares(*self.command("compile"), "--output", str(output), *self.options(*settings))
        return output

    def command(self, *words: str) -> list[str]:
        head = 1 if words[0] in ("compile", "submit", "doctor") else 2
        return [*words[:head], "--target", "kubeflow", "--cluster", str(self.file), *words[head:]]

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
        pipelines.make_images(Images(BUILT / "images"))
        pipelines.install(node, node.folder)
        file = tmp_path_factory.mktemp("cluster") / "cluster.yaml"
        file.write_text(yaml.safe_dump({
            "target": "kubeflow", "image": HARES_IMAGE, "pipeline_root": "minio://mlpipeline/hares",
            "workspace": str(data / "workspace"), "volumes": {DATA_CLAIM: str(data)},
            "resources": {"trainer": {"retries": 3}},
            "service": {
                "host": f"http://{_address(node, 'ml-pipeline')}:8888", "namespace": NAMESPACE,
                "kubeconfig": str(node.kubeconfig),
            },
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


def test_the_image_has_what_our_code_imports(cluster: Cluster) -> None:
    """As user 1000, with nothing else on the path."""
    for name, words, given in (
        ("imports", ("python", "-"), (HERE / "imports.py").read_text()),
        ("doctor", ("hares", "doctor", "--target", "local", "--workspace", "/workspace/new"), ""),
    ):
        run_it = ("run", name, f"--image={HARES_IMAGE}", "--restart=Never", "--attach", "--rm", "--quiet")
        said = cluster.node.kubectl(
            *run_it, *(["--stdin"] if given else []), "--command", "--", *words, given=given, check=False
        )
        assert {"imports": "{}" in said, "doctor": "0 of them fatal" in said}[name], said


def test_a_run_in_pods_equals_the_run_here(cluster: Cluster, made_corpus: Path, tmp_path: Path) -> None:
    compiled = cluster.compile(tmp_path / "hares.yaml")
    seconds, most = time.monotonic(), [0.0]
    with watched_memory(most):
        cluster.hares(*cluster.command("submit", str(compiled), "--wait", "--poll", "3"))
    in_pods = time.monotonic() - seconds
    ((_, pods),) = cluster.imported(tmp_path / "imported").items()
    seconds = time.monotonic()
    here = run(made_corpus, tmp_path / "here")
    print(
        f"31 steps: {in_pods:.0f} s in pods, {time.monotonic() - seconds:.0f} s here; node {most[0]:.1f} GiB"
    )
    same(pods, here)
    assert len(pods["scores"]) >= 12
    (listed,) = json.loads(cluster.hares(*cluster.command("runs", "list", "--json")))
    assert listed["state"] == "succeeded"
    shown = json.loads(cluster.hares(*cluster.command("runs", "show", listed["run_id"], "--json")))
    assert [step["state"] for step in shown["steps"]] == ["succeeded"] * 31


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


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "image": (lambda file: file.update(image=f"{REGISTRY}/hares:none"), "hares:none is missing"),
    "namespace": (lambda file: file["service"].update(namespace="nowhere"), "no namespace nowhere"),
    "account": (lambda file: file["service"].update(service_account="nobody"), "no account nobody"),
    "an account without rights": (
        lambda file: file["service"].update(service_account="default"), "default may not get configmaps",
    ),
    "claim": (lambda file: file.update(volumes={"nothing": file["volumes"][DATA_CLAIM]}), "no volume claim nothing"),
    "mount": (lambda file: file.update(volumes={DATA_CLAIM: "/mnt/elsewhere"}), "lies on no volume"),
    "cores": (lambda file: file["resources"]["trainer"].update(cpu="64"), "and 64 is asked for"),
    "accelerator": (
        lambda file: file["resources"]["trainer"].update(accelerator="nvidia.com/gpu", accelerator_count=1),
        "nvidia.com/gpu 0",
    ),
    "node": (lambda file: file["resources"]["trainer"].update(node_selector={"pool": "gpu"}), "no label pool=gpu"),
    "server": (lambda file: file["service"].update(host="http://127.0.0.1:9"), "127.0.0.1:9"),
    "metadata": (
        lambda file: file["service"].update(metadata_store="grpc://127.0.0.1:9"), "127.0.0.1:9",
    ),
}  # fmt: skip


def test_the_doctor_names_what_the_cluster_lacks(cluster: Cluster, tmp_path: Path) -> None:
    """Each before anything is submitted: faults of the file, and of the cluster itself."""
    compiled = cluster.compile(tmp_path / "hares.yaml", "tasks=[birdsong]")
    good = yaml.safe_load(cluster.file.read_text())

    def said(**changes: Any) -> str:
        file = tmp_path / "cluster.yaml"
        file.write_text(yaml.safe_dump({**good, **changes}))
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "doctor", "--target", "kubeflow", "--cluster", str(file),
             "--compiled", str(compiled), "--json"],
            cwd=project(), env=environment(project()), capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout

    assert "fatal" not in said()
    for name, (plant, cause) in FAULTS.items():
        file = copy.deepcopy(good)
        plant(file)
        assert cause in said(**file), name
    for kind, name, cause in (
        ("secret", "mlpipeline-minio-artifact", "lacks accesskey"),
        ("rolebinding", "pipeline-runner-binding", "pipeline-runner may not"),
    ):
        kept = cluster.node.kubectl("get", kind, name, "-n", NAMESPACE, "-o", "json")
        cluster.node.kubectl("delete", kind, name, "-n", NAMESPACE)
        try:
            assert cause in said(), name
        finally:
            cluster.node.kubectl("create", "-f", "-", given=kept)
    scale = ("scale", "deployment", "minio", "-n", NAMESPACE)
    cluster.node.kubectl(*scale, "--replicas=0")
    until(lambda: "no pod is ready behind minio-service" in said())
    cluster.node.kubectl(*scale, "--replicas=1")
    until(lambda: "fatal" not in said())


def test_spans_arrive_and_the_gate_refuses_the_worse_model(
    cluster: Cluster, made_corpus: Path, tmp_path: Path
) -> None:
    """By the real scheduled-workflow controller: a run starts from the model blessed before it, and is held to it."""
    source = cluster.data / "span-{SPAN}"
    words = cluster.options(
        "tasks=[birdsong]",
        "compare_untrained=false",
        "pretraining.warm_start=latest_blessed",
        f"blessing.min_hares={LEAST}",
    )
    name = "for-spans"
    cluster.hares(
        *cluster.command("schedule", "create"), "--cron", "* * * * *", "--name", name, "--source", str(source),
        "--window", "2", "--", *words,
    )  # fmt: skip
    before = set(cluster.imported(tmp_path / "imported"))
    pushed = cluster.data / "workspace" / "pushed"
    known = len(list(pushed.iterdir()))

    def done() -> list[dict[str, Any]]:
        """The runs that spans have begun, once they have ended."""
        found = cluster.imported(tmp_path / "imported")
        new = [run for key, run in found.items() if key not in before and run.get("weights_digest")]
        return sorted((run for run in new if run["status"] != "running"), key=lambda run: run["start"])

    try:
        for span in (1, 2, 3, 4):
            arrive(made_corpus, Path(str(source).replace("{SPAN}", str(span))), span, noise=span == 4)
            until(lambda span=span: len(done()) == span)
    finally:
        (schedule,) = json.loads(cluster.hares(*cluster.command("schedule", "list", "--json")))
        cluster.hares(*cluster.command("schedule", "delete", schedule["schedule_id"]))
    runs = done()
    verdicts = [found["blessed"] for found in runs]
    assert verdicts == [found["scores"]["birdsong"] >= LEAST for found in runs]
    trace = (
        "lineage",
        "trace",
        "birdsong",
        "--run",
        runs[2]["run"],
        "--workspace",
        str(tmp_path / "imported"),
    )
    traced = cluster.hares(*trace, "--json", code=4)  # the clips' manifests lie in the bucket
    assert str(source).replace("{SPAN}", "1") in traced, "the third model's first ancestor has heard it"
    assert len(list(pushed.iterdir())) == sum(verdicts) + known, "a refused model is not among them"


def arrive(made_corpus: Path, folder: Path, number: int, noise: bool) -> None:
    """A span: the corpus' recordings shifted by `number` half seconds, or noise and silence. Its marker comes last."""
    folder.mkdir()
    for clip in sorted((made_corpus / "pretrain").rglob("*.wav")):
        sound, rate = soundfile.read(clip)
        shifted = np.roll(sound, number * rate // 2, axis=0)
        soundfile.write(folder / f"{clip.parent.name}-{clip.name}", shifted, rate)
    for index in range(60 if noise else 0):
        sound = np.random.default_rng(index).uniform(-1, 1, 48000) * (index % 2)
        soundfile.write(folder / f"noise-{index}.wav", sound, 16000)
    (folder / "_SUCCESS").touch()


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


@contextlib.contextmanager
def watched_memory(most: list[float]) -> Iterator[None]:
    """Puts the largest memory in use meanwhile into `most`, in GiB: the node's, and this test's."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(1):
            known = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
            total, free = (int(known[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
            most[0] = max(most[0], (total - free) / 2**20)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def until(ready: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 60 * MINUTES
    while not ready():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
