"""What a step is handed on Kubeflow, and what is kept of its results: less than a plain hand-over would give and keep.

Every line is what the source of kubeflow/pipelines does, in releases 2.2 to 2.17 unless one is named. Files are
below backend/src/v2.

- An input has no type, `{"instanceSchema": ""}`, and a number for a name (metadata/client.go, converter.go).
- Properties go through ML Metadata: booleans become 1 and 0, lists and structs are wrapped in a struct, and nothing can
  be null (metadata/converter.go, StructValueToMLMDValue).
- The store's own properties come with an input: display_name, store_session_info (metadata/client.go, RecordArtifact).
- The executor input is protobuf's JSON: what is empty is missing (component/launcher_v2.go, compileCmdAndArgs).
- A parameter of the wrong type, or without value and default, fails the step (driver/resolve.go, resolveInputs).
- An input at a path, in no bucket, fails the step (component/launcher_v2.go, fetchNonDefaultBuckets).
- The launcher's log is among the outputs, open while the step runs (2.5; driver/driver.go, provisionOutputs).
- An output's name is its key, and the output file lies beside the outputs (2.15; before, an output had no name and the
  file was /tmp/kfp_outputs/output_metadata.json, in a folder that a step had to make; driver/driver.go,
  provisionOutputs). The folder is not made here either.
- A field that `ExecutorOutput` lacks, in the output file, fails the step (component/launcher_v2.go,
  getExecutorOutputFile).
- Files are uploaded, folders are not: an empty one is gone (objectstore/object_store.go, UploadBlob).
- A pod that would be told too much does not begin (`template_bytes`).
- A driver in the file (`lifecycle.preCacheCheck`) is never run: nothing reads it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kubeflow.compiled.executor_input import EXECUTOR_LOGS
from kubeflow.compiled.file import CompiledStep

OUTPUT_FILE = "output_metadata.json"
_SESSION = '{"Provider":"minio","Params":{"bucketName":"bucket","fromEnv":"false"}}'
_OUTPUT_FIELDS = {"parameters", "artifacts", "parameterValues", "parameter_values"}
_ARTIFACT_FIELDS = {
    "name", "type", "uri", "metadata", "properties", "customProperties", "custom_properties", "customPath",
    "custom_path",
}  # fmt: skip
_NUMBERS = ("NUMBER_DOUBLE", "NUMBER_INTEGER")


# Argo up to 3.5 hands a pod its template in one environment variable (argo-workflows 3.5.14, createWorkflowPod in
# workflow/controller/workflowpod.go), and Linux takes 128 KiB for one (MAX_ARG_STRLEN). With more, the pod ends before
# it begins: "argument list too long". Argo 4.0 puts a longer one into a file.
TEMPLATE_LIMIT = 128 * 1024 - len("ARGO_TEMPLATE=\0")
_REST = 3000  # bytes of a template beside the patch: volumes, retries, labels


class RefusedByKubeflowError(ValueError):
    """Kubeflow would fail the step; the message says why."""


def handed_over(step: CompiledStep, inputs: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """`ExecutorInput.inputs` as the driver passes it to a step.

    Args:
        step: that takes them.
        inputs: artifacts and parameters as they were published.
        run: folder that stands for the bucket.

    Raises:
        RefusedByKubeflowError: a parameter is missing or has the wrong type, an input is in no bucket, its pod would be
            told too much, or the step has a driver.
    """
    if step.container and "preCacheCheck" in step.container.get("lifecycle", {}):
        raise RefusedByKubeflowError("it has a driver, which Kubeflow never runs; only Vertex does")
    declared = step.component.get("inputDefinitions", {}).get("parameters", {})
    values = dict(inputs["parameterValues"])
    for name, definition in declared.items():
        if name not in values:
            if not definition.get("isOptional") and "defaultValue" not in definition:
                raise RefusedByKubeflowError(f"its parameter {name} has neither a value nor a default")
        else:
            values[name] = _converted(name, values[name], definition["parameterType"])
    artifacts = {
        key: {"artifacts": [_from_store(key, one, run) for one in entry["artifacts"]]}
        for key, entry in inputs["artifacts"].items()
    }
    given = without_empty({"artifacts": artifacts, "parameterValues": values})
    told = template_bytes({"inputs": given}, step.component, (step.container or {}).get("args", []))
    if told > TEMPLATE_LIMIT:
        raise RefusedByKubeflowError(
            f"its pod would be told {told} bytes, and Argo can hand over {TEMPLATE_LIMIT}"
        )
    return given


def planned_outputs(step: CompiledStep, folder: Path, log: Path) -> dict[str, Any]:
    """`ExecutorInput.outputs` as the driver plans them.

    Args:
        step: whose outputs.
        folder: of the task: its outputs and output file.
        log: to which the launcher writes while the step runs.
    """
    definitions = step.component.get("outputDefinitions", {})
    artifacts: dict[str, Any] = {
        EXECUTOR_LOGS: {"name": EXECUTOR_LOGS, "type": {"schemaTitle": "system.Artifact"}, "uri": str(log)}
    }
    for key, definition in definitions.get("artifacts", {}).items():
        artifacts[key] = without_empty(
            {
                "name": key,
                "type": definition["artifactType"],
                "uri": str(folder / key),
                "metadata": definition.get("metadata", {}),
            }
        )
    parameters = {
        key: {"outputFile": str(folder.parent / "parameters" / key)}
        for key in definitions.get("parameters", {})
    }
    outputs = {
        "artifacts": {key: {"artifacts": [one]} for key, one in artifacts.items()},
        "parameters": parameters,
        "outputFile": str(folder / OUTPUT_FILE),
    }
    return without_empty(outputs)


def check_output(written: Mapping[str, Any]) -> None:
    """Raises RefusedByKubeflowError if the launcher could not read this content of an output file."""
    artifacts = written.get("artifacts", {})
    fields = set(written) - _OUTPUT_FIELDS
    for entry in artifacts.values():
        fields |= set(entry) - {"artifacts"}
        for one in entry.get("artifacts", []):
            fields |= set(one) - _ARTIFACT_FIELDS
    if fields:
        raise RefusedByKubeflowError(
            f"its output file has {', '.join(sorted(fields))}, which ExecutorOutput lacks"
        )


def kept(artifact: Mapping[str, Any], run: Path) -> dict[str, Any]:
    """A published artifact as bucket and ML Metadata keep it; its empty folders are removed.

    Args:
        artifact: as its step published it.
        run: folder that stands for the bucket.

    Raises:
        RefusedByKubeflowError: a property is null.
    """
    if Path(artifact["uri"]).is_relative_to(run):
        for folder, _, _ in os.walk(artifact["uri"], topdown=False):
            if not os.listdir(folder):
                os.rmdir(folder)
    return {
        **artifact,
        "metadata": {key: _stored(key, value) for key, value in artifact.get("metadata", {}).items()},
    }


def without_empty(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message's fields as protobuf writes them in JSON: none that is empty."""
    return {key: value for key, value in message.items() if value not in ({}, [], "")}


