"""The Argo workflow that Kubeflow's API server makes of a compiled file: its names, what waits for what, and its pods.

It follows kubeflow/pipelines, backend/src/v2/compiler/argocompiler (argo.go, dag.go, container.go, importer.go). That
compiler cannot be had as a Go module here. Images and programs are left out, since no rule for names reads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

RELEASES = ("2.5.0", "2.17.0")
_DRIVER_TAKES = ("component", "task", "container", "parent-dag-id", "kubernetes-config")
_DRIVER_GIVES = ("pod-spec-patch", "cached-decision")
_RETRY = {
    "retry-max-count": "maxRetryCount", "retry-backoff-duration": "backoffDuration",
    "retry-backoff-factor": "backoffFactor", "retry-backoff-max-duration": "backoffMaxDuration",
}  # fmt: skip
_BACKOFF = {"duration": "duration", "factor": "factor", "maxDuration": "max-duration"}


def workflow(documents: Sequence[Mapping[str, Any]], release: str) -> dict[str, Any]:
    """The Workflow of a file for Kubeflow, its documents parsed, by the compiler of a release."""
    spec, pods = documents[0], _pods(documents)
    templates: dict[str, Any] = {
        "system-container-driver": _driver(_DRIVER_TAKES, ("pod-spec-patch", "cached-decision"))
    }
    arguments: dict[str, Any] = {"components-root": spec["root"]}
    tasks = []
    for name, task in sorted(spec["root"]["dag"]["tasks"].items()):
        component = task["componentRef"]["name"]
        label = spec["components"][component]["executorLabel"]
        executor = spec["deploymentSpec"]["executors"][label]
        arguments |= {
            f"components-{component}": spec["components"][component],
            f"implementations-{component}": executor,
            f"kubernetes-{component}": pods.get(label, {}),
        }
        given = {
            "component": f"{{{{workflow.parameters.components-{component}}}}}",
            "task": json.dumps(task),
            "parent-dag-id": "{{inputs.parameters.parent-dag-id}}",
        }
        waits = " && ".join(f"{before}.Succeeded" for before in _dependencies(task))
        implementation = f"{{{{workflow.parameters.implementations-{component}}}}}"
        if "importer" in executor:
            templates["system-importer"] = _pod(("task", "component", "importer", "parent-dag-id"))
            importer = {**given, "importer": implementation}
            tasks.append(_task(name, "system-importer", importer))  # dag.go: it waits for nothing
            continue
        driver = {
            **given,
            "container": implementation,
            "kubernetes-config": f"{{{{workflow.parameters.kubernetes-{component}}}}}",
        }
        tasks.append(_task(f"{name}-driver", "system-container-driver", driver, waits))
        outputs = f"{{{{tasks.{name}-driver.outputs.parameters"
        patch = {
            "pod-spec-patch": f"{outputs}.pod-spec-patch}}}}",
            "cached-decision": f"{outputs}.cached-decision}}}}",
        }
        both, values = _container(name, task, pods.get(label, {}), release)
        templates |= both
        tasks.append(_task(name, next(iter(both)), {**patch, **values}, f"{name}-driver.Succeeded"))
    templates["root"] = {"inputs": _parameters(("parent-dag-id",)), "dag": {"tasks": tasks}}
    templates["system-dag-driver"] = _driver(
        ("component", "runtime-config", "driver-type"), ("execution-id",)
    )
    root = {
        "component": "{{workflow.parameters.components-root}}",
        "runtime-config": json.dumps(spec["root"].get("inputDefinitions", {})),
        "driver-type": "ROOT_DAG",
    }
    parent = {"parent-dag-id": "{{tasks.root-driver.outputs.parameters.execution-id}}"}
    first = _task("root-driver", "system-dag-driver", root)
    templates["entrypoint"] = {
        "dag": {"tasks": [first, _task("root", "root", parent, "root-driver.Succeeded")]}
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": spec["pipelineInfo"]["name"] + "-", "namespace": "kubeflow"},
        "spec": {
            "entrypoint": "entrypoint",
            "serviceAccountName": "pipeline-runner",
            "arguments": {"parameters": [{"name": k, "value": json.dumps(v)} for k, v in arguments.items()]},
            "templates": [{"name": name, **content} for name, content in templates.items()],
        },
    }


def edges(made: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """The root's tasks: name to template, and the condition that it waits for."""
    (root,) = [template for template in made["spec"]["templates"] if template["name"] == "root"]
    return {task["name"]: (task["template"], task.get("depends", "")) for task in root["dag"]["tasks"]}


