"""What a step's container executes: TFX's own entry point, told four things about clusters that it does not know.

- TFX imports an artifact's class by the title of its type. `system.Metrics` and `system.HTML`, which the clusters'
  pages know how to show, are no modules: it is told which classes of ours stand for them.
- Both clusters put the files of a `gs://BUCKET/...` address below `/gcs/BUCKET/...` (Vertex mounts the bucket, Kubeflow
  copies inputs there before the step and outputs from there after it), and `s3://` and `minio://` likewise. Our
  executors work on files, so they are given these paths, and the cluster is given its own addresses back. Not so where
  Dataflow's workers do the work, which have no such folders.
- Kubeflow gives inputs without their types, and an output that is the launcher's log (`as_tfx_expects`).
- A step that was killed and is tried again is given the same addresses, and where a bucket is mounted finds there what
  the killed attempt left: shards, Beam's temporary folders, half an output file. All of it is removed first, since a
  later step reads whatever lies in its input's folder.

    python -m kubeflow.entrypoint --executor_class_path CLASS --json_serialized_invocation_args JSON [Beam's flags]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kubeflow.executor_input import (
    FOLDERS,
    as_address,
    as_path,
    as_tfx_expects,
    executor_input,
    with_executor_input,
)
from kubeflow.postprocess import SYSTEM_TYPES


def main() -> None:
    """Runs one executor. Raises what it raises, so that the container fails."""
    from absl import app

    from workarounds.tfx import container_entry_point

    execute, parse_flags = container_entry_point({system: own for own, system in SYSTEM_TYPES.items()})
    given = as_tfx_expects(sys.argv[1:])
    on_files = works_on_files(given)
    arguments = with_paths(given) if on_files else given

    def run(parsed: Any) -> None:
        outputs = executor_input(arguments)["outputs"]
        remove_leftovers(outputs)
        execute(parsed)
        if on_files:
            _give_addresses_back(outputs["outputFile"])

    app.run(run, argv=[sys.argv[0], *arguments], flags_parser=parse_flags)


def works_on_files(arguments: Sequence[str]) -> bool:
    """Whether the step's work sees the clusters' folders: all does but that of Dataflow's workers.

    Args:
        arguments: of the entry point, Beam's flags among them in any spelling that Beam takes.
    """
    # Imported here: it takes seconds, which the other functions can do without.
    from components.beam_runner import runner_of

    return runner_of(arguments) != "DataflowRunner"


def with_paths(arguments: Sequence[str], folders: Mapping[str, str] = FOLDERS) -> list[str]:
    """The command's arguments, with paths in place of the artifacts' addresses.

    Args:
        arguments: of the entry point.
        folders: beginnings of addresses to the folders that hold their files.
    """

    def moved(invocation: dict[str, Any]) -> dict[str, Any]:
        for artifact in _artifacts(invocation.get("inputs", {})) + _artifacts(invocation["outputs"]):
            artifact["uri"] = as_path(artifact["uri"], folders)
        for artifact in _artifacts(invocation["outputs"]):
            os.makedirs(os.path.dirname(artifact["uri"]), exist_ok=True)
        return invocation

    return with_executor_input(arguments, moved)


def remove_leftovers(outputs: Mapping[str, Any]) -> None:
    """Removes what a killed attempt left at a step's outputs, and its output file if it was left in the middle.

    An output file that can be read stays: a driver writes one for its step.

    Args:
        outputs: of the executor input.
    """
    from tfx.dsl.io import fileio

    for artifact in _artifacts(outputs):
        uri = artifact["uri"]
        if fileio.isdir(uri):
            fileio.rmtree(uri)
        elif fileio.exists(uri):  # a page is one file
            fileio.remove(uri)
    output_file = outputs["outputFile"]
    if fileio.exists(output_file):
        with fileio.open(output_file, "r") as file:
            text = file.read()
        try:
            json.loads(text)
        except ValueError:
            fileio.remove(output_file)


def with_addresses(output: dict[str, Any], folders: Mapping[str, str] = FOLDERS) -> dict[str, Any]:
    """What a step wrote into its output file, with the cluster's addresses in place of paths."""
    for artifact in _artifacts(output):
        artifact["uri"] = as_address(artifact["uri"], folders)
    return output


def _give_addresses_back(output_file: str) -> None:
    from tfx.dsl.io import fileio

    with fileio.open(output_file, "r") as file:
        output = json.loads(file.read())
    with fileio.open(output_file, "w") as file:
        file.write(json.dumps(with_addresses(output)))


def _artifacts(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        artifact for entry in values.get("artifacts", {}).values() for artifact in entry.get("artifacts", [])
    ]


if __name__ == "__main__":
    main()
