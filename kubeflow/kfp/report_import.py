"""The baseline's report as an artifact on Kubeflow, because its pods see no bucket.

The report of the latest blessed model lies in the bucket of the run that made it. Kubeflow's launcher brings the files
of a step's input artifacts into its pod, and nothing else. So an importer makes the report an artifact, the evaluator
gets it as one more input, and the entry point puts its folder in the place of the address (`with_baseline_path`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kubeflow.compiled.executor_input import FOLDERS, as_path
from pipeline.settings import SettingError

STEP, INPUT, OUTPUT = "base_report", "base_report", "result"
_TYPE = {"instanceSchema": "title: components.ProbeReport\ntype: object\n"}


def with_baseline_import(spec: dict[str, Any], mounts: Iterable[str]) -> None:
    """Changes a specification in place, if its baseline is an address in a bucket.

    Args:
        spec: of a pipeline.
        mounts: where every pod sees a volume.

    Raises:
        SettingError: the baseline is on none of them either.
    """
    tasks = spec["root"]["dag"]["tasks"]
    evaluator = tasks.get("evaluator")
    if evaluator is None:
        return
    address = evaluator["inputs"]["parameters"]["baseline"]["runtimeValue"]["constant"]
    if not address.startswith(tuple(FOLDERS)):
        if address and not any(Path(address).is_relative_to(mount) for mount in mounts):
            raise SettingError(
                f"--metadata: the store's latest blessed model has its report in {address}, which is on no volume that "
                "the cluster file mounts, so no pod sees it; give the store of the cluster's workspace"
            )
        return
    label = f"{STEP}_executor"
    artifact = {"artifactType": _TYPE}
    tasks[STEP] = {
        "taskInfo": {"name": STEP},
        "componentRef": {"name": STEP},
        "inputs": {"parameters": {"artifact_uri": {"runtimeValue": {"constant": address}}}},
    }
    spec["components"][STEP] = {
        "executorLabel": label,
        "inputDefinitions": {"parameters": {"artifact_uri": {"parameterType": "STRING"}}},
        "outputDefinitions": {"artifacts": {OUTPUT: artifact}},
    }
    spec["deploymentSpec"]["executors"][label] = {
        "importer": {"artifactUri": {"constant": address}, "typeSchema": _TYPE}
    }
    made = {"taskOutputArtifact": {"producerTask": STEP, "outputArtifactKey": OUTPUT}}
    evaluator["inputs"].setdefault("artifacts", {})[INPUT] = made
    evaluator["dependentTasks"] = sorted({*evaluator.get("dependentTasks", []), STEP})
    component = spec["components"][evaluator["componentRef"]["name"]]
    component["inputDefinitions"].setdefault("artifacts", {})[INPUT] = artifact


def with_baseline_path(given: dict[str, Any], folders: Mapping[str, str] = FOLDERS) -> dict[str, Any]:
    """An executor input without that artifact, of which the executor knows nothing, and with its folder as baseline.

    A run with a baseline of its own keeps it.
    """
    inputs = given.get("inputs", {})
    entry = inputs.get("artifacts", {}).pop(INPUT, None)
    if entry is not None:
        (artifact,) = entry["artifacts"]
        values = inputs["parameterValues"]
        if values["baseline"] == artifact["uri"]:
            values["baseline"] = as_path(artifact["uri"], folders)
    return given
