"""Runs a step's command as a worker that is not the chief: what it writes goes to a folder of its own.

In a job of several workers each runs the same executor over the same executor input. Only the chief's outputs are
the step's; the others' would be written over them. So here every output of the executor input is moved to
`replicas/TYPE-INDEX/` beside the executor's output file, TYPE and INDEX from TF_CONFIG. Checkpoints are not outputs,
and are kept apart by the trainer itself.

    python -m kubeflow.vertex.replica PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import json
import os
import posixpath
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kubeflow.compiled.executor_input import output_file, with_executor_input


def own_command(command: Sequence[str], task: Mapping[str, Any]) -> list[str]:
    """The command with its executor input's outputs moved.

    Args:
        command: program and arguments, with the executor input behind `--json_serialized_invocation_args`, or joined
            to it by "=".
        task: of TF_CONFIG, as {"type": "worker", "index": 0}.

    Raises:
        ValueError: the command has no executor input, or one without an output file.
    """
    return with_executor_input(command, lambda given: _moved(given, task))


def _moved(given: dict[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    home = posixpath.dirname(output_file(given))
    outputs = given["outputs"]
    replica = f"replicas/{task['type']}-{task['index']}"
    outputs["outputFile"] = posixpath.join(home, replica, posixpath.basename(outputs["outputFile"]))
    for key, artifacts in outputs.get("artifacts", {}).items():
        for number, artifact in enumerate(artifacts.get("artifacts", [])):
            root = posixpath.dirname(artifact["uri"].rstrip("/"))  # may be gs:// where the file is below /gcs
            artifact["uri"] = posixpath.join(root, replica, key, str(number))
    return given


def main() -> None:
    """Becomes the command."""
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    if "task" not in config:
        raise SystemExit("TF_CONFIG is not set: this is no worker of several")
    command = own_command(sys.argv[1:], config["task"])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
