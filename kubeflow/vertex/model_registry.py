"""Pushed models as versions of one model in Vertex AI's Model Registry, with their scores.

`and_register` puts this module in front of the compiled pusher's command. The command runs first, unchanged; if it
pushed a model, the model is registered with the scores of the report that the blessing is based on. A model that was
not blessed is neither pushed nor registered.

A version carries the digest of its weights as a label: a retried step pushes into another folder, finds the version by
the label, and only sets the aliases that are missing. The scores are stored twice: as labels `score_TASK`, by which the
registry's page filters (six decimals, "_" for the point, which labels do not allow), and exactly, as JSON, in the
version's description.

The first version names the model's id, so that Vertex itself refuses a second first version; later ones name their
`parent_model`.

    python -m kubeflow.vertex.model_registry SETTINGS PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1 import types
from google.longrunning import operations_pb2

from hares.report.runs import REPORT_FILE
from kubeflow.clusters import Failure, ServiceConfig, ServiceError
from kubeflow.compiled.executor_input import as_address, as_path, executor_input, output_file
from kubeflow.vertex.api import VertexApi
from kubeflow.vertex.settings import ModelRegistrySettings
from pipeline.settings import override

_MODULE = ("python", "-m", "kubeflow.vertex.model_registry")
WEIGHTS_LABEL = "hares_weights"
_SCORE_LABEL = "score_"
_LABEL_LENGTH = 63
_MOST_LABELS = 64
_MOST_LOOKS = 60  # while an upload runs: about half an hour, with pauses of 1, 2, ... 32 s
_LONGEST_BACKOFF = 5


@dataclass(frozen=True)
class RegistryStep:
    """How a pushed model is registered; the settings of this module's command.

    Attributes:
        service: how the step reaches Vertex: with its own credentials, not the submitter's.
        registration: the cluster file's group `model_registry`.
        display_name: shown in Vertex's pages.
        labels: the run's.
    """

    service: ServiceConfig
    registration: ModelRegistrySettings
    display_name: str
    labels: Mapping[str, str] = field(default_factory=dict)


def and_register(container: Mapping[str, Any], step: RegistryStep) -> dict[str, Any]:
    """The compiled pusher's container, changed to register what it pushes."""
    settings = json.dumps(dataclasses.asdict(step), sort_keys=True)
    return {
        **container,
        "command": list(_MODULE),
        "args": [settings, *container.get("command", []), *container.get("args", [])],
    }


def main(arguments: Sequence[str]) -> int:
    """Runs the command, then registers. Returns the command's exit code, or 1 if the registry refuses."""
    settings, *command = arguments
    step = override(RegistryStep(ServiceConfig(), ModelRegistrySettings("hares"), ""), json.loads(settings))
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        return code if code > 0 else 128 - code  # ended by a signal: the code that a shell would give
    try:
        model = _pushed(executor_input(command), step)
        if model is None:
            print("no model was pushed, so none is registered")
            return 0
        version = register(VertexApi(step.service), model)
    except (OSError, ValueError, ServiceError) as error:
        print(f"the model was pushed but could not be registered: {error}", file=sys.stderr)
        return 1
    print(f"registered {version.model}@{version.version}, aliases {', '.join(version.aliases)}")
    return 0


@dataclass(frozen=True)
class RegisteredModel:
    """A model to be uploaded as a new version.

    Attributes:
        settings: the model that this is a version of, its serving image, and the aliases that move to this version.
        display_name: shown in Vertex's pages.
        artifact_uri: folder of the SavedModel, as in "gs://bucket/...".
        weights_digest: hexadecimal digest of its weights, 16 to 64 digits.
        scores: task to score.
        labels: further labels of the version.
    """

    settings: ModelRegistrySettings
    display_name: str
    artifact_uri: str
    weights_digest: str
    scores: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{16,64}", self.weights_digest):
            raise ValueError(
                f"weights_digest: got {self.weights_digest!r}; accepted are 16 to 64 hexadecimal digits"
            )
        for task, score in self.scores.items():
            if not math.isfinite(score):
                raise ValueError(f"scores: {task} is {score}; a model is registered with finite scores only")
        for key, value in self.all_labels.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(
                r"[a-z0-9_-]{0,63}", value
            ):
                raise ValueError(
                    f"labels: {key}={value!r}: accepted are up to 63 of a-z, 0-9, _ and -, keys starting with a letter"
                )
        if len(self.all_labels) > _MOST_LABELS:
            raise ValueError(
                f"labels: {len(self.all_labels)} with those of the scores; Vertex takes {_MOST_LABELS}"
            )

    @property
    def all_labels(self) -> dict[str, str]:
        """The given labels, and those for the weights' digest and the scores."""
        scores = {
            f"{_SCORE_LABEL}{task}": f"{score:.6f}".replace(".", "_") for task, score in self.scores.items()
        }
        return {**self.labels, **scores, WEIGHTS_LABEL: self.weights_digest[:_LABEL_LENGTH]}


