"""What a step's container executes: TFX's own entry point, adapted to the clusters in four ways.

- TFX imports an artifact's class by the title of its type. `system.Metrics` and `system.HTML`, which the clusters'
  pages can show, are no modules, so TFX is told which of our classes they stand for.
- Both clusters provide the files of `gs://BUCKET/...` below `/gcs/BUCKET/...`, and those of `s3://` and `minio://`
  likewise (`executor_input`). Our executors work on files, so they get these paths, and the cluster gets its addresses
  back. Dataflow's workers have no such folders; steps that run there keep the addresses.
- Kubeflow passes inputs without types, and the launcher's log among the outputs (`as_tfx_expects`).
- A killed step that is retried gets the same addresses. In a mounted bucket it finds what the killed attempt left:
  shards, Beam's temporary folders, half an output file. All of it is removed first, because a later step reads whatever
  lies in its input's folder.

    python -m kubeflow.entrypoint --executor_class_path CLASS --json_serialized_invocation_args JSON [Beam's flags]
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kubeflow.compiled.executor_input import (
    ACCELERATOR_FLAG,
    FOLDERS,
    SYSTEM_TYPES,
    as_address,
    as_path,
    as_tfx_expects,
    executor_input,
    with_executor_input,
)
from kubeflow.kfp.report_import import with_baseline_path


def main() -> None:
    """Runs one executor. Its exceptions pass through, so that the container fails."""
    from absl import app

    from workarounds.tfx import container_entry_point

    execute, parse_flags = container_entry_point({system: own for own, system in SYSTEM_TYPES.items()})
    words = checked_accelerator(sys.argv[1:])
    given = as_tfx_expects(with_executor_input(words, with_baseline_path))
    on_files = works_on_files(given)
    arguments = with_paths(given) if on_files else given

    def run(parsed: Any) -> None:
        outputs = executor_input(arguments)["outputs"]
        remove_leftovers(outputs)
        execute(parsed)
        if on_files:
            _give_addresses_back(outputs["outputFile"])

    app.run(run, argv=[sys.argv[0], *arguments], flags_parser=parse_flags)


def checked_accelerator(arguments: Sequence[str]) -> list[str]:
    """The arguments without `ACCELERATOR_FLAG`.

    Raises:
        ValueError: TensorFlow does not see what the flag names.
    """
    flag = f"{ACCELERATOR_FLAG}="
    for word in arguments:
        if word.startswith(flag):
            from models.training.distribution import require_accelerator

            require_accelerator(word.removeprefix(flag))
    return [word for word in arguments if not word.startswith(flag)]


def works_on_files(arguments: Sequence[str]) -> bool:
    """Whether the step sees the clusters' folders; only Dataflow's workers do not.

    Args:
        arguments: of the entry point, including Beam's flags in any spelling that Beam takes.
    """
    # Imported here: it takes seconds, and the other functions do not need it.
    from components.beam_runner import runner_of

    return runner_of(arguments) != "DataflowRunner"


def with_paths(arguments: Sequence[str], folders: Mapping[str, str] = FOLDERS) -> list[str]:
    """The command's arguments with paths in place of the artifacts' addresses.

    Args:
        arguments: of the entry point.
        folders: beginning of an address to the folder that holds its files.
    """

    def moved(invocation: dict[str, Any]) -> dict[str, Any]:
        for artifact in _artifacts(invocation.get("inputs", {})) + _artifacts(invocation["outputs"]):
            artifact["uri"] = as_path(artifact["uri"], folders)
        for artifact in _artifacts(invocation["outputs"]):
            os.makedirs(os.path.dirname(artifact["uri"]), exist_ok=True)
        return invocation

    return with_executor_input(arguments, moved)


def remove_leftovers(outputs: Mapping[str, Any]) -> None:
    """Removes what a killed attempt left: outputs, and an output file that is not whole.

    A complete output file stays: it is the one that a driver wrote for its step.

    Args:
        outputs: of the executor input.
    """
    from tfx.dsl.io import fileio

    for artifact in _artifacts(outputs):
        uri = artifact["uri"]
        if fileio.isdir(uri):
            fileio.rmtree(uri)
        elif fileio.exists(uri):  # a page is a single file
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
    """The content of a step's output file with the cluster's addresses in place of paths."""
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
