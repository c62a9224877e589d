"""How much a step's pod is told on Kubeflow, and what a step gives up that would be told too much.

`kubeflow.compiled.kfp_launcher` says why a pod can be told too much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.properties import INPUTS_OF_TASK, task_of_input
from kubeflow.compiled.executor_input import INPUTS_SPEC_FLAG
from kubeflow.compiled.kfp_launcher import TEMPLATE_LIMIT, template_bytes
from pipeline.settings import SettingError

EXAMPLES = INPUTS_OF_TASK[-1]
_SHARE = 0.9  # of the limit, for what is only estimated when a file is compiled
_DIGEST = "0" * 64
# An input as Kubeflow 2.5 hands it over; the address is below the pipeline's root.
_METADATA = {
    "content_digest": _DIGEST,
    "files": _DIGEST,
    "weights_digest": _DIGEST,
    "display_name": "embeddings_fluent_speech_commands",
    "tfx_version": "1.15.1",
    "store_session_info": json.dumps({
        "Provider": "minio", "Params": {
            "accessKeyKey": "accesskey", "disableSSL": "true", "endpoint": "minio-service.kubeflow:9000",
            "fromEnv": "false", "region": "minio", "secretKeyKey": "secretkey",
            "secretName": "mlpipeline-minio-artifact",
        },
    }),
}  # fmt: skip
_BELOW = f"/hares/{'0' * 36}/ingest-fluent-speech-commands/{'0' * 36}/embeddings"


def fit_templates(spec: dict[str, Any], root: str) -> None:
    """Changes a specification in place, so that Argo can start every step.

    The report's spectrograms are given up where the evaluator would have too many inputs: with all twelve tasks.

    Args:
        spec: of a pipeline.
        root: address that all artifacts are below.

    Raises:
        SettingError: a step has too many inputs all the same.
    """
    for name, task in spec["root"]["dag"]["tasks"].items():
        component = spec["components"][task["componentRef"]["name"]]
        container = (
            spec["deploymentSpec"]["executors"].get(component.get("executorLabel"), {}).get("container")
        )
        if container is None:
            continue
        if _likely_bytes(component, container, root) > _SHARE * TEMPLATE_LIMIT and name == "evaluator":
            _without_examples(task, component, container)
        likely = _likely_bytes(component, container, root)
        if likely > _SHARE * TEMPLATE_LIMIT:
            raise SettingError(
                f"step {name}: what its pod would be told takes about {likely} bytes, and Argo can hand over "
                f"{TEMPLATE_LIMIT}; take fewer tasks or a smaller window, or a shorter pipeline_root"
            )


def _likely_bytes(component: Mapping[str, Any], container: Mapping[str, Any], root: str) -> int:
    declared = component.get("inputDefinitions", {}).get("artifacts", {})
    artifact = {"name": "1000", "type": {"instanceSchema": ""}, "uri": root + _BELOW, "metadata": _METADATA}
    given = {"inputs": {"artifacts": {key: {"artifacts": [artifact]} for key in declared}}}
    return template_bytes(given, component, container.get("args", []))


def _without_examples(task: dict[str, Any], component: dict[str, Any], container: dict[str, Any]) -> None:
    """Their declarations are among the arguments too, from which TFX reads the inputs' types."""
    at = container["args"].index(INPUTS_SPEC_FLAG) + 1
    declared = json.loads(container["args"][at])
    for inputs in (task["inputs"], component["inputDefinitions"], declared):
        inputs["artifacts"] = {
            key: given
            for key, given in inputs["artifacts"].items()
            if not (task_of_input(key) and key.startswith(f"{EXAMPLES}_"))
        }
    container["args"][at] = json.dumps(declared, separators=(",", ":"))
