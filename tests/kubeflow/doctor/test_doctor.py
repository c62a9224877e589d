"""The doctor on a good set-up, and on the same with one fault put into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from hares.version_lines import this_line, version_lines
from kits.doctor_setups import BASE, Setup, git
from kubeflow.doctor import all_checks, diagnose
from kubeflow.doctor.checks.machine import LEAST_MEMORY, available_memory
from kubeflow.doctor.finding import Finding, Severity, Subject

pytestmark = pytest.mark.slow

FATAL, WARNING = Severity.FATAL, Severity.WARNING

(OTHER_LOCK,) = (line.lock for line in version_lines() if line != this_line())


def examined(setup: Setup, **changes: object) -> list[Finding]:
    """What the doctor says, reading the set-up's files as they are now."""
    for name in ("cluster.yaml", "compiled.json"):
        if not (setup.folder / name).exists():
            getattr(setup, name.partition(".")[0])()
    compiled = json.loads((setup.folder / "compiled.json").read_text())
    given = {
        "target": setup.target,
        "workspace": setup.folder / "workspace",
        "lock": setup.lock,
        "project": setup.folder / "project",
        "cluster": yaml.safe_load((setup.folder / "cluster.yaml").read_text()),
        "cluster_file": str(setup.folder / "cluster.yaml"),
        "compiled": compiled.get("pipelineSpec", compiled),
        "compiled_file": str(setup.folder / "compiled.json"),
        "components": setup.folder / "components",
    }
    return diagnose(Subject(**{**given, **changes}))  # type: ignore[arg-type]


def test_a_good_setup_gives_no_finding(setup: Setup) -> None:
    assert examined(setup) == []
    assert not setup.loopback.objects  # the probe's file is gone again
    assert any(path.startswith("/upload/storage") for _, path in setup.loopback.asked)


# One fault each: what is done to the set-up, then the findings that must appear, and no other.
def other_lock(setup: Setup) -> None:
    text = setup.lock.read_text().replace(f"numpy=={np.__version__}", "numpy==1.26.3")
    setup.lock.write_text(text)
    git(setup.folder / "project", "commit", "--quiet", "-am", "another numpy")
    image_of(setup, lock=text)


def image_of(
    setup: Setup, lock: str | None = None, revision: str = "", base: str = BASE, accelerator: str = "GPU"
) -> None:
    import hashlib

    setup.loopback.push(
        "hares/pipeline:1",
        {
            "hares.lock.sha256": hashlib.sha256((lock or "another").encode()).hexdigest(),
            "org.opencontainers.image.revision": revision
            or git(setup.folder / "project", "rev-parse", "HEAD"),
            "org.opencontainers.image.base.digest": base,
            "hares.accelerator": accelerator,
        },
    )


def uncommitted(setup: Setup) -> None:
    (setup.folder / "project" / "new.py").write_text("x = 1\n")


def no_image(setup: Setup) -> None:
    setup.loopback.tags.clear()


def image_of_the_other_line(setup: Setup) -> None:
    image_of(setup, lock=setup.lock.with_name(OTHER_LOCK).read_text())


def image_of_another_revision(setup: Setup) -> None:
    image_of(setup, lock=setup.lock.read_text(), revision="0" * 40)


def image_on_a_base_by_tag(setup: Setup) -> None:
    image_of(setup, lock=setup.lock.read_text(), base="")


def image_for_another_machine(setup: Setup) -> None:
    setup.loopback.push("hares/pipeline:1", {}, platforms=("linux/arm64",))


def bucket_of_others(setup: Setup) -> None:
    setup.loopback.bucket_status = 403


def no_bucket(setup: Setup) -> None:
    setup.cluster(pipeline_root="gs://elsewhere/hares")


def bad_type_name(setup: Setup) -> None:
    setup.compiled(title="Embeddings")


def declared_properties(setup: Setup) -> None:
    setup.compiled(title="components.Mine\nproperties:\n  clips:\n    type: integer")


def bad_source(setup: Setup) -> None:
    (setup.folder / "components" / "mine.py").write_text(
        "class Mine(Artifact):\n    TYPE_NAME = 'components.Mine'\n    PROPERTIES = {'clips': INT}\n"
    )


def resolver(setup: Setup) -> None:
    setup.compiled(executor={"resolver": {"outputArtifactQueries": {}}})


def unknown_setting(setup: Setup) -> None:
    setup.cluster(piepline_root="x")


