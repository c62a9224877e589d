"""Compiled files: equal bytes for equal input, the golden files, and the clusters' own clients, which must take them.

A golden file is reviewed before it is replaced. To write what is compiled now beside the old one, or into FOLDER:

    PYTHONPATH=.:tests python tests/kubeflow/compiled/test_compile.py [FOLDER]
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.small_runs import pushed_to, small_cluster, small_run

pytest.importorskip("tfx")

import tfx
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from tensorflow_data_validation import StatsOptions
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as tfx_compiler
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel
from tfx.types.standard_artifacts import Model

from kubeflow.compiled.compile import compile_pipeline, complete
from kubeflow.compiled.file import with_node_names
from kubeflow.kfp.report_import import with_baseline_path
from pipeline.pipeline import create_pipeline
from pipeline.settings import SettingError

PROJECT = Path(__file__).resolve().parents[3]
GOLDEN = Path(__file__).with_name("golden")
FILES = {"kubeflow": "kubeflow.yaml", "vertex": "vertex.json"}
WORKSPACES = {"kubeflow": "/mnt/hares", "vertex": "/gcs/bucket/hares"}
TFX_WORD = tfx.__version__.replace(".", "-")
PYTHON_WORD = "-".join(map(str, sys.version_info[:2]))
REVISION = "0123456789abcdef0123456789abcdef01234567"
RECORDED = {
    "git_revision": REVISION,
    "git_clean": "yes",
    "preset": "small",
    "user": "someone",
    "lock_digest": "1" * 64,
}


def compiled(target: str, workspace: Path, **changes: Any) -> str:
    """The file's text, its workspace and the digest of settings and code replaced by words."""
    there = WORKSPACES[target]
    report = f"{there}/artifacts/evaluator/report/7"
    run = small_run(**{"warm_start": pushed_to(there), "baseline": report, **changes})
    text = compile_pipeline(run, small_cluster(target, workspace), REVISION, RECORDED)
    for found, word in (
        (str(workspace), "/mnt/hares"),
        (run.run_key, "RUN-KEY"),
        (run.run_key[:32], "run-key"),
    ):
        text = text.replace(found, word)
    return text


