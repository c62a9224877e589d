"""The pipeline as one file that a cluster runs: PipelineJob JSON for Vertex, schema 2.1 YAML for Kubeflow.

TFX's compiler builds the graph from the same `create_pipeline` that runs here. `complete` adds what it leaves out:
parameters, retries, resources, images, labels, caching and node selectors. On Vertex it also puts steps into custom
jobs, and lets the pusher register its model. The order within the file is fixed, so that equal input gives equal bytes.

`pipeline.run.prepare` has already resolved span window, fingerprints, baseline and warm start from our store. They are
in the file as parameters and importers, and the cluster resolves nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner

from kubeflow.cluster_file import ClusterConfig, step_kind
from kubeflow.compiled.executor_input import ACCELERATOR_FLAG, SYSTEM_TYPES, as_address, as_path
from kubeflow.compiled.file import compiled_text, parameter_defaults, with_argo_names
from kubeflow.kfp.argo_template import fit_templates
from kubeflow.kfp.report_import import with_baseline_import
from kubeflow.kfp.volume_import import with_volume_imports
from pipeline.lineage.record import RECORDED
from pipeline.pipeline import create_pipeline
from pipeline.resolve import ResolvedRun
from pipeline.settings import SettingError, as_dict

_COMMAND = ("python", "-m", "kubeflow.entrypoint")
# Steps whose results the cluster may cache. The pusher and the importers are cheap, and must see the current state.
_CACHED_KINDS = ("ingest", "schema", "statistics", "transform", "trainer", "embed", "evaluator")
# Steps that are Beam pipelines, and may run on another Beam runner.
_BEAM_KINDS = ("ingest", "statistics", "transform", "embed")
# Resolved values that become parameters of the pipeline: a run's page shows them, and a later submission of the same
# file may set others.
_PARAMETERS = {"ingest": ("sources", "fingerprint"), "evaluator": ("baseline", "run_key")}
_BACKOFF = "30s"
# Argo tries again only within this time of the first attempt's start, and a trainer may run for days before it fails.
# Where the file says nothing, Kubeflow since 2.14 says 0, and no step is ever retried (kubeflow/pipelines,
# backend/src/v2/compiler/argocompiler/container.go, addParameterDefault). Vertex has a limit of its own, one hour.
_RETRIED_FOR = "2592000s"
_UNITS = {"Gi": 1.073741824, "G": 1.0, "Mi": 1.048576e-3, "M": 1e-3}  # to GB, the unit of the schema


def compile_pipeline(
    run: ResolvedRun, cluster: ClusterConfig, revision: str, recorded: Mapping[str, str]
) -> str:
    """The compiled file's text; the same input gives the same bytes.

    Args:
        run: the resolved settings and data.
        cluster: images, storage and resources.
        revision: git revision of the code in the images, for the labels.
        recorded: facts of the run, which with its settings become the pipeline's parameter `recorded` on Kubeflow.

    Raises:
        ValueError: a resolver is left in the graph.
    """
    pipeline = create_pipeline(dataclasses.replace(run, workspace=Path(cluster.workspace)))
    runner = kubeflow_v2_dag_runner.KubeflowV2DagRunner(
        config=kubeflow_v2_dag_runner.KubeflowV2DagRunnerConfig(
            default_image=cluster.image, default_commands=list(_COMMAND), use_pipeline_spec_2_1=True
        ),
        output_filename="unused",
    )
    job = runner.run(pipeline, write_out=False)
    job = complete(job, cluster, {"revision": revision, "run_key": run.run_key[:32]})
    if cluster.target == "kubeflow":
        _carry(job["pipelineSpec"], {**recorded, "config": as_dict(run.config)})
    return job_text(job, cluster)


def job_text(job: Mapping[str, Any], cluster: ClusterConfig) -> str:
    """The file of a completed job: for Vertex the job; for Kubeflow its pipeline, and what pods get beside it."""
    if cluster.target == "vertex":
        return compiled_text([job])
    platform = _platform_spec(job, cluster)
    return compiled_text([with_argo_names(job["pipelineSpec"]), *([platform] if platform else [])])


def complete(job: Mapping[str, Any], cluster: ClusterConfig, facts: Mapping[str, str]) -> dict[str, Any]:
    """The compiled job with everything added.

    Args:
        job: what `KubeflowV2DagRunner.run(write_out=False)` returns.
        cluster: images, storage and resources.
        facts: labels of this run, as in {"revision": ...}; characters that labels cannot have become "-".

    Raises:
        ValueError: the graph has a resolver, which open-source Kubeflow does not execute.
        SettingError: the baseline or the model to start from is where no step of the cluster sees it, or Argo could
            not start a step.
    """
    done = copy.deepcopy(dict(job))
    spec = done["pipelineSpec"]
    if cluster.target == "kubeflow":
        with_volume_imports(spec, cluster.image, cluster.volumes.values())
        with_baseline_import(spec, cluster.volumes.values())
    else:
        _read_from_buckets(spec)
    labels = {
        **{key: str(value) for key, value in cluster.labels.items()},
        **{key: _label(value) for key, value in facts.items()},
    }
    for step, task in spec["root"]["dag"]["tasks"].items():
        _, executor = _executor(spec, task)
        if "resolver" in executor:
            raise ValueError(
                f"step {step} is a resolver, which the cluster does not execute; resolve it before compiling"
            )
        kind = step_kind(step)
        cached = kind in _CACHED_KINDS and cluster.resources_of(kind).cache
        task["cachingOptions"] = {"enableCache": True} if cached else {}
        if "container" in executor:
            executor["container"]["image"] = cluster.image_of(kind)
            executor["container"]["args"] += cluster.beam_flags if kind in _BEAM_KINDS else ()
            needed = cluster.resources_of(kind).accelerator_kind
            if needed and executor["container"]["command"] == list(_COMMAND):
                executor["container"]["args"] += [f"{ACCELERATOR_FLAG}={needed}"]
            _add_resources(executor["container"], cluster, kind)
            executor["container"] = _on_vertex(
                executor["container"], cluster, kind, spec["pipelineInfo"]["name"], labels
            )
            retries = cluster.resources_of(kind).retries
            if retries:
                task["retryPolicy"] = {
                    "maxRetryCount": retries, "backoffDuration": _BACKOFF, "backoffFactor": 2.0,
                }  # fmt: skip
                if cluster.target == "kubeflow":
                    task["retryPolicy"]["backoffMaxDuration"] = _RETRIED_FOR
        for key in _PARAMETERS.get(kind, ()):
            if key not in task["inputs"]["parameters"]:
                continue  # the node of the window joins what others ingested, and has no such parameter
            _make_parameter(spec, step, key, key if kind == "evaluator" else f"{step}_{key}")
    _use_system_types(spec)
    if cluster.target == "kubeflow":
        fit_templates(spec, cluster.pipeline_root)
    done["labels"] = {
        **{key: _label(value) for key, value in done.get("labels", {}).items()},
        **labels,
    }
    spec["defaultPipelineRoot"] = cluster.pipeline_root
    done["runtimeConfig"] = {
        **done.get("runtimeConfig", {}),
        "gcsOutputDirectory": cluster.pipeline_root,
    }
    # The compiler drops the defaults, and clusters look for them here.
    defaults = parameter_defaults(spec)
    if defaults:
        done["runtimeConfig"]["parameterValues"] = defaults
    return done


def _carry(spec: dict[str, Any], recorded: Mapping[str, Any]) -> None:
    """Puts what a local run records on its context into a parameter of the pipeline.

    No step takes it, so no cache key has it. Kubeflow's root driver records all of the pipeline's parameters on the
    graph's execution, before any step begins (kubeflow/pipelines, RootDAG in backend/src/v2/driver/driver.go at 2.5.0,
    root_dag.go at 2.17.0; backend/src/v2/compiler/argocompiler/argo.go, Compile, fills in the defaults). `hares
    metadata import` reads them there.
    """
    spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})[RECORDED] = {
        "parameterType": "STRING",
        "defaultValue": json.dumps(recorded, sort_keys=True),
        "isOptional": True,
    }


def _read_from_buckets(spec: dict[str, Any]) -> None:
    """Importers of Vertex take addresses only, and steps read below /gcs.

    Raises:
        SettingError: the baseline or the model to start from is in no bucket.
    """
    tasks = spec["root"]["dag"]["tasks"]
    baseline = (
        tasks["evaluator"]["inputs"]["parameters"]["baseline"]["runtimeValue"] if "evaluator" in tasks else {}
    )
    if report := baseline.get("constant"):
        baseline["constant"] = as_path(report)
        if not baseline["constant"].startswith("/gcs/"):
            raise SettingError(
                f"--metadata: the store's latest blessed model has its report in {report}, which is in no bucket, so "
                "no step sees it; give the store of the cluster's workspace"
            )
    for executor in spec["deploymentSpec"]["executors"].values():
        if "importer" not in executor:
            continue
        at = executor["importer"]["artifactUri"]
        address = as_address(at["constant"])
        if not address.startswith("gs://"):
            raise SettingError(
                f"pretraining.warm_start: {at['constant']} is in no bucket, so Vertex cannot see it; copy the model to "
                "one, and give it as gs://BUCKET/... or /gcs/BUCKET/..."
            )
        at["constant"] = address


def _platform_spec(job: Mapping[str, Any], cluster: ClusterConfig) -> dict[str, Any]:
    """Kubeflow's second document: node selectors, volumes and labels of each step's pod; {} if there are none."""
    pods = {}
    spec = job["pipelineSpec"]
    for step, task in spec["root"]["dag"]["tasks"].items():
        label, executor = _executor(spec, task)
        if "container" not in executor:
            continue
        pod: dict[str, Any] = {"podMetadata": {"labels": dict(job["labels"])}}
        selector = cluster.resources_of(step_kind(step)).node_selector
        if selector:
            pod["nodeSelector"] = {"labels": dict(selector)}
        if cluster.volumes:
            pod["pvcMount"] = [
                {"constant": claim, "mountPath": path} for claim, path in sorted(cluster.volumes.items())
            ]
        pods[label] = pod
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": pods}}}} if pods else {}


def _executor(spec: Mapping[str, Any], task: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Label and content of a task's executor, which may be an importer."""
    label = spec["components"][task["componentRef"]["name"]].get("executorLabel", "")
    return label, spec["deploymentSpec"]["executors"].get(label, {})


