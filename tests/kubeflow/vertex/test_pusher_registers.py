"""The pusher's step with the registry, over real sockets: what was pushed is registered, once, with its scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from kits.vertex_kit import (
    settings,
    vertex_fixture,  # noqa: F401  (the fixture `vertex`)
)
from kits.vertex_server import VertexServer
from kubeflow.compiled.executor_input import as_address, as_path
from kubeflow.vertex.model_registry import RegistryStep, and_register, main
from kubeflow.vertex.settings import ModelRegistrySettings

# What the pusher does as far as its step's output file shows it; every push has a folder of its own.
PUSHER = """
import json, sys, uuid
given = json.loads(sys.argv[2])
does = given['inputs']['artifacts']['model_blessing']['artifacts'][0]['metadata']['does']
if does == 'fail':
    sys.exit(7)
said = {'pushed': 1.0, 'pushed_destination': '/gcs/bucket/pushed/' + uuid.uuid4().hex}
metadata = said if does == 'push' else {'pushed': 0.0}
with open(given['outputs']['outputFile'], 'w') as file:
    json.dump({'artifacts': {'pushed_model': {'artifacts': [{'uri': 'x', 'metadata': metadata}]}}}, file)
"""
REPORT = {"tasks": {"esc50": {"value": 0.9125}, "birdsong": {"value": 1 / 3}, "voxforge": {"value": None}}}


def arguments(vertex: VertexServer, folder: Path, does: str, weights: str = "a1" * 32) -> list[str]:
    """What Vertex runs for the wrapped pusher, its executor input filled in."""
    (folder / "report.json").write_text(json.dumps({**REPORT, "hares": 0.62}))
    blessing = {"report": str(folder), "does": does}
    artifacts = {"model": {"weights_digest": weights}, "model_blessing": blessing}
    executor_input = {
        "inputs": {"artifacts": {k: {"artifacts": [{"metadata": m}]} for k, m in artifacts.items()}},
        "outputs": {"outputFile": str(folder / "executor_output.json"), "artifacts": {}},
    }
    step = RegistryStep(
        settings(vertex, folder), ModelRegistrySettings("hares-demo"), "hares-demo", {"run_key": "ab"}
    )
    container = {
        "image": "images.example/hares:1",
        "command": [sys.executable, "-c", PUSHER],
        "args": ["--json_serialized_invocation_args", "{{$}}"],
        "resources": {"cpuLimit": 2.0},
    }
    wrapped = and_register(container, step)
    assert (wrapped["image"], wrapped["resources"]) == ("images.example/hares:1", {"cpuLimit": 2.0})
    return [json.dumps(executor_input) if word == "{{$}}" else word for word in wrapped["args"]]


def test_what_is_pushed_becomes_a_version_however_often_the_step_is_tried(
    vertex: VertexServer, tmp_path: Path
) -> None:
    for _ in range(2):
        assert main(arguments(vertex, tmp_path, "push")) == 0
    (first,) = vertex.stored["models"]["hares-demo"]
    assert first.artifact_uri.startswith("gs://bucket/pushed/")
    assert json.loads(first.version_description) == {"birdsong": 1 / 3, "esc50": 0.9125, "hares": 0.62}
    assert first.labels["run_key"] == "ab" and first.labels["score_esc50"] == "0_912500"
    assert main(arguments(vertex, tmp_path, "push", "b2" * 32)) == 0  # the next run of the schedule
    one, two = vertex.stored["models"]["hares-demo"]
    assert (list(one.version_aliases), list(two.version_aliases)) == (["default"], ["blessed"])


def test_what_is_not_pushed_is_not_registered(vertex: VertexServer, tmp_path: Path) -> None:
    assert main(arguments(vertex, tmp_path, "hold back")) == 0
    assert main(arguments(vertex, tmp_path, "fail")) == 7
    assert not vertex.requests


def test_a_registry_that_refuses_fails_the_step_and_the_next_try_registers(
    vertex: VertexServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vertex.plant("POST models:upload", 403)
    assert main(arguments(vertex, tmp_path, "push")) == 1
    assert "pushed but could not be registered: Vertex AI at" in capsys.readouterr().err
    assert main(arguments(vertex, tmp_path, "push")) == 0
    assert len(vertex.stored["models"]["hares-demo"]) == 1


def test_paths_and_addresses() -> None:
    assert as_path("gs://bucket/x") == "/gcs/bucket/x" and as_address("/gcs/bucket/x") == "gs://bucket/x"
    assert as_path("/mnt/x") == as_address("/mnt/x") == "/mnt/x"
