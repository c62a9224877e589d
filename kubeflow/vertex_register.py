"""The pusher's step on Vertex AI: what it pushed becomes a version in the Model Registry.

`and_register` puts this module in front of the compiled pusher's command. The command runs first, as it would have
without; a model that it pushed is then registered with the scores of the report that the verdict rests on, so that
each scheduled run registers its model by itself. A model that was not blessed is not pushed, and not registered.

Idempotent by the model's weights (`kubeflow.model_registry`): a step that is tried again pushes another folder, and
finds its version.

    python -m kubeflow.vertex_register SETTINGS PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hares.report.runs import REPORT_FILE
from kubeflow.executor_input import as_address, as_path, executor_input, output_file
from kubeflow.model_registry import RegisteredModel, register
from kubeflow.registration import Registration
from kubeflow.service import ServiceError
from kubeflow.service_config import ServiceConfig
from kubeflow.vertex_api import VertexApi

_MODULE = ("python", "-m", "kubeflow.vertex_register")


@dataclass(frozen=True)
class RegisteringStep:
    """How a pushed model is registered.

    Attributes:
        service: connection as the step has it: its own credentials, not those of who submits.
        registration: model, aliases and serving image.
        display_name: shown in Vertex's pages.
        labels: of the run.
    """

    service: ServiceConfig
    registration: Registration
    display_name: str
    labels: Mapping[str, str] = field(default_factory=dict)


def and_register(container: Mapping[str, Any], step: RegisteringStep) -> dict[str, Any]:
    """The compiled pusher's container, changed to register what it pushed."""
    settings = json.dumps(dataclasses.asdict(step), sort_keys=True)
    return {
        **container,
        "command": list(_MODULE),
        "args": [settings, *container.get("command", []), *container.get("args", [])],
    }


def main(arguments: Sequence[str]) -> int:
    """Runs the command and registers; the command's exit code if it failed, 1 if the registry refuses, else 0."""
    settings, *command = arguments
    given = json.loads(settings)
    service = ServiceConfig(**given["service"])
    registration = Registration(
        **{**given["registration"], "aliases": tuple(given["registration"]["aliases"])}
    )
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        return code if code > 0 else 128 - code  # ended by a signal, as a shell says it
    try:
        model = _pushed(executor_input(command), registration, given["display_name"], given["labels"])
        if model is None:
            print("nothing was pushed, nothing is registered")
            return 0
        version = register(VertexApi(service), model)
    except (OSError, ValueError, ServiceError) as error:
        print(f"the model was pushed and is not registered: {error}", file=sys.stderr)
        return 1
    print(f"registered {version.model}@{version.version}, aliases {', '.join(version.aliases)}")
    return 0


def _pushed(
    given: Mapping[str, Any], registration: Registration, display_name: str, labels: Mapping[str, str]
) -> RegisteredModel | None:
    """What the pusher's outputs and inputs say of the model; None where it pushed none."""
    said = json.loads(Path(output_file(given)).read_text(encoding="utf-8"))
    pushed = _metadata(said, "pushed_model")
    if not pushed.get("pushed"):
        return None
    blessing, model = (_metadata(given["inputs"], key) for key in ("model_blessing", "model"))
    path = Path(as_path(blessing["report"])) / REPORT_FILE
    report = json.loads(path.read_text(encoding="utf-8"))
    scores = {task: entry["value"] for task, entry in report["tasks"].items() if entry["value"] is not None}
    if report["hares"] is not None:
        scores["hares"] = report["hares"]
    return RegisteredModel(
        model_id=registration.model_id,
        display_name=display_name,
        artifact_uri=as_address(pushed["pushed_destination"]),
        weights_digest=model["weights_digest"],
        scores=scores,
        aliases=registration.aliases,
        labels=dict(labels),
        serving_image=registration.serving_image,
    )


def _metadata(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    (artifact,) = values["artifacts"][key]["artifacts"]
    metadata: Mapping[str, Any] = artifact["metadata"]
    return metadata


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