def _from_store(key: str, artifact: Mapping[str, Any], run: Path) -> dict[str, Any]:
    if "://" not in artifact["uri"] and not Path(artifact["uri"]).is_relative_to(run):
        raise RefusedByKubeflowError(f"its input {key} is at {artifact['uri']}, which is in no bucket")
    metadata = {
        "display_name": artifact["name"],
        "store_session_info": _SESSION,
        **artifact.get("metadata", {}),
    }
    number = zlib.crc32(artifact["uri"].encode())
    return {
        "name": str(number),
        "uri": artifact["uri"],
        "type": {"instanceSchema": ""},
        "metadata": metadata,
    }


def _stored(key: str, value: Any) -> Any:
    if value is None:
        raise RefusedByKubeflowError(f"its output's property {key} is null, which ML Metadata cannot hold")
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value


def _converted(name: str, value: Any, kind: str) -> Any:
    if kind == "STRING":  # anything else becomes text
        return value if isinstance(value, str) else json.dumps(value)
    fits = {
        "BOOLEAN": isinstance(value, bool),
        "LIST": isinstance(value, list),
        "STRUCT": isinstance(value, dict),
        **dict.fromkeys(_NUMBERS, isinstance(value, (int, float)) and not isinstance(value, bool)),
    }
    if not fits[kind]:
        raise RefusedByKubeflowError(f"its parameter {name} is a {kind}, and the value is {value!r}")
    return value


def template_bytes(
    executor_input: Mapping[str, Any], component: Mapping[str, Any], arguments: Sequence[str]
) -> int:
    """Bytes of the template of a step's pod.

    The driver writes all inputs and the arguments into the pod's patch (initPodSpecPatch in driver/driver.go). The
    template has the patch twice: as the parameter that it comes in, and in place.
    """
    parts = ["--executor_input", _compact(executor_input), "--component_spec", _compact(component)]
    patch = _compact(
        {"containers": [{"args": list(arguments), "command": parts, "name": "main", "resources": {}}]}
    )
    return 2 * len(json.dumps(patch)) + _REST


def _compact(content: Any) -> str:
    return json.dumps(content, separators=(",", ":"))
