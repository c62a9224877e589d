"""The step that stands for an importer of a path on Kubeflow, run as the pod runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kubeflow.kfp.volume_import import with_volume_imports

MODEL = {"instanceSchema": "title: tfx.Model\ntype: object\n"}


def spec(uri: str) -> dict[str, Any]:
    importer = {"artifactUri": {"constant": uri}, "typeSchema": MODEL, "metadata": {"weights_digest": "w"}}
    return {"deploymentSpec": {"executors": {"base_model_executor": {"importer": importer}}}}


@pytest.mark.parametrize(
    "uri", ["gs://bucket/pushed/7", "s3://bucket/pushed/7", "minio://mlpipeline/pushed/7"]
)
def test_an_importer_of_a_bucket_stays(uri: str) -> None:
    made = spec(uri)
    with_volume_imports(made, "image", ())
    assert made == spec(uri)


@pytest.mark.parametrize("there", [True, False])
def test_a_path_is_copied_into_the_steps_output(tmp_path: Path, there: bool) -> None:
    source, target, output_file = (
        tmp_path / "pushed" / "7",
        tmp_path / "out" / "result",
        tmp_path / "task" / "out.json",
    )
    if there:
        (source / "variables").mkdir(parents=True)
        (source / "saved_model.pb").write_bytes(b"graph")
        (source / "variables" / "weights").write_bytes(b"weights")
        target.mkdir(parents=True)
        (target / "left").write_bytes(b"of a killed attempt")
    made = spec(str(source))
    with_volume_imports(made, "image:1", (str(tmp_path),))
    container = made["deploymentSpec"]["executors"]["base_model_executor"]["container"]
    given = {
        "inputs": {"parameterValues": {"artifact_uri": str(source)}},
        "outputs": {
            "artifacts": {"result": {"artifacts": [{"name": "1", "type": MODEL, "uri": str(target)}]}},
            "outputFile": str(output_file),
        },
    }
    words = [word.replace("{{$}}", json.dumps(given)) for word in container["command"] + container["args"]]
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, check=False)
    if not there:
        assert done.returncode == 1 and str(source) in done.stderr and not output_file.exists()
        return
    assert done.returncode == 0, done.stderr
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()) == [
        "saved_model.pb", "variables/weights",
    ]  # fmt: skip
    (artifact,) = json.loads(output_file.read_text())["artifacts"]["result"]["artifacts"]
    assert artifact["metadata"] == {"weights_digest": "w", "copied_from": str(source)}
    assert artifact["uri"] == str(target) and container["image"] == "image:1"
