"""`hares doctor` from outside on a whole set-up, and on the same with one of ten faults and more planted in it.

The set-up is what a user has before a submission: a committed checkout, a cluster file, the file of
`hares compile` (the reviewed ones of `golden/`), a store with the last run, credentials, a registry and a bucket. A
fault is a change of a file, of the environment or of what a server holds, and none of our code is replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy
import pytest
import yaml

from hares.version_lines import this_lock
from kits.doctor_setups import BASE, Loopback, git
from kits.pipeline_runs import copy_project

PROJECT = Path(__file__).resolve().parents[3]
GOLDEN = {"kubeflow": "kubeflow.yaml", "vertex": "vertex.json"}
IMAGES = ("images.example/hares-tpu:1", "images.example/hares-beam:1", "images.example/hares:1")


@dataclass
class Whole:
    """A good set-up in a folder.

    Attributes:
        target: "vertex" or "kubeflow".
        folder: of the checkout (`checkout`), `workspace`, `cluster.yaml` and `compiled`.
        loopback: registry, bucket and tokens.
        options: of `hares doctor`, beside the good set-up's own.
        environment: variables that differ from this process's.
    """

    target: str
    folder: Path
    loopback: Loopback
    options: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.checkout, self.workspace = self.folder / "checkout", self.folder / "workspace"
        self.checkout.mkdir()
        self.workspace.mkdir()
        copy_project(PROJECT, self.checkout)
        git(self.checkout, "init", "--quiet")
        (self.checkout / ".gitignore").write_text("__pycache__\n")
        self.commit()
        self.push()
        image = self.image
        self.cluster = {
            "target": self.target, "image": image, "images": {"trainer": image}, "pipeline_root": "gs://bucket/hares",
            "workspace": str(self.workspace), "labels": {"cost_centre": "audio"},
        }  # fmt: skip
        text = (PROJECT / "tests" / "kubeflow" / "compiled" / "golden" / GOLDEN[self.target]).read_text(
            encoding="utf-8"
        )
        for name in IMAGES:
            text = text.replace(name, image)
        self.documents = list(yaml.safe_load_all(text))
        self.environment["STORAGE_EMULATOR_HOST"] = f"http://{self.loopback.address}"

    @property
    def image(self) -> str:
        return f"{self.loopback.address}/hares/pipeline:1"

    @property
    def spec(self) -> dict:
        """The compiled pipeline, to be changed in place."""
        return self.documents[0].get("pipelineSpec", self.documents[0])

    def commit(self) -> None:
        git(self.checkout, "add", "-A")
        git(self.checkout, "commit", "--quiet", "-m", "all")

    def push(self, lock: bytes | None = None) -> None:
        """Puts an image of the checkout into the registry, or one made from another lock file."""
        lock = lock or (self.checkout / this_lock()).read_bytes()
        self.loopback.push(
            "hares/pipeline:1",
            {
                "hares.lock.sha256": hashlib.sha256(lock).hexdigest(),
                "org.opencontainers.image.revision": git(self.checkout, "rev-parse", "HEAD"),
                "org.opencontainers.image.base.digest": BASE,
                "hares.accelerator": "GPU",
            },
        )

    def doctor(self) -> tuple[int, list[dict[str, str]]]:
        """Exit code and findings."""
        cluster, compiled = self.folder / "cluster.yaml", self.folder / "compiled"
        cluster.write_text(yaml.safe_dump(self.cluster))
        compiled.write_text(
            json.dumps(self.documents[0])
            if self.target == "vertex"
            else yaml.safe_dump_all(self.documents, sort_keys=True)
        )
        done = subprocess.run(
            [sys.executable, "-m", "cli.main", "doctor", "--target", self.target, "--cluster", str(cluster),
             "--compiled", str(compiled), "--config", "demo", "--json", *self.options],
            cwd=self.checkout, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "PYTHONPATH": str(self.checkout), "PYTHONDONTWRITEBYTECODE": "1", **self.environment},
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout)


@pytest.fixture(params=sorted(GOLDEN))
def whole(
    request: pytest.FixtureRequest, tmp_path: Path, loopback: Loopback, key_text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Whole:  # fmt: skip
    from kits.lineage_stores import create_store
    from pipeline.config import load_config
    from pipeline.lineage.record import RunFacts, begin_run
    from pipeline.settings import as_dict

    monkeypatch.delenv("HARES_METADATA", raising=False)
    key = {
        "type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": key_text,
        "client_email": "hares@p.example.org", "token_uri": f"http://{loopback.address}/token",
    }  # fmt: skip
    (tmp_path / "key.json").write_text(json.dumps(key))
    setup = Whole(request.param, tmp_path, loopback)
    setup.environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(tmp_path / "key.json")
    store = create_store(setup.workspace / "metadata.sqlite")
    facts = RunFacts(as_dict(load_config("demo", ())), "demo", setup.target, "key", {})
    begin_run(store, "1", "p", facts, setup.checkout)
    return setup


def no_image(whole: Whole) -> None:
    whole.loopback.tags.clear()


def image_of_another_lock_file(whole: Whole) -> None:
    whole.push(lock=b"numpy==1.26.3")


def bucket_that_may_not_be_written(whole: Whole) -> None:
    whole.loopback.bucket_status = 403


def no_bucket(whole: Whole) -> None:
    whole.cluster["pipeline_root"] = "gs://elsewhere/hares"


def machine_that_vertex_has_not(whole: Whole) -> None:
    if whole.target == "kubeflow":
        pytest.skip("Kubeflow's nodes are their owner's")
    job = {"worker_pool_specs": [{"machine_spec": {"machine_type": "n1-standrad-8"}}]}
    task = whole.spec["root"]["dag"]["tasks"]["trainer"]
    task["inputs"]["parameters"]["custom_config"]["runtimeValue"]["constant"] = json.dumps(job)


def accelerator_of_the_other_kind(whole: Whole) -> None:
    name = "nvidia.com/gpu" if whole.target == "vertex" else "NVIDIA_TESLA_T4"
    whole.cluster["resources"] = {"trainer": {"accelerator": name, "accelerator_count": 1}}


def image_without_a_tpu_build(whole: Whole) -> None:
    name = "TPU_V3" if whole.target == "vertex" else "google.com/tpu"
    whole.cluster["resources"] = {"trainer": {"accelerator": name, "accelerator_count": 8}}


def type_without_a_module(whole: Whole) -> None:
    outputs = whole.spec["components"]["embed_esc50"]["outputDefinitions"]["artifacts"]
    outputs["embeddings"]["artifactType"] = {"instanceSchema": "title: Embeddings\ntype: object\n"}


def type_that_declares_properties(whole: Whole) -> None:
    with (whole.checkout / "components" / "artifacts.py").open("a") as file:
        file.write(
            "\n\nclass Mine(Artifact):\n    TYPE_NAME = 'components.Mine'\n    PROPERTIES = {'n': None}\n"
        )
    whole.commit()
    whole.push()


def resolver_left(whole: Whole) -> None:
    executors = whole.spec["deploymentSpec"]["executors"]
    executors["base_model_executor"] = {"resolver": {"outputArtifactQueries": {}}}


def other_settings(whole: Whole) -> None:
    whole.options += ["--set", "training.steps=300"]


def other_package(whole: Whole) -> None:
    lock = whole.checkout / this_lock()
    lock.write_text(lock.read_text().replace(f"numpy=={numpy.__version__}", "numpy==1.26.3"))
    whole.commit()
    whole.push()


def uncommitted_change(whole: Whole) -> None:
    (whole.checkout / "hares" / "new.py").write_text("x = 1\n")


def store_that_does_not_answer(whole: Whole) -> None:
    whole.options += ["--metadata", "mysql://hares@127.0.0.1:9/hares"]


def unknown_setting(whole: Whole) -> None:
    whole.cluster["piepline_root"] = "gs://bucket/hares"


def file_that_is_not_compiled(whole: Whole) -> None:
    whole.documents = [{"steps": "none"}]


def no_credentials(whole: Whole) -> None:
    if whole.target == "kubeflow":
        pytest.skip("Kubeflow's pods have credentials of their own")
    whole.environment["GOOGLE_APPLICATION_CREDENTIALS"] = str(whole.folder / "gone.json")


@pytest.mark.full
def test_a_good_setup_gives_no_finding(whole: Whole) -> None:
    assert whole.doctor() == (0, [])


@pytest.mark.full
@pytest.mark.parametrize(
    ("fault", "check", "severity", "said"),
    [
        (no_image, "image", "fatal", "hares/pipeline:1 is missing"),
        (image_of_another_lock_file, "image", "fatal", "was built from"),
        (bucket_that_may_not_be_written, "storage", "fatal", "may not write it"),
        (no_bucket, "storage", "fatal", "no such bucket"),
        (machine_that_vertex_has_not, "machine", "fatal", "similar are n1-standard-8"),
        (accelerator_of_the_other_kind, "cluster_file", "fatal", "resources.trainer.accelerator"),
        (image_without_a_tpu_build, "image", "fatal", "asks for a TPU"),
        (type_without_a_module, "artifact_type", "fatal", "'Embeddings' has a name"),
        (type_that_declares_properties, "artifact_type", "fatal", "components.Mine declares properties"),
        (resolver_left, "resolver", "fatal", "resolver"),
        (other_settings, "settings", "warning", "training.steps 400 -> 300"),
        (other_package, "packages", "fatal", f"numpy is {numpy.__version__}, locked is 1.26.3"),
        (uncommitted_change, "git", "warning", "hares/new.py"),
        (store_that_does_not_answer, "store", "fatal", "127.0.0.1:9"),
        (unknown_setting, "cluster_file", "fatal", "piepline_root"),
        (file_that_is_not_compiled, "compiled", "fatal", "not a compiled pipeline"),
        (no_credentials, "credentials", "fatal", "gone.json"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_fault_is_found_and_nothing_else(
    whole: Whole, fault: Callable[[Whole], None], check: str, severity: str, said: str
) -> None:
    fault(whole)
    code, findings = whole.doctor()
    (found,) = findings
    assert (found["check"], found["severity"]) == (check, severity)
    assert said in found["cause"] and found["where"] and found["remedy"]
    assert code == (3 if severity == "fatal" else 0)
