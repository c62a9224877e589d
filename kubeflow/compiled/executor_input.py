"""Reads and changes the executor input in a step's command: what the cluster passes to TFX's entry point.

It is the word after `--json_serialized_invocation_args`, or joined to it by "=". Artifacts have addresses (`gs://`,
`s3://`, `minio://`), and both clusters provide their files in folders: Vertex mounts a bucket at `/gcs/BUCKET`, and
Kubeflow copies inputs there before the step and outputs from there afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

FLAG = "--json_serialized_invocation_args"
INPUTS_SPEC_FLAG = "--json_serialized_inputs_spec_args"
ACCELERATOR_FLAG = (
    "--requires_accelerator"  # of our entry point: the kind that the step's machine should have
)
EXECUTOR_LOGS = "executor-logs"
# Our types that the clusters' pages can show, under the clusters' names; `kubeflow.entrypoint` maps them back.
SYSTEM_TYPES = {"components.ScoreMetrics": "system.Metrics", "components.ReportPage": "system.HTML"}
FOLDERS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


def with_executor_input(
    command: Sequence[str], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[str]:
    """The command with its executor input changed.

    Raises:
        ValueError: the command has no executor input.
    """
    for at, word in enumerate(command):
        if word == FLAG and at + 1 < len(command):
            return [*command[: at + 1], json.dumps(change(json.loads(command[at + 1]))), *command[at + 2 :]]
        if word.startswith(f"{FLAG}="):
            given = json.loads(word.split("=", 1)[1])
            return [*command[:at], f"{FLAG}={json.dumps(change(given))}", *command[at + 1 :]]
    raise ValueError(f"the command has no {FLAG}; it does not run an executor of TFX")


def as_tfx_expects(command: Sequence[str]) -> list[str]:
    """The command without two peculiarities of Kubeflow that TFX's entry point does not expect.

    - Input artifacts have no type, `{"instanceSchema": ""}` (kubeflow/pipelines 2.2 to 2.17,
      backend/src/v2/metadata/client.go, "figure out how to get schema"). The types are taken from the compiled command.
    - Since 2.5 the driver adds an output `executor-logs` of type `system.Artifact` (backend/src/v2/driver/driver.go).
      The launcher writes to it while the step runs, so the step must not touch it.
    """
    types = _declared_input_types(command)

    def change(given: dict[str, Any]) -> dict[str, Any]:
        given.get("outputs", {}).get("artifacts", {}).pop(EXECUTOR_LOGS, None)
        for name, entry in given.get("inputs", {}).get("artifacts", {}).items():
            for artifact in entry.get("artifacts", []):
                if not any(artifact.get("type", {}).values()) and name in types:
                    artifact["type"] = types[name]
        return given

    return with_executor_input(command, change)


def _declared_input_types(command: Sequence[str]) -> dict[str, Any]:
    """The `artifactType` of a step's inputs by name, as its component declares them."""
    for at, word in enumerate(command):
        flag, joined, value = word.partition("=")
        if flag == INPUTS_SPEC_FLAG:
            declared = json.loads(value if joined else command[at + 1])
            return {name: entry["artifactType"] for name, entry in declared.get("artifacts", {}).items()}
    return {}


def executor_input(command: Sequence[str]) -> dict[str, Any]:
    """The executor input of a command.

    Raises:
        ValueError: the command has none.
    """
    found: list[dict[str, Any]] = []

    def keep(given: dict[str, Any]) -> dict[str, Any]:
        found.append(given)
        return given

    with_executor_input(command, keep)
    return found[0]


def output_file(given: Mapping[str, Any]) -> str:
    """Path of the file in which a step reports its outputs to the cluster.

    Raises:
        ValueError: the executor input names none.
    """
    named = str(given.get("outputs", {}).get("outputFile") or "")
    if not named:
        raise ValueError("the executor input has no outputs.outputFile")
    return as_path(named)


def write_output(given: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Writes a step's output file: its artifacts and parameters, as the cluster reads them."""
    path = Path(output_file(given))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(outputs), encoding="utf-8")


def as_path(uri: str, folders: Mapping[str, str] = FOLDERS) -> str:
    """The path at which a step finds the files of an address; a path is returned unchanged."""
    for beginning, folder in folders.items():
        if uri.startswith(beginning):
            return folder + uri.removeprefix(beginning)
    return uri


def as_address(path: str, folders: Mapping[str, str] = FOLDERS) -> str:
    """The cluster's address of a path; a path that has none is returned unchanged."""
    return as_path(path, {folder: beginning for beginning, folder in folders.items()})
