"""Runs a step's command on a worker that is not the chief, with outputs in a folder of its own.

In a job of several workers each runs the same executor on the same executor input, and only the chief's outputs are the
step's. To keep the other workers from overwriting them, this module moves every output in their executor input to
`replicas/TYPE-INDEX/` beside the executor's output file; TYPE and INDEX come from TF_CONFIG. Checkpoints are not
outputs; the trainer keeps them apart itself.

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
        command: program and arguments, with the executor input after `--json_serialized_invocation_args` or joined to
            it by "=".
        task: from TF_CONFIG, as {"type": "worker", "index": 0}.

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
            root = posixpath.dirname(
                artifact["uri"].rstrip("/")
            )  # may be gs:// although the file is below /gcs
            artifact["uri"] = posixpath.join(root, replica, key, str(number))
    return given


def main() -> None:
    """Replaces this process by the command."""
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    if "task" not in config:
        raise SystemExit("TF_CONFIG names no task: this program is for the workers of a job with several")
    command = own_command(sys.argv[1:], config["task"])
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