def no_compiled_pipeline(setup: Setup) -> None:
    (setup.folder / "compiled.json").write_text("{}")


@pytest.mark.parametrize(
    ("fault", "check", "severity", "said"),
    [
        (other_lock, "packages", FATAL, f"numpy is {np.__version__}, locked is 1.26.3"),
        (uncommitted, "git", WARNING, "new.py"),
        (no_image, "image", FATAL, "hares/pipeline:1 is missing"),
        (image_of, "image", FATAL, "was built from"),
        (image_of_the_other_line, "image", FATAL, f"was built from {OTHER_LOCK}, which is of another line"),
        (image_of_another_revision, "image", WARNING, "holds the code of 000000000000"),
        (image_on_a_base_by_tag, "image", WARNING, "its base image"),
        (image_for_another_machine, "image", FATAL, "not for linux/amd64"),
        (bucket_of_others, "storage", FATAL, "may not write it"),
        (no_bucket, "storage", FATAL, "no such bucket"),
        (bad_type_name, "artifact_type", FATAL, "'Embeddings' has a name"),
        (declared_properties, "artifact_type", FATAL, "components.Mine declares properties"),
        (bad_source, "artifact_type", FATAL, "components.Mine declares properties"),
        (resolver, "resolver", FATAL, "resolver"),
        (unknown_setting, "cluster_file", FATAL, "piepline_root"),
        (no_compiled_pipeline, "compiled", FATAL, "not a compiled pipeline"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_fault_is_found_and_nothing_else(
    setup: Setup, fault: Callable[[Setup], None], check: str, severity: Severity, said: str
) -> None:
    fault(setup)
    (found,) = examined(setup)
    assert (found.check, found.severity) == (check, severity)
    assert said in found.cause
    assert found.where and found.remedy


@pytest.mark.parametrize(
    ("machine", "said"),
    [
        ({"machineType": "n1-standrad-8"}, "similar are n1-standard-8"),
        ({"machineType": "n1-standard-32", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1}, "2/4 x"),
        ({"machineType": "g2-standard-24", "acceleratorType": "NVIDIA_L4", "acceleratorCount": 1}, "2 x NVIDIA_L4"),
        ({"machineType": "a2-highgpu-1g"}, "needs its accelerator named"),
        ({"machineType": "ct5lp-hightpu-4t", "tpuTopology": "3x3"}, "3x3; accepted are 2x2"),
        ({"machineType": "ct5lp-hightpu-4t"}, "tpu_topology none"),
        ({"machineType": "cloud-tpu", "acceleratorType": "TPU_V3", "acceleratorCount": 7}, "7 x TPU_V3"),
        ({"machineType": "n1-standard-8", "tpuTopology": "2x2"}, "takes no tpu_topology"),
    ],
)  # fmt: skip
def test_a_machine_that_vertex_has_not_is_found(
    vertex_or_kubeflow: dict[str, Setup], machine: dict[str, object], said: str
) -> None:
    setup = vertex_or_kubeflow["vertex"]
    setup.compiled(machine=json.dumps({"job": [{"machineSpec": machine}]}))
    (found,) = examined(setup)
    assert (found.check, found.severity) == ("machine", FATAL) and said in found.cause
    setup = vertex_or_kubeflow["kubeflow"]
    setup.compiled(machine=json.dumps({"job": [{"machineSpec": machine}]}))
    setup.cluster()
    assert examined(setup) == []  # nothing to Kubeflow, whose nodes are their owner's


@pytest.mark.parametrize(
    "machine",
    [
        {"machineType": "e2-standard-8"},
        {"machineType": "n1-standard-8", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": "2"},
        {"machineType": "cloud-tpu", "acceleratorType": "TPU_V2", "acceleratorCount": 8},
        {"machineType": "ct5lp-hightpu-8t", "tpuTopology": "2x4"},
        {"machine_type": "g2-standard-48", "accelerator_type": "NVIDIA_L4", "accelerator_count": 4},
    ],
)
def test_a_machine_that_vertex_has_is_none(
    vertex_or_kubeflow: dict[str, Setup], machine: dict[str, object]
) -> None:
    setup = vertex_or_kubeflow["vertex"]
    setup.compiled(machine=json.dumps({"job": [{"machineSpec": machine}]}))
    assert examined(setup) == []


def test_an_accelerator_of_a_step_that_vertex_has_not(vertex_or_kubeflow: dict[str, Setup]) -> None:
    setup = vertex_or_kubeflow["vertex"]
    setup.cluster(resources={"embed": {"accelerator": "NVIDIA_L5", "accelerator_count": 1}})
    (found,) = examined(setup)
    assert found.where.endswith("resources.embed.accelerator") and "NVIDIA_L4" in found.cause


@pytest.mark.parametrize("label", ["", "TPU", "GPU"])
def test_a_step_that_asks_for_a_gpu_needs_an_image_with_cuda(setup: Setup, label: str) -> None:
    """TensorFlow without its CUDA libraries takes the CPU and says nothing."""
    name = "NVIDIA_TESLA_T4" if setup.target == "vertex" else "nvidia.com/gpu"
    setup.cluster(resources={"trainer": {"accelerator": name, "accelerator_count": 1}, "embed": {"cpu": "4"}})
    assert examined(setup) == []
    image_of(setup, lock=setup.lock.read_text(), accelerator=label)
    found = examined(setup)
    assert len(found) == (label != "GPU")
    for finding in found:
        assert finding.where.endswith("resources.trainer") and "asks for a GPU" in finding.cause
        assert "target `gpu`" in finding.remedy and "images.trainer" in finding.remedy


def test_a_custom_jobs_machine_that_vertex_has_not(vertex_or_kubeflow: dict[str, Setup]) -> None:
    setup = vertex_or_kubeflow["vertex"]
    service = {"project": "audio", "region": "europe-west4", "pipeline_root": "gs://bucket/hares"}
    job = {"machine_type": "n1-standard-32", "accelerator": "NVIDIA_TESLA_V100", "accelerator_count": 2}
    setup.cluster(resources={"trainer": {"custom_job": job}}, service=service)
    (found,) = examined(setup)
    assert found.where.endswith("resources.trainer.custom_job")
    assert (
        "with 2 x NVIDIA_TESLA_V100; accepted are" in found.cause and "4/8 x NVIDIA_TESLA_V100" in found.cause
    )
    setup.cluster(resources={"trainer": {"custom_job": {**job, "accelerator_count": 4}}}, service=service)
    assert examined(setup) == []


def test_accelerators_of_the_table_are_ones_that_the_client_library_has() -> None:
    from google.cloud.aiplatform_v1.types import AcceleratorType

    from kubeflow.doctor.checks.machines import _accelerators

    assert _accelerators() <= {kind.name for kind in AcceleratorType}


def test_credentials_that_are_not_there(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(setup.folder / "gone.json"))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")  # else the bucket asks for none
    (found,) = examined(setup)
    assert (found.check, found.severity) == (
        ("credentials", FATAL) if setup.target == "vertex" else ("storage", WARNING)
    )
    assert "gone.json" in found.cause


def test_a_workspace_below_a_file(setup: Setup) -> None:
    (setup.folder / "file").write_text("x")
    (found,) = examined(setup, workspace=setup.folder / "file", cluster_file="", cluster={})
    assert (found.check, found.severity) == ("storage", FATAL) and "file cannot be written" in found.cause


def test_a_registry_that_wants_a_token_is_given_one(setup: Setup) -> None:
    setup.loopback.wants_token = True
    assert examined(setup) == []
    (path,) = {path for _, path in setup.loopback.asked if path.startswith("/registry-token")}
    assert "scope=repository%3Ahares%2Fpipeline%3Apull" in path


def test_an_index_of_platforms_is_followed(setup: Setup) -> None:
    labels = json.loads(next(b for b in setup.loopback.blobs.values() if b"Labels" in b))["config"]["Labels"]
    setup.loopback.push("hares/pipeline:1", labels, platforms=("linux/arm64", "linux/amd64"))
    assert examined(setup) == []


def test_a_registry_that_does_not_answer_is_a_warning(setup: Setup) -> None:
    setup.cluster(image="127.0.0.1:9/hares/pipeline:1")
    (found,) = examined(setup)
    assert (found.check, found.severity) == ("image", WARNING) and "unknown whether" in found.cause


def test_a_store_that_does_not_answer(setup: Setup) -> None:
    (found,) = examined(setup, metadata="mysql://hares@127.0.0.1:9/hares")
    assert (found.check, found.severity) == ("store", FATAL) and "127.0.0.1:9" in found.cause


def test_settings_that_the_last_run_did_not_have(setup: Setup) -> None:
    from kits.lineage_stores import create_store
    from pipeline.lineage.record import RunFacts, begin_run

    store = create_store(setup.folder / "workspace" / "metadata.sqlite")
    for run, target, steps in (("1", setup.target, 100), ("2", "local", 7), ("3", setup.target, 100)):
        config = {"name": "hares", "training": {"steps": steps, "seed": 0}}
        begin_run(store, run, "p", RunFacts(config, "demo", target, "key", {}), setup.folder)
    same = {"name": "hares", "training": {"steps": 100, "seed": 0}}
    assert examined(setup, config=same) == []
    (found,) = examined(setup, config={"name": "hares", "training": {"steps": 200, "seed": 0}})
    assert (found.check, found.severity, found.where) == ("settings", WARNING, "run 3")
    assert found.cause == "its settings were different: training.steps 100 -> 200"
    assert examined(setup, config={"name": "another", "training": {}}) == []


def test_a_machine_without_ffmpeg_room_or_a_place_to_write(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Subject("local", tmp_path / "not" / "yet", lock=setup.lock, components=tmp_path / "components")
    assert diagnose(good) == []
    # /proc is a file system without room, and nobody may write to it.
    found = diagnose(
        Subject("local", Path("/proc/self/hares"), lock=setup.lock, components=tmp_path / "components")
    )
    assert [(f.check, f.severity) for f in found] == [("disk", FATAL), ("storage", FATAL)]
    monkeypatch.setenv("PATH", str(tmp_path))
    (found,) = diagnose(good)
    assert (found.check, found.severity) == ("ffmpeg", WARNING)


def test_memory_is_the_kernels_own_estimate(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9000000 kB\nMemAvailable:  1000 kB\n")
    assert available_memory(meminfo) == 1000 * 1024 < LEAST_MEMORY
    assert available_memory(tmp_path / "none") is None


def test_a_missing_lock_file_and_a_workspace_that_is_not_mounted_are_said(setup: Setup) -> None:
    (found,) = examined(setup, lock=None, project=None)
    assert (found.check, found.severity) == ("packages", WARNING)
    setup.cluster(workspace=str(setup.folder / "nowhere"))
    (found,) = examined(setup, workspace=setup.folder / "nowhere")
    assert (found.check, found.severity) == ("storage", WARNING)


@pytest.mark.parametrize("place", ["workspace", "audio", "neither"])
def test_what_lies_on_no_volume_ends_with_its_pod(setup: Setup, place: str) -> None:
    there, elsewhere = setup.folder / "corpora", setup.folder.parent
    setup.compiled(audio=str(elsewhere if place == "audio" else there))
    setup.cluster(
        **({"volumes": {"data": str(there)}} if place == "workspace" and setup.target == "kubeflow" else {})
    )
    found = [(f.check, f.severity, f.where.split(": ")[-1]) for f in examined(setup)]
    where = "workspace" if place == "workspace" else "ingest_esc50_sources, esc50"
    expected = [("storage", FATAL, where)] if setup.target == "kubeflow" and place != "neither" else []
    assert found == expected


@pytest.mark.parametrize("check", ["task_name", "importer"])
def test_what_kubeflow_alone_refuses(setup: Setup, check: str) -> None:
    """Argo's validator takes no "_" in a task's name, and Kubeflow's importer no path."""
    importer = {"importer": {"artifactUri": {"constant": "/mnt/pushed/7"}}}
    setup.compiled(executor=importer if check == "importer" else None)
    if check == "task_name":
        path = setup.folder / "compiled.json"
        path.write_text(path.read_text().replace('"tasks": {"embed"', '"tasks": {"embed_esc50"'))
    expected = [(check, FATAL)] if setup.target == "kubeflow" else []
    assert [(found.check, found.severity) for found in examined(setup)] == expected


def test_retries_that_kubeflow_would_not_do(setup: Setup) -> None:
    """Kubeflow 2.14 and later give Argo 0 seconds for them where the file says nothing."""
    setup.compiled()
    path = setup.folder / "compiled.json"
    for policy, expected in (
        ({"maxRetryCount": 2}, [("retries", WARNING)] if setup.target == "kubeflow" else []),
        ({"maxRetryCount": 2, "backoffMaxDuration": "60s"}, []),
        ({}, []),
    ):
        job = json.loads(path.read_text())
        job.get("pipelineSpec", job)["root"]["dag"]["tasks"]["embed"]["retryPolicy"] = policy
        path.write_text(json.dumps(job))
        assert [(found.check, found.severity) for found in examined(setup)] == expected


def test_every_check_is_found_by_its_name() -> None:
    from kubeflow.doctor.checks import compiled

    assert all_checks()["resolvers"] is compiled.check_resolvers