def _add_resources(container: dict[str, Any], cluster: ClusterConfig, kind: str) -> None:
    wanted = cluster.resources_of(kind)
    resources: dict[str, Any] = {}
    if wanted.cpu:
        resources["cpuRequest"] = resources["cpuLimit"] = float(wanted.cpu)
    if wanted.memory:
        resources["memoryRequest"] = resources["memoryLimit"] = _gigabytes(wanted.memory)
    if wanted.accelerator:
        resources["accelerator"] = {"type": wanted.accelerator, "count": str(wanted.accelerator_count)}
    if resources:
        container["resources"] = resources


def _on_vertex(
    container: dict[str, Any], cluster: ClusterConfig, kind: str, pipeline: str, labels: Mapping[str, str]
) -> dict[str, Any]:
    """The container, changed to register its model or to run in a custom job if the cluster file says so."""
    hardware = cluster.resources_of(kind).custom_job
    registers = cluster.model_registry if kind == "pusher" else None
    if not hardware and not registers:
        return container
    # Imported here: Vertex's client takes seconds, and a file for Kubeflow does without.
    from kubeflow.vertex.custom_job import CustomJobStep, in_custom_job
    from kubeflow.vertex.model_registry import RegistryStep, and_register

    if registers:
        container = and_register(container, RegistryStep(cluster.step_service, registers, pipeline, labels))
    if hardware:
        step = CustomJobStep(cluster.step_service, hardware, cluster.image_of(kind), labels=labels)
        container = in_custom_job({**container, "image": cluster.image}, step)
    return container


