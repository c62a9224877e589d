"""Puts a trained model into Vertex AI's Model Registry: a new version of one model, with its twelve scores.

A version is known by the digest of its weights, which it carries as a label: the same weights are not uploaded a
second time, however often a step is tried again, and only aliases that are missing are set. The scores stand in two
places: as labels `score_TASK`, by which the registry's page filters (six decimals, "_" for the point, since labels
take none), and exactly, as JSON, in the version's description.

The registry's models cannot be given an id once they are there, so a first version names its model's id, and Vertex
itself refuses a second first version; later ones name their `parent_model`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from google.cloud.aiplatform_v1 import types
from google.longrunning import operations_pb2

from kubeflow.registration import MODEL_ID, MODEL_ID_RULE, SERVING_IMAGE, check_aliases
from kubeflow.service import Failure, ServiceError
from kubeflow.vertex_api import VertexApi

WEIGHTS_LABEL = "hares_weights"
_SCORE_LABEL = "score_"
_LABEL_LENGTH = 63
_MOST_LABELS = 64
_MOST_LOOKS = 60  # at an upload: about half an hour, with a pause of 1, 2, ... 32 s before each
_LONGEST_BACKOFF = 5


@dataclass(frozen=True)
class RegisteredModel:
    """What is uploaded.

    Attributes:
        model_id: names the model that this is a version of, as in "hares-sf-nfnet-f0".
        display_name: shown in Vertex's pages.
        artifact_uri: folder of the SavedModel, as in "gs://bucket/...".
        weights_digest: hexadecimal digest of its weights, 16 to 64 digits.
        scores: task to score.
        aliases: names that point to this version from now on, as in "blessed"; they leave the version that had them.
        labels: further ones.
        serving_image: container that serves it.
    """

    model_id: str
    display_name: str
    artifact_uri: str
    weights_digest: str
    scores: Mapping[str, float]
    aliases: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    serving_image: str = SERVING_IMAGE

    def __post_init__(self) -> None:
        if not MODEL_ID.fullmatch(self.model_id):
            raise ValueError(f"model_id: got {self.model_id!r}; accepted are {MODEL_ID_RULE}")
        if not re.fullmatch(r"[0-9a-f]{16,64}", self.weights_digest):
            raise ValueError(
                f"weights_digest: got {self.weights_digest!r}; accepted are 16 to 64 hexadecimal digits"
            )
        check_aliases(self.aliases)
        for task, score in self.scores.items():
            if not math.isfinite(score):
                raise ValueError(f"scores: {task} is {score}; a model is registered with numbers")
        for key, value in self.all_labels.items():
            if not re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", key) or not re.fullmatch(
                r"[a-z0-9_-]{0,63}", value
            ):
                raise ValueError(
                    f"labels: {key}={value!r}: accepted are up to 63 of a-z, 0-9, _ and -, keys starting with a letter"
                )
        if len(self.all_labels) > _MOST_LABELS:
            raise ValueError(f"labels: {len(self.all_labels)} with the scores'; Vertex takes {_MOST_LABELS}")

    @property
    def all_labels(self) -> dict[str, str]:
        """The given labels, the digest's and the scores'."""
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
    """Uploads a model unless a version with its weights is there, and sets its aliases.

    Raises:
        ServiceError: Vertex refuses, or does not answer. Called again, it looks for what was uploaded before.
    """
    name = f"{api.parent}/models/{model.model_id}"
    versions = _versions(api, name)
    found = _with_weights(versions, model)
    if found is None:
        request = types.UploadModelRequest(
            parent=api.parent,
            parent_model=name if versions else "",
            model_id="" if versions else model.model_id,
            model=types.Model(
                display_name=model.display_name,
                artifact_uri=model.artifact_uri,
                labels=model.all_labels,
                version_aliases=list(model.aliases),
                version_description=json.dumps(dict(sorted(model.scores.items()))),
                container_spec=types.ModelContainerSpec(image_uri=model.serving_image),
            ),
        )
        answer = api.create_once(
            f"uploading a version of {model.model_id}",
            api.models.upload_model,
            request,
            lambda: _with_weights(_versions(api, name), model),
        )
        found = answer if isinstance(answer, types.Model) else _uploaded(api, answer, name, model)
    missing = [alias for alias in model.aliases if alias not in found.version_aliases]
    if missing:
        found = api.call(
            f"setting aliases of {model.model_id}@{found.version_id}",
            api.models.merge_version_aliases,
            types.MergeVersionAliasesRequest(name=f"{name}@{found.version_id}", version_aliases=missing),
        )
    return ModelVersion(found.name.split("@", 1)[0], found.version_id, tuple(found.version_aliases))


def _uploaded(
    api: VertexApi, operation: operations_pb2.Operation, name: str, model: RegisteredModel
) -> types.Model:
    """Waits for the upload, which copies nothing but may take a minute, and reads the version."""
    looks = 0
    while not operation.done:
        if looks == _MOST_LOOKS:
            raise ServiceError(
                Failure.TIMEOUT,
                f"Vertex AI at {api.url}: the upload of {model.model_id} has not ended; call it again later, it looks "
                "for the version first",
            )
        api.wait(min(looks, _LONGEST_BACKOFF))
        looks += 1
        operation = api.operation(operation.name, f"waiting for the upload of {model.model_id}")
    if operation.error.code:
        raise ServiceError(
            Failure.SERVER, f"Vertex AI at {api.url}, uploading {model.model_id}: {operation.error.message}"
        )
    found = _with_weights(_versions(api, name), model)
    if found is None:
        raise ServiceError(
            Failure.SERVER,
            f"Vertex AI at {api.url}: the upload of {model.model_id} is done, and no version has its weights; call "
            "it again in a minute",
        )
    return found


def _versions(api: VertexApi, name: str) -> list[types.Model]:
    """All versions of a model; none if there is no such model."""
    found: list[types.Model] = []
    token = ""
    while True:
        try:
            page = api.call(
                f"listing versions of {name}",
                api.models.list_model_versions,
                types.ListModelVersionsRequest(name=name, page_token=token),
            )
        except ServiceError as error:
            if error.failure is Failure.NOT_FOUND:
                return []
            raise
        found += page.models
        token = page.next_page_token
        if not token:
            return found


def _with_weights(versions: list[types.Model], model: RegisteredModel) -> types.Model | None:
    digest = model.weights_digest[:_LABEL_LENGTH]
    return next((version for version in versions if version.labels.get(WEIGHTS_LABEL) == digest), None)