@dataclass(frozen=True)
class ModelVersion:
    """A version in the registry: its model's resource name, its number, and its aliases."""

    model: str
    version: str
    aliases: tuple[str, ...]


def register(api: VertexApi, model: RegisteredModel) -> ModelVersion:
    """Uploads a model unless a version with its weights exists, and sets its aliases.

    Raises:
        ServiceError: Vertex refuses or does not answer. A second call first looks for what the first one uploaded.
    """
    name = f"{api.parent}/models/{model.settings.model_id}"
    versions = _versions(api, name)
    found = _with_weights(versions, model)
    if found is None:
        request = types.UploadModelRequest(
            parent=api.parent,
            parent_model=name if versions else "",
            model_id="" if versions else model.settings.model_id,
            model=types.Model(
                display_name=model.display_name,
                artifact_uri=model.artifact_uri,
                labels=model.all_labels,
                version_aliases=list(model.settings.aliases),
                version_description=json.dumps(dict(sorted(model.scores.items()))),
                container_spec=types.ModelContainerSpec(image_uri=model.settings.serving_image),
            ),
        )
        answer = api.create_once(
            f"uploading a version of {model.settings.model_id}",
            api.models.upload_model,
            request,
            lambda: _with_weights(_versions(api, name), model),
        )
        found = answer if isinstance(answer, types.Model) else _uploaded(api, answer, name, model)
    missing = [alias for alias in model.settings.aliases if alias not in found.version_aliases]
    if missing:
        found = api.call(
            f"setting aliases of {model.settings.model_id}@{found.version_id}",
            api.models.merge_version_aliases,
            types.MergeVersionAliasesRequest(name=f"{name}@{found.version_id}", version_aliases=missing),
        )
    return ModelVersion(found.name.split("@", 1)[0], found.version_id, tuple(found.version_aliases))


def _uploaded(
    api: VertexApi, operation: operations_pb2.Operation, name: str, model: RegisteredModel
) -> types.Model:
    """Waits for the upload, which copies nothing but may take a minute, and returns the new version."""
    looks = 0
    while not operation.done:
        if looks == _MOST_LOOKS:
            raise ServiceError(
                Failure.TIMEOUT,
                f"Vertex AI at {api.url}: the upload of {model.settings.model_id} has not ended; try again later, the "
                "version is looked for first",
            )
        api.wait(min(looks, _LONGEST_BACKOFF))
        looks += 1
        operation = api.operation(operation.name, f"waiting for the upload of {model.settings.model_id}")
    if operation.error.code:
        raise ServiceError(
            Failure.SERVER,
            f"Vertex AI at {api.url}, uploading {model.settings.model_id}: {operation.error.message}",
        )
    found = _with_weights(_versions(api, name), model)
    if found is None:
        raise ServiceError(
            Failure.SERVER,
            f"Vertex AI at {api.url}: the upload of {model.settings.model_id} is done, but no version has its weights "
            "yet; try again in a minute",
        )
    return found


def _versions(api: VertexApi, name: str) -> list[types.Model]:
    """All versions of a model; [] if there is no such model."""
    request = types.ListModelVersionsRequest(name=name)
    try:
        return api.items(f"listing versions of {name}", api.models.list_model_versions, request, "models")
    except ServiceError as error:
        if error.failure is Failure.NOT_FOUND:
            return []
        raise


def _with_weights(versions: list[types.Model], model: RegisteredModel) -> types.Model | None:
    digest = model.weights_digest[:_LABEL_LENGTH]
    return next((version for version in versions if version.labels.get(WEIGHTS_LABEL) == digest), None)


def _pushed(given: Mapping[str, Any], step: RegistryStep) -> RegisteredModel | None:
    """The pushed model, from the pusher's outputs and inputs; None if it pushed none."""
    output = json.loads(Path(output_file(given)).read_text(encoding="utf-8"))
    pushed = _metadata(output, "pushed_model")
    if not pushed.get("pushed"):
        return None
    blessing, model = (_metadata(given["inputs"], key) for key in ("model_blessing", "model"))
    path = Path(as_path(blessing["report"])) / REPORT_FILE
    report = json.loads(path.read_text(encoding="utf-8"))
    scores = {task: entry["value"] for task, entry in report["tasks"].items() if entry["value"] is not None}
    if report["hares"] is not None:
        scores["hares"] = report["hares"]
    return RegisteredModel(
        settings=step.registration,
        display_name=step.display_name,
        artifact_uri=as_address(pushed["pushed_destination"]),
        weights_digest=model["weights_digest"],
        scores=scores,
        labels=step.labels,
    )


def _metadata(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    (artifact,) = values["artifacts"][key]["artifacts"]
    metadata: Mapping[str, Any] = artifact["metadata"]
    return metadata


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
