"""A step that imports from a mounted volume on Kubeflow, by copying the files into its output.

Kubeflow's own importer takes addresses in buckets only, but the model of a warm start lies on a volume, where the last
run pushed it (`/mnt/hares/pushed/7`). `with_volume_imports` replaces each importer of a path by a container with this
module as its program. The copy keeps the importer's properties; `copied_from` says where it came from.

    python -m kubeflow.kfp.volume_import PROPERTIES --json_serialized_invocation_args EXECUTOR_INPUT
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from kubeflow.compiled.executor_input import FLAG, FOLDERS, as_path, executor_input, write_output
from pipeline.settings import SettingError

OUTPUT = "result"  # the name that TFX's importers give it


def with_volume_imports(spec: dict[str, Any], image: str, mounts: Iterable[str]) -> None:
    """Changes a specification in place: importers of paths become containers with this image.

    Args:
        spec: of a pipeline.
        image: of the containers.
        mounts: where every pod sees a volume.

    Raises:
        SettingError: a path is on none of them.
    """
    for executor in spec["deploymentSpec"]["executors"].values():
        importer = executor.get("importer")
        uri = importer["artifactUri"].get("constant", "") if importer else ""
        if uri and not uri.startswith(tuple(FOLDERS)):
            if not any(Path(uri).is_relative_to(mount) for mount in mounts):
                below = " or ".join(sorted(mounts)) or "a volume, of which it has none"
                raise SettingError(
                    f"pretraining.warm_start: {uri} is on no volume that the cluster file mounts, so no pod sees it; "
                    f"copy the model below {below}, or into a bucket ({', '.join(FOLDERS)})"
                )
            del executor["importer"]
            properties = json.dumps({**importer.get("metadata", {}), "copied_from": uri}, sort_keys=True)
            executor["container"] = {
                "image": image,
                "command": ["python", "-m", "kubeflow.kfp.volume_import"],
                "args": [properties, FLAG, "{{$}}"],
            }


def main(arguments: Sequence[str]) -> int:
    """Copies the files. Returns 1 if there are none."""
    properties, *command = arguments
    given = executor_input(command)
    (artifact,) = given["outputs"]["artifacts"][OUTPUT]["artifacts"]
    source = Path(json.loads(properties)["copied_from"])
    if not source.is_dir():
        print(
            f"{source} does not exist in this pod: nothing was pushed there, or no volume of the cluster file holds it",
            file=sys.stderr,
        )
        return 1
    target = Path(as_path(artifact["uri"]))
    shutil.rmtree(target, ignore_errors=True)  # left by a killed attempt
    shutil.copytree(source, target)
    imported = {**artifact, "metadata": json.loads(properties)}
    write_output(given, {"artifacts": {OUTPUT: {"artifacts": [imported]}}})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