def _container(
    name: str, task: Mapping[str, Any], pod: Mapping[str, Any], release: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Both templates of a step's pod, the outer first, and what its task gives beside the patch."""
    labels, policy = pod.get("podMetadata", {}).get("labels", {}), task.get("retryPolicy", {})
    values: dict[str, str] = {}
    given = {key: _seconds(policy[theirs]) for key, theirs in _RETRY.items() if theirs in policy}
    held = {**dict.fromkeys(_RETRY, "0"), "retry-backoff-max-duration": "", **given}
    prefix = f"{name}-" if policy else ""
    if release != "2.5.0":
        prefix = (f"metadata-0-{len(labels)}-" if labels else "") + ("retry-" if policy else "")
        for number, (key, value) in enumerate(sorted(labels.items()), 1):
            values |= {f"pod-metadata-label-key-{number}": key, f"pod-metadata-label-val-{number}": value}
        held = {key: _input(key) for key in (*values, *_RETRY)}
        keys = list(map(_input, values))
        labels = dict(zip(keys[::2], keys[1::2], strict=True))
        values |= given
    content: dict[str, Any] = {"metadata": {"labels": dict(labels)}}
    takes = ("pod-spec-patch", *dict.fromkeys((*values, *(_RETRY if policy and values else ()))))
    if policy:
        backoff = {
            name: held[f"retry-backoff-{key}"]
            for name, key in _BACKOFF.items()
            if held[f"retry-backoff-{key}"]
        }
        content["retryStrategy"] = {"limit": held["retry-max-count"], "backoff": backoff}
    passed = {key: _input(key) for key in takes}
    executor = _task("executor", f"{prefix}system-container-impl", passed)
    executor["when"] = "{{inputs.parameters.cached-decision}} != true"
    volumes = [
        {"name": mount["constant"], "persistentVolumeClaim": {"claimName": mount["constant"]}}
        for mount in pod.get("pvcMount", [])
    ]
    outer = {"inputs": _parameters(takes, "cached-decision", zero=_RETRY), "dag": {"tasks": [executor]}}
    inner = {
        **_pod(takes), **content, "podSpecPatch": "{{inputs.parameters.pod-spec-patch}}",
        "nodeSelector": dict(pod.get("nodeSelector", {}).get("labels", {})), "volumes": volumes,
    }  # fmt: skip
    return {f"{prefix}system-container-executor": outer, f"{prefix}system-container-impl": inner}, values


def _dependencies(task: Mapping[str, Any]) -> Iterator[str]:
    """dag.go, addImplicitDependencies: what the task names, then the producers that it does not name."""
    seen = list(task.get("dependentTasks", []))
    inputs = task.get("inputs", {})
    for given in (*inputs.get("parameters", {}).values(), *inputs.get("artifacts", {}).values()):
        output = given.get("taskOutputParameter") or given.get("taskOutputArtifact")
        if output and output["producerTask"] not in seen:
            seen.append(output["producerTask"])
    yield from seen


def _task(name: str, template: str, given: Mapping[str, str], waits: str = "") -> dict[str, Any]:
    arguments = {"parameters": [{"name": key, "value": value} for key, value in given.items()]}
    return {"name": name, "template": template, "arguments": arguments} | (
        {"depends": waits} if waits else {}
    )


def _driver(takes: Sequence[str], gives: Sequence[str]) -> dict[str, Any]:
    outputs = [{"name": key, "valueFrom": {"path": f"/tmp/outputs/{key}", "default": ""}} for key in gives]
    return {**_pod(takes), "outputs": {"parameters": outputs}}


def _pod(takes: Sequence[str]) -> dict[str, Any]:
    given = [_input(key) for key in takes]
    return {
        "inputs": _parameters(takes),
        "container": {"image": "replaced", "command": ["replaced"], "args": given},
    }


def _input(key: str) -> str:
    return f"{{{{inputs.parameters.{key}}}}}"


def _parameters(
    takes: Sequence[str], *optional: str, zero: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    required = [{"name": key, **({"default": "0"} if key in (zero or {}) else {})} for key in takes]
    return {"parameters": [*required, *({"name": key, "default": "false"} for key in optional)]}


def _pods(documents: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if len(documents) == 1:
        return {}
    pods: Mapping[str, Any] = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return pods


def _seconds(value: Any) -> str:
    """A duration of protobuf's, or a number, as the compiler writes it into the workflow."""
    return str(int(float(str(value).removesuffix("s")))) if value else "0"