def _gigabytes(memory: str) -> float:
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", memory)
    assert match is not None  # Resources has checked it
    return round(float(match[1]) * _UNITS[match[2]], 9)


def _label(value: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", str(value).lower())[:63].strip("-_")


def _make_parameter(spec: dict[str, Any], step: str, key: str, name: str) -> None:
    """The constant `key` of a step becomes the pipeline's parameter `name`, with the constant as its default."""
    inputs = spec["root"]["dag"]["tasks"][step]["inputs"]["parameters"]
    definition = spec["components"][step]["inputDefinitions"]["parameters"][key]
    spec["root"].setdefault("inputDefinitions", {}).setdefault("parameters", {})[name] = {
        "parameterType": definition["parameterType"],
        "defaultValue": inputs[key]["runtimeValue"]["constant"],
        "isOptional": True,
    }
    inputs[key] = {"componentInputParameter": name}


def _use_system_types(spec: dict[str, Any]) -> None:
    for component in spec["components"].values():
        for output in component.get("outputDefinitions", {}).get("artifacts", {}).values():
            title = yaml.safe_load(output["artifactType"]["instanceSchema"])["title"]
            if title in SYSTEM_TYPES:
                output["artifactType"] = {"schemaTitle": SYSTEM_TYPES[title], "schemaVersion": "0.0.1"}
