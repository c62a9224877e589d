"""The Model Registry, over real sockets: versions of one model, none twice, with aliases and scores."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from kits.vertex_kit import (
    LASTING,
    LOSING,
    RETRIES,
    fails,
    patience,
    settings,
    vertex_fixture,  # noqa: F401  (the fixture `vertex`)
)
from kits.vertex_server import VertexServer
from kubeflow.clusters import Failure
from kubeflow.vertex.api import VertexApi
from kubeflow.vertex.model_registry import RegisteredModel, register
from kubeflow.vertex.settings import ModelRegistrySettings

UPLOAD = "POST models:upload"
MODEL = RegisteredModel(
    ModelRegistrySettings("hares-sf-nfnet-f0", ("candidate",)),
    display_name="HARES SF NFNet-F0",
    artifact_uri="gs://bucket/hares/trainer_7/model",
    weights_digest="a1" * 32,
    scores={"esc50": 0.911, "speech_commands": 1 / 3},
    labels={"revision": "0296b4a"},
)


@pytest.fixture
def api(vertex: VertexServer, tmp_path: Path, request: pytest.FixtureRequest) -> VertexApi:
    return VertexApi(settings(vertex, tmp_path, timeout_seconds=patience(request)))


def test_versions_of_one_model_with_scores_and_aliases(vertex: VertexServer, api: VertexApi) -> None:
    first = register(api, MODEL)
    assert (first.version, set(first.aliases)) == ("1", {"candidate", "default"})
    assert first.model.endswith("/models/hares-sf-nfnet-f0")
    later = [register(api, replace(MODEL, weights_digest=f"{n}" * 64)) for n in (2, 3)]
    assert [(version.version, version.aliases) for version in later] == [
        ("2", ("candidate",)),
        ("3", ("candidate",)),
    ]
    stored = vertex.stored["models"]["hares-sf-nfnet-f0"]
    assert [list(version.version_aliases) for version in stored] == [["default"], [], ["candidate"]]
    assert dict(stored[0].labels) == {
        "revision": "0296b4a",
        "score_esc50": "0_911000",
        "score_speech_commands": "0_333333",
        "hares_weights": ("a1" * 32)[:63],
    }
    assert json.loads(stored[0].version_description) == {"esc50": 0.911, "speech_commands": 1 / 3}
    assert stored[0].artifact_uri == MODEL.artifact_uri


def test_the_same_weights_are_uploaded_once(vertex: VertexServer, api: VertexApi) -> None:
    others = [replace(MODEL, weights_digest=f"{n}" * 64) for n in (2, 3, 4)]
    for model in (MODEL, *others):
        register(api, model)
    again = register(api, replace(MODEL, settings=replace(MODEL.settings, aliases=("blessed", "candidate"))))
    assert again.version == "1"
    assert {"blessed", "candidate", "default"} == set(again.aliases)
    assert register(api, others[1]).version == "3"
    assert vertex.count(UPLOAD) == len(vertex.stored["models"][MODEL.settings.model_id]) == 4


@pytest.mark.parametrize(("does", "failure"), LASTING)
@pytest.mark.parametrize("versions_before", [0, 1])
def test_an_upload_that_keeps_failing_is_one_error(
    vertex: VertexServer, api: VertexApi, does: int | str, failure: Failure, versions_before: int
) -> None:
    for n in range(versions_before):
        register(api, replace(MODEL, weights_digest=f"{n}" * 64))
    vertex.plant(UPLOAD, does, times=99)
    fails(lambda: register(api, MODEL), failure, vertex.url, MODEL.settings.model_id)
    assert vertex.count(UPLOAD) == versions_before + (RETRIES + 1 if failure is Failure.BUSY else 1)
    assert len(vertex.stored["models"].get(MODEL.settings.model_id, [])) == versions_before
    vertex.faults.clear()
    assert register(api, MODEL).version == str(versions_before + 1)


@pytest.mark.parametrize("does", LOSING)
def test_an_upload_whose_answer_is_lost_is_found_and_not_sent_again(
    vertex: VertexServer, api: VertexApi, does: int | str
) -> None:
    vertex.plant(UPLOAD, does, after=True)
    assert register(api, MODEL).version == "1"
    assert vertex.count(UPLOAD) == len(vertex.stored["models"][MODEL.settings.model_id]) == 1


def test_an_upload_that_fails_later_is_said(vertex: VertexServer, api: VertexApi) -> None:
    vertex.fail_operations = "the image cannot be pulled"
    fails(lambda: register(api, MODEL), Failure.SERVER, "the image cannot be pulled")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights_digest": "xyz"}, "weights_digest"),
        ({"scores": {"esc50": float("nan")}}, "esc50 is nan"),
        ({"labels": {"Cost": "x"}}, "Cost"),
        ({"labels": {f"l{n}": "" for n in range(64)}}, "Vertex takes 64"),
    ],
)
def test_what_the_registry_would_refuse_is_refused_before(change: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        replace(MODEL, **change)  # type: ignore[arg-type]
