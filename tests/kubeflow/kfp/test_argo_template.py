"""Templates of pods, against one that a real Argo 3.5.14 made: the evaluator of twelve tasks, which did not begin."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from hares.task import task_names
from kits.small_runs import small_cluster, small_run
from kubeflow.compiled.compile import compile_pipeline
from kubeflow.compiled.kfp_launcher import TEMPLATE_LIMIT, template_bytes
from kubeflow.kfp.argo_template import fit_templates
from pipeline.config import PipelineConfig
from pipeline.resolve import Source
from pipeline.settings import SettingError

ROOT = "minio://mlpipeline/hares"
# Of that evaluator: bytes of ARGO_TEMPLATE, of the pod's patch, and of what our file and the inputs put into it.
TEMPLATE, INPUT, COMPONENT, ARGUMENT = 144_284, 34_619, 8_145, 9_072


def compiled(count: int, workspace: Path, root: str = ROOT) -> dict[str, Any]:
    """The specification of a pipeline with so many of the paper's tasks."""
    tasks = task_names()[:count]
    steps = [f"{step}_{task}" for task in tasks for step in ("ingest", "embed")]
    run = small_run(
        config=PipelineConfig(name="hares-demo", tasks=tasks),
        tasks={task: Source({task: f"/mnt/{task}"}, ("fold-1",), task) for task in tasks},
        code=dict.fromkeys((*small_run().code, *steps), "sources"),
        older_spans=(), warm_start=None,
    )  # fmt: skip
    cluster = dataclasses.replace(small_cluster("kubeflow", workspace), pipeline_root=root)
    text = compile_pipeline(run, cluster, "revision", {})
    return next(yaml.safe_load_all(text))


def evaluator(spec: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Its inputs, and the arguments of its container."""
    component = spec["components"]["evaluator"]
    container = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    return component["inputDefinitions"]["artifacts"], container["args"]


def test_the_bytes_are_those_of_a_real_pod() -> None:
    """Quotes count most: those of the inputs are escaped three times in the template."""
    session = json.dumps(dict.fromkeys("abcdefg", "minio-service"))
    metadata = {"files": "0" * 64, "session": session, "content_digest": "0" * 64}
    one = {"name": "72", "type": {"instanceSchema": ""}, "uri": "minio://" + "u" * 300, "metadata": metadata}
    inputs: dict[str, Any] = {}
    while len(json.dumps({"inputs": {"artifacts": inputs}}, separators=(",", ":"))) < INPUT:
        inputs[f"embeddings_{len(inputs)}"] = {"artifacts": [one]}
    schema = {"artifactType": {"instanceSchema": "title: components.Embeddings\ntype: object\n"}}
    component: dict[str, Any] = {}
    while len(json.dumps(component, separators=(",", ":"))) < COMPONENT:
        component[f"embeddings_number_{len(component)}"] = schema
    declared = json.dumps(component, indent=2)[:ARGUMENT]
    found = template_bytes(
        {"inputs": {"artifacts": inputs}}, component, ["-m", "kubeflow.entrypoint", declared]
    )
    assert found == pytest.approx(TEMPLATE, rel=0.05)


def test_the_spectrograms_are_given_up_where_they_do_not_fit(tmp_path: Path) -> None:
    for count, kept in ((3, 3), (12, 0)):
        inputs, arguments = evaluator(compiled(count, tmp_path))
        assert sum(key.startswith("examples_") for key in inputs) == kept
        assert sum(key.startswith("manifest_") for key in inputs) == count
        types = json.loads(arguments[arguments.index("--json_serialized_inputs_spec_args") + 1])["artifacts"]
        assert set(types) == set(inputs)


def test_what_cannot_be_started_is_not_compiled(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"step evaluator: .* a shorter pipeline_root"):
        compiled(12, tmp_path, "gs://bucket/" + "folder/" * 200)


def test_a_step_with_too_many_inputs_is_not_compiled(tmp_path: Path) -> None:
    spec = compiled(1, tmp_path)
    many = copy.deepcopy(spec)
    declared = many["components"]["transform"]["inputDefinitions"]["artifacts"]
    declared.update({f"more_{place}": declared["examples"] for place in range(60)})
    fit_templates(spec, ROOT)
    with pytest.raises(SettingError, match=rf"step transform: .* {TEMPLATE_LIMIT}"):
        fit_templates(many, ROOT)
