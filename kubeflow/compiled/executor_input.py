"""The executor input within a step's command: what the cluster hands to TFX's entry point, read and changed.

It is the word behind `--json_serialized_invocation_args`, or joined to it by "=". Artifacts have addresses (`gs://`,
`s3://`, `minio://`), and both clusters put their files below folders: Vertex mounts a bucket at `/gcs/BUCKET`, Kubeflow
copies inputs there before the step and outputs from there after it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FLAG = "--json_serialized_invocation_args"
INPUTS_SPEC_FLAG = "--json_serialized_inputs_spec_args"
EXECUTOR_LOGS = "executor-logs"
FOLDERS = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}


def with_executor_input(
    command: Sequence[str], change: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[str]:
    """The command with its executor input replaced by what `change` makes of it.

    Raises:
        ValueError: the command has no executor input.
    """
    for at, word in enumerate(command):
        if word == FLAG and at + 1 < len(command):
            return [*command[: at + 1], json.dumps(change(json.loads(command[at + 1]))), *command[at + 2 :]]
        if word.startswith(f"{FLAG}="):
            given = json.loads(word.split("=", 1)[1])
            return [*command[:at], f"{FLAG}={json.dumps(change(given))}", *command[at + 1 :]]
    raise ValueError(f"the command has no {FLAG}; it is not that of an executor of TFX")


def as_tfx_expects(command: Sequence[str]) -> list[str]:
    """The command with two things of Kubeflow's set right that TFX's entry point does not expect.

    - Input artifacts come without a type, `{"instanceSchema": ""}` (kubeflow/pipelines 2.2 to 2.17,
      backend/src/v2/metadata/client.go, "figure out how to get schema"). The compiled command says what they are.
    - From 2.5 on the driver adds an output `executor-logs` of type `system.Artifact` (backend/src/v2/driver/driver.go),
      to which the launcher is writing while the step runs. It is not the step's, which has to leave it alone.
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
    """Name to `artifactType` of a step's input artifacts, as its component declares them."""
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
    """Path of the file in which a step tells the cluster about its outputs.

    Raises:
        ValueError: the executor input names none.
    """
    named = str(given.get("outputs", {}).get("outputFile") or "")
    if not named:
        raise ValueError("the executor input has no outputs.outputFile")
    return as_path(named)


def as_path(uri: str, folders: Mapping[str, str] = FOLDERS) -> str:
    """Where a step finds the files of an address; a path stays as it is."""
    for beginning, folder in folders.items():
        if uri.startswith(beginning):
            return folder + uri.removeprefix(beginning)
    return uri


def as_address(path: str, folders: Mapping[str, str] = FOLDERS) -> str:
    """The cluster's address of a path; another path stays as it is."""
    return as_path(path, {folder: beginning for beginning, folder in folders.items()})
