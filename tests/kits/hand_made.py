"""Compiled files written by hand, whose steps are a few lines of plain Python: what the harness does, without TFX."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from kubeflow.compiled.file import with_argo_names

# Begins every step: `given` is its executor input; `say` writes the output file as TFX's entry point does.
PROLOGUE = """
import json, os, pathlib, signal, sys
given = json.loads(sys.argv[1])
uri = {k: v["artifacts"][0]["uri"] for k, v in given["outputs"]["artifacts"].items()}
took = {k: v["artifacts"][0] for k, v in given.get("inputs", {}).get("artifacts", {}).items()}
values = given.get("inputs", {}).get("parameterValues", {})
def write(key, text):
    pathlib.Path(uri[key]).mkdir(parents=True, exist_ok=True)
    (pathlib.Path(uri[key]) / "data").write_text(text)
def say(**metadata):
    artifacts = {k: {"artifacts": [{"uri": uri[k], "metadata": metadata}]} for k in uri}
    file = pathlib.Path(given["outputs"]["outputFile"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"artifacts": artifacts}))
"""


class Quiet:
    """An observer of attempts that says nothing."""

    def start(self, step: str, attempt: int, process: int) -> None: ...

    def finish(self, step: str, outcome: str, seconds: float) -> None: ...


def step(code: str, takes: dict[str, tuple[str, str]] | None = None, gives: tuple[str, ...] = ("out",),
         parameters: dict[str, Any] | None = None, retries: int = 0, driver: str = "") -> dict[str, Any]:  # fmt: skip
    """A step: Python code, input name to (step, output), outputs, parameters, retries and a driver's code."""
    container: dict[str, Any] = {
        "image": "none",
        "command": ["python", "-c", PROLOGUE + code],
        "args": ["{{$}}"],
    }
    if driver:
        container["lifecycle"] = {
            "preCacheCheck": {"command": ["python", "-c", PROLOGUE + driver], "args": ["{{$}}"]}
        }
    inputs: dict[str, Any] = {
        "artifacts": {
            key: {"taskOutputArtifact": {"producerTask": producer, "outputArtifactKey": output}}
            for key, (producer, output) in (takes or {}).items()
        },
        "parameters": parameters or {},
    }
    task: dict[str, Any] = {
        "inputs": inputs,
        "dependentTasks": sorted({p for p, _ in (takes or {}).values()}),
    }
    if retries:
        task["retryPolicy"] = {"maxRetryCount": retries, "backoffMaxDuration": "3600s"}
    return {"container": container, "task": task, "gives": gives}


def write_file(
    path: Path, steps: dict[str, dict[str, Any]], parameters: dict[str, Any] | None = None
) -> Path:
    """Writes the steps as a Kubeflow file, or as a Vertex one where the path ends in ".json"."""
    kind = {"instanceSchema": "title: tfx.File\ntype: object\n"}
    spec = {
        "pipelineInfo": {"name": "by-hand"},
        "schemaVersion": "2.1.0",
        "components": {
            name: {
                "executorLabel": f"{name}_executor",
                "outputDefinitions": {"artifacts": {key: {"artifactType": kind} for key in one["gives"]}},
            }
            for name, one in steps.items()
        },
        "deploymentSpec": {
            "executors": {f"{name}_executor": {"container": one["container"]} for name, one in steps.items()}
        },
        "root": {
            "dag": {
                "tasks": {
                    name: {**one["task"], "componentRef": {"name": name}} for name, one in steps.items()
                }
            },
            "inputDefinitions": {"parameters": parameters or {}},
        },
    }
    written = (
        json.dumps({"pipelineSpec": spec})
        if path.suffix == ".json"
        else yaml.safe_dump(with_argo_names(spec))
    )
    path.write_text(written, encoding="utf-8")
    return path