@pytest.fixture(scope="module", params=sorted(FILES))
def target(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def text(target: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    return compiled(target, tmp_path_factory.mktemp("first"))


def spec_of(text: str) -> dict[str, Any]:
    """The specification, its steps by their ids in the pipeline."""
    loaded = next(iter(yaml.safe_load_all(text)))
    return loaded["pipelineSpec"] if "pipelineSpec" in loaded else with_node_names(loaded)


def test_argo_takes_the_names_of_all_steps() -> None:
    """The pattern of argo-workflows' validator, workflow/validate/validate.go (workflowFieldNameFmt)."""
    spec = next(iter(yaml.safe_load_all((GOLDEN / FILES["kubeflow"]).read_text(encoding="utf-8"))))
    tasks = spec["root"]["dag"]["tasks"]
    named = {*tasks, *(name for task in tasks.values() for name in task.get("dependentTasks", []))}
    named |= {task["taskInfo"]["name"] for task in tasks.values()}
    sources = [source for task in tasks.values() for source in task["inputs"].get("artifacts", {}).values()]
    named |= {source["taskOutputArtifact"]["producerTask"] for source in sources}
    assert sources and all(re.fullmatch("[a-zA-Z0-9][-a-zA-Z0-9]*", name) for name in named)


def test_a_model_to_start_from_that_no_step_would_see_is_refused(target: str, tmp_path: Path) -> None:
    """Kubeflow's importer and Vertex's take addresses; a pod sees its volumes, and Vertex's steps see /gcs."""
    with pytest.raises(
        SettingError, match=r"pretraining\.warm_start: /home/me/pushed/7 is .* copy"
    ) as caught:
        compiled(target, tmp_path, warm_start=pushed_to("/home/me"))
    assert ("/mnt" if target == "kubeflow" else "gs://BUCKET") in str(caught.value)


def test_a_baseline_that_no_step_would_see_is_refused(target: str, tmp_path: Path) -> None:
    """The evaluator would find out at the end of the run."""
    with pytest.raises(SettingError, match=r"--metadata: .* report in /home/me/report, which is "):
        compiled(target, tmp_path, baseline="/home/me/report")


def test_vertexs_steps_read_a_baseline_below_gcs(tmp_path: Path) -> None:
    for report in ("gs://bucket/report/7", "/gcs/bucket/report/7"):
        spec = spec_of(compiled("vertex", tmp_path, baseline=report))
        assert (
            spec["root"]["inputDefinitions"]["parameters"]["baseline"]["defaultValue"]
            == "/gcs/bucket/report/7"
        )


def test_the_model_to_start_from_has_the_address_that_the_importer_takes(tmp_path: Path) -> None:
    for folder in ("/gcs/bucket/hares", "gs://bucket/hares"):
        spec = spec_of(compiled("vertex", tmp_path, warm_start=pushed_to(folder)))
        importer = spec["deploymentSpec"]["executors"]["base_model_executor"]["importer"]
        assert importer["artifactUri"]["constant"] == "gs://bucket/hares/pushed/7"
    spec = spec_of(compiled("kubeflow", tmp_path, warm_start=pushed_to("s3://bucket/hares")))
    importer = spec["deploymentSpec"]["executors"]["base_model_executor"]["importer"]
    assert importer["artifactUri"]["constant"] == "s3://bucket/hares/pushed/7"


def test_on_kubeflow_a_baseline_in_a_bucket_is_brought_into_the_evaluators_pod(tmp_path: Path) -> None:
    address = "minio://mlpipeline/hares/run-1/evaluator/report"
    text = compiled("kubeflow", tmp_path, baseline=address)
    spec = spec_of(text)
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    label = spec["components"][spec["root"]["dag"]["tasks"]["base_report"]["componentRef"]["name"]][
        "executorLabel"
    ]
    assert spec["deploymentSpec"]["executors"][label]["importer"]["artifactUri"]["constant"] == address
    evaluator = spec["root"]["dag"]["tasks"]["evaluator"]
    assert "base_report" in evaluator["dependentTasks"]
    (given,) = [i for i in evaluator["inputs"]["artifacts"].values() if "base" in str(i)]
    assert given["taskOutputArtifact"] == {"producerTask": "base_report", "outputArtifactKey": "result"}
    assert "base-report" in next(iter(yaml.safe_load_all(text)))["root"]["dag"]["tasks"], "as Argo takes it"
    # What the launcher then hands over, once it has brought the files: the address, and an untyped artifact.
    inputs = {
        "artifacts": {"base_report": {"artifacts": [{"name": "3", "type": {}, "uri": address}]}},
        "parameterValues": {"baseline": address},
    }
    assert with_baseline_path({"inputs": copy.deepcopy(inputs)})["inputs"] == {
        "artifacts": {},
        "parameterValues": {"baseline": "/minio/mlpipeline/hares/run-1/evaluator/report"},
    }
    inputs["parameterValues"]["baseline"] = "/mnt/a/report/of/the/submitter"
    changed = with_baseline_path({"inputs": inputs})["inputs"]["parameterValues"]
    assert changed == {"baseline": "/mnt/a/report/of/the/submitter"}


def test_equal_input_gives_equal_bytes(text: str, target: str, tmp_path: Path) -> None:
    assert compiled(target, tmp_path) == text


@pytest.mark.full
def test_the_order_of_hashes_changes_nothing(tmp_path: Path) -> None:
    """Two processes in which Python orders sets of strings otherwise give the reviewed files, byte by byte."""
    processes = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{PROJECT}:{PROJECT}/tests"}
        command = [sys.executable, __file__, str(tmp_path / seed)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
    assert [process.wait(timeout=900) for process in processes] == [0, 0]
    for kind, name in FILES.items():
        assert [(tmp_path / seed / f"new-{name}").read_bytes() for seed in ("1", "2")] == [
            reviewed(kind).encode()
        ] * 2


def test_it_is_the_reviewed_file(text: str, target: str) -> None:
    assert text == reviewed(target)


def reviewed(target: str) -> str:
    """A golden file; its words of versions, which are those of TFX 1.15, replaced by those of what is installed."""
    text = (GOLDEN / FILES[target]).read_text(encoding="utf-8")
    for there, here in (
        ("sdkVersion: tfx-1.15.1", f"sdkVersion: tfx-{tfx.__version__}"),
        ('"sdkVersion": "tfx-1.15.1"', f'"sdkVersion": "tfx-{tfx.__version__}"'),
        ("tfx_version: 1-15-1", f"tfx_version: {TFX_WORD}"),
        ('"tfx_version": "1-15-1"', f'"tfx_version": "{TFX_WORD}"'),
        ("tfx_py_version: 3-10", f"tfx_py_version: {PYTHON_WORD}"),
        ('"tfx_py_version": "3-10"', f'"tfx_py_version": "{PYTHON_WORD}"'),
    ):
        text = text.replace(there, here)
    if not hasattr(StatsOptions(), "_slice_sqls"):  # of TFDV 1.15, and always null; 1.21 has it no more
        text = re.sub(r'\\?"_slice_sqls\\?": null, ', "", text)
    return text


def test_the_schema_takes_every_field(text: str, target: str) -> None:
    """kfp's own messages refuse a field that they do not know."""
    spec = json_format.ParseDict(spec_of(text), pipeline_spec_pb2.PipelineSpec())
    assert spec.schema_version == "2.1.0"
    executors = json_format.ParseDict(
        spec_of(text)["deploymentSpec"], pipeline_spec_pb2.PipelineDeploymentConfig()
    ).executors
    embed = executors["embed_esc50_executor"].container
    assert embed.resources.cpu_limit == 4.0
    assert embed.resources.memory_limit == pytest.approx(16 * 2**30 / 1e9)
    if target == "kubeflow":
        trainer = executors["trainer_executor"].container
        assert (trainer.resources.cpu_limit, trainer.resources.accelerator.count) == (24.0, 8)
        assert trainer.image == "images.example/hares-tpu:1"
    assert executors["pusher_executor"].container.image == "images.example/hares:1"
    tasks = spec.root.dag.tasks
    assert tasks["trainer"].retry_policy.max_retry_count == 5
    assert tasks["trainer"].retry_policy.backoff_duration.seconds == 30
    cached = {name for name, task in tasks.items() if task.caching_options.enable_cache}
    assert cached == {
        "ingest_esc50", "ingest_pretraining", "ingest_pretraining_span_1", "ingest_pretraining_span_2",
        "schema", "statistics", "transform", "trainer", "evaluator",
    }  # fmt: skip


def _settings(container: dict[str, Any], module: str) -> tuple[dict[str, Any], list[str]]:
    """What a step of ours is given before the executor's command, and what follows."""
    assert container["command"] == ["python", "-m", module]
    settings, *rest = container["args"]
    return json.loads(settings), rest


def test_on_vertex_the_trainer_waits_for_a_job_and_the_pusher_registers(tmp_path: Path) -> None:
    executors = spec_of(compiled("vertex", tmp_path))["deploymentSpec"]["executors"]
    trainer, pusher = (executors[f"{name}_executor"]["container"] for name in ("trainer", "pusher"))
    step, command = _settings(trainer, "kubeflow.vertex.custom_job")
    assert step["hardware"]["machine_type"] == "cloud-tpu" and step["hardware"]["accelerator"] == "TPU_V3"
    assert step["image"] == "images.example/hares-tpu:1" and trainer["image"] == "images.example/hares:1"
    assert "resources" not in trainer
    assert command[:4] == [
        "{{$.pipeline_job_resource_name}}/{{$.pipeline_task_name}}", "python", "-m", "kubeflow.entrypoint",
    ]  # fmt: skip
    pushes, command = _settings(pusher, "kubeflow.vertex.model_registry")
    assert pushes["registration"]["model_id"] == "hares-golden"
    assert pushes["labels"] == {"cost_centre": "audio", "revision": REVISION, "run_key": "run-key"}
    assert command[:3] == ["python", "-m", "kubeflow.entrypoint"]
    for settings in (step, pushes):  # a file of the submitter's is not in the image
        assert settings["service"]["project"] == "audio" and settings["service"]["token_file"] == ""


def test_nothing_is_left_to_resolve(text: str, target: str) -> None:
    """Spans, fingerprints, baseline and warm start stand in the file, as parameters and as an importer."""
    spec = spec_of(text)
    executors = spec["deploymentSpec"]["executors"]
    assert {next(iter(executor)) for executor in executors.values()} <= {"container", "importer"}
    base = executors["base_model_executor"]
    if target == "vertex":
        assert base["importer"]["artifactUri"]["constant"] == "gs://bucket/hares/pushed/7"
    else:  # Kubeflow's importer takes no path
        assert json.loads(base["container"]["args"][0])["copied_from"] == "/mnt/hares/pushed/7"
    parameters = {
        name: entry["defaultValue"] for name, entry in spec["root"]["inputDefinitions"]["parameters"].items()
    }
    carried = json.loads(parameters.pop("recorded", "{}"))
    assert ("config" in carried) == (target == "kubeflow")
    if carried:
        assert carried.pop("config")["name"] == "hares-golden" and carried == RECORDED
        assert not re.search("componentInputParameter: [\"']?recorded", text), "no step's cache key has it"
    assert parameters == {
        "baseline": f"{WORKSPACES[target]}/artifacts/evaluator/report/7",
        "run_key": "RUN-KEY",
        "ingest_esc50_sources": '{"esc50": "/mnt/corpora/esc50"}',
        "ingest_esc50_fingerprint": "esc50-listing",
        "ingest_pretraining_span_2_sources": '{"folder": "/mnt/corpora/span-2"}',
        "ingest_pretraining_span_2_fingerprint": "span-2-listing",
        "ingest_pretraining_span_1_sources": '{"folder": "/mnt/corpora/span-1"}',
        "ingest_pretraining_span_1_fingerprint": "span-1-listing",
    }
    evaluator = spec["root"]["dag"]["tasks"]["evaluator"]["inputs"]["parameters"]
    assert evaluator["baseline"] == {"componentInputParameter": "baseline"}


def test_a_resolver_is_refused(tmp_path: Path) -> None:
    resolver = Resolver(strategy_class=LatestArtifactStrategy, model=Channel(type=Model)).with_id(
        "base_latest"
    )
    runner = tfx_compiler.KubeflowV2DagRunner(
        tfx_compiler.KubeflowV2DagRunnerConfig(default_image="x", use_pipeline_spec_2_1=True)
    )
    job = runner.run(Pipeline("one", str(tmp_path), components=[resolver]), write_out=False)
    with pytest.raises(ValueError, match="step base_latest is a resolver"):
        complete(job, small_cluster("kubeflow", tmp_path), {})


def test_what_is_given_stays_as_it_is(tmp_path: Path) -> None:
    run = small_run(workspace=tmp_path)
    config = tfx_compiler.KubeflowV2DagRunnerConfig(default_image="x", use_pipeline_spec_2_1=True)
    job = tfx_compiler.KubeflowV2DagRunner(config).run(create_pipeline(run), write_out=False)
    before = copy.deepcopy(job)
    complete(job, small_cluster("kubeflow", tmp_path), {"revision": REVISION})
    assert job == before


def test_clusters_pages_find_scores_and_report(text: str) -> None:
    outputs = spec_of(text)["components"]["evaluator"]["outputDefinitions"]["artifacts"]
    assert outputs["metrics"]["artifactType"] == {"schemaTitle": "system.Metrics", "schemaVersion": "0.0.1"}
    assert outputs["page"]["artifactType"] == {"schemaTitle": "system.HTML", "schemaVersion": "0.0.1"}


def test_kfps_loader_takes_the_yaml(tmp_path: Path) -> None:
    from kfp import components

    path = tmp_path / "p.yaml"
    path.write_text(compiled("kubeflow", tmp_path), encoding="utf-8")
    loaded = components.load_component_from_file(str(path))
    assert loaded.name == "hares-golden"
    inputs = loaded.component_spec.inputs
    assert inputs["baseline"].optional and inputs["baseline"].default.endswith("report/7")
    pods = loaded.platform_spec.platforms["kubernetes"].deployment_spec.executors
    trainer = json_format.MessageToDict(pods["trainer_executor"])
    assert trainer["nodeSelector"] == {"labels": {"cloud.google.com/gke-tpu-topology": "2x4"}}
    assert trainer["pvcMount"] == [{"constant": "hares-data", "mountPath": "/mnt"}]
    assert trainer["podMetadata"]["labels"] == {
        "cost_centre": "audio", "revision": REVISION, "run_key": "run-key", "tfx_py_version": PYTHON_WORD,
        "tfx_runner": "kubeflow_v2", "tfx_version": TFX_WORD,
    }  # fmt: skip


def test_kfps_client_reads_the_yaml_before_it_sends_it(tmp_path: Path) -> None:
    from kfp.client import Client

    path = tmp_path / "p.yaml"
    path.write_text(compiled("kubeflow", tmp_path), encoding="utf-8")
    # The client asks its server for nothing here; making one in the usual way would look for a cluster.
    client = Client.__new__(Client)
    given = {
        "params": {"baseline": ""}, "pipeline_package_path": str(path), "enable_caching": False,
        "pipeline_root": "gs://bucket/hares",
    }  # fmt: skip
    nothing = dict.fromkeys(inspect.signature(client._create_job_config).parameters)
    sent = client._create_job_config(**{**nothing, **given})
    assert set(sent.pipeline_spec) == {"pipeline_spec", "platform_spec"}
    tasks = sent.pipeline_spec["pipeline_spec"]["root"]["dag"]["tasks"]
    assert len(tasks) == 12 and not any(task["cachingOptions"] for task in tasks.values())
    assert sent.runtime_config.parameters == {"baseline": ""}


def test_vertexs_client_takes_the_json(tmp_path: Path) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    path = tmp_path / "p.json"
    path.write_text(compiled("vertex", tmp_path), encoding="utf-8")
    job = aiplatform.PipelineJob(
        display_name="golden", template_path=str(path), project="project", location="us-central1",
        credentials=AnonymousCredentials(), parameter_values={"baseline": ""},
        labels=json.loads(path.read_text())["labels"],
    )  # fmt: skip
    runtime = job.to_dict()["runtimeConfig"]
    assert runtime["gcsOutputDirectory"] == "gs://bucket/hares"
    assert runtime["parameterValues"]["run_key"] == "RUN-KEY" and runtime["parameterValues"]["baseline"] == ""
    with pytest.raises(ValueError, match="not found in the pipeline job input definitions"):
        aiplatform.PipelineJob(
            display_name="golden", template_path=str(path), project="project", location="us-central1",
            credentials=AnonymousCredentials(), parameter_values={"no_such": "1"},
        )  # fmt: skip


if __name__ == "__main__":
    import tempfile

    place = Path(sys.argv[1]) if sys.argv[1:] else GOLDEN
    for kind, name in FILES.items():
        with tempfile.TemporaryDirectory() as folder:
            path = place / f"new-{name}"
            path.write_text(compiled(kind, Path(folder)), encoding="utf-8")
            print(f"diff {GOLDEN / name} {path}")
