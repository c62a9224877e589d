"""An import on Kubeflow from a mounted volume: a small step that copies the files into its output.

Kubeflow's own importer takes addresses of buckets alone, and a warm start's model lies where the last run pushed it, on
a volume (`/mnt/hares/pushed/7`). `with_copies` puts a container in the place of each importer of a path. What it copies
keeps the importer's properties, and says in `copied_from` where it came from.

    python -m kubeflow.kfp.volume_import PROPERTIES --json_serialized_invocation_args EXECUTOR_INPUT
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kubeflow.compiled.executor_input import FLAG, FOLDERS, as_path, executor_input, output_file

OUTPUT = "result"  # of TFX's importers


def with_copies(spec: dict[str, Any], image: str) -> None:
    """Changes a specification in place: importers of paths become containers of this image."""
    for executor in spec["deploymentSpec"]["executors"].values():
        importer = executor.get("importer")
        uri = importer["artifactUri"].get("constant", "") if importer else ""
        if uri and not uri.startswith(tuple(FOLDERS)):
            del executor["importer"]
            properties = json.dumps({**importer.get("metadata", {}), "copied_from": uri}, sort_keys=True)
            executor["container"] = {
                "image": image,
                "command": ["python", "-m", "kubeflow.kfp.volume_import"],
                "args": [properties, FLAG, "{{$}}"],
            }


def main(arguments: Sequence[str]) -> int:
    """Copies the files; 1 where there are none."""
    properties, *command = arguments
    given = executor_input(command)
    (artifact,) = given["outputs"]["artifacts"][OUTPUT]["artifacts"]
    source = Path(json.loads(properties)["copied_from"])
    if not source.is_dir():
        print(
            f"{source} is not in this pod: nothing was pushed there, or no volume of the cluster file holds it",
            file=sys.stderr,
        )
        return 1
    target = Path(as_path(artifact["uri"]))
    shutil.rmtree(target, ignore_errors=True)  # what a killed attempt left
    shutil.copytree(source, target)
    said = {"artifacts": {OUTPUT: {"artifacts": [{**artifact, "metadata": json.loads(properties)}]}}}
    path = Path(output_file(given))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(said), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
