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
