"""What TFX's compiler leaves out of the file: retries, resources, images, labels, caching, node selectors.

Works on the compiled dict alone and returns a new one. Order within the file never depends on the run of Python, so
that the same input gives the same bytes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from kubeflow.config import ClusterConfig, step_kind

# Steps whose work the cluster's cache may keep. The pusher and the importers are cheap, and must see the world as it is.
CACHED_KINDS = ("ingest", "schema", "statistics", "transform", "trainer", "embed", "evaluator")
_BACKOFF = "30s"
_UNITS = {"Gi": 1.073741824, "G": 1.0, "Mi": 1.048576e-3, "M": 1e-3}  # to GB, which the schema counts in


def complete(job: Mapping[str, Any], cluster: ClusterConfig, facts: Mapping[str, str]) -> dict[str, Any]:
    """A compiled job with everything added.

    Args:
        job: what `KubeflowV2DagRunner.run(write_out=False)` returns.
        cluster: images, storage and resources.
        facts: labels of this run, as in {"revision": ...}; characters that labels do not take become "-".

    Raises:
        ValueError: the graph has a resolver, which open-source Kubeflow does not execute.
    """
    done = copy.deepcopy(dict(job))
    spec = done["pipelineSpec"]
    executors = spec["deploymentSpec"]["executors"]
    for step, task in spec["root"]["dag"]["tasks"].items():
        label = spec["components"][task["componentRef"]["name"]].get("executorLabel", "")
        executor = executors.get(label, {})
        if "resolver" in executor:
            raise ValueError(
                f"step {step}: a resolver, which the cluster does not execute; resolve it before compiling"
            )
        kind = step_kind(step)
        task["cachingOptions"] = {"enableCache": True} if kind in CACHED_KINDS else {}
        if "container" in executor:
            executor["container"]["image"] = cluster.image_of(kind)
            _add_resources(executor["container"], cluster, kind)
            retries = cluster.resources_of(kind).retries
            if retries:
                task["retryPolicy"] = {
                    "maxRetryCount": retries, "backoffDuration": _BACKOFF, "backoffFactor": 2.0,
                }  # fmt: skip
    done["labels"] = {
        **{key: _label(value) for key, value in done.get("labels", {}).items()},
        **{key: str(value) for key, value in cluster.labels.items()},
        **{key: _label(value) for key, value in facts.items()},
    }
    spec["defaultPipelineRoot"] = cluster.pipeline_root
    done["runtimeConfig"] = {
        **done.get("runtimeConfig", {}),
        "gcsOutputDirectory": cluster.pipeline_root,
        **_parameter_defaults(spec),
    }
    return done


def platform_spec(job: Mapping[str, Any], cluster: ClusterConfig) -> dict[str, Any]:
    """Kubeflow's second document: node selectors, volumes and labels of each step's pod; {} where there are none."""
    pods = {}
    spec = job["pipelineSpec"]
    for step, task in spec["root"]["dag"]["tasks"].items():
        label = spec["components"][task["componentRef"]["name"]].get("executorLabel", "")
        if "container" not in spec["deploymentSpec"]["executors"].get(label, {}):
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


def _gigabytes(memory: str) -> float:
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]+)", memory)
    assert match is not None  # Resources has checked it
    return round(float(match[1]) * _UNITS[match[2]], 9)


def _label(value: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", str(value).lower())[:63]


def _parameter_defaults(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the pipeline's own parameters, whose defaults the compiler drops from where clusters look."""
    given = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    values = {name: entry["defaultValue"] for name, entry in given.items() if "defaultValue" in entry}
    return {"parameterValues": values} if values else {}
