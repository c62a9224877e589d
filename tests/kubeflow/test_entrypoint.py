"""The addresses and types that TFX's entry point is given, against the contract of KFP's executor input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import json_format

from kubeflow.entrypoint import (
    FOLDERS,
    as_tfx_expects,
    checked_accelerator,
    remove_leftovers,
    with_addresses,
    with_paths,
    works_on_files,
)


def arguments(tmp: str) -> list[str]:
    invocation = {
        "inputs": {
            "artifacts": {
                "model": {"artifacts": [{"uri": "gs://bucket/a/model", "metadata": {"from": "gs://kept"}}]}
            },
            "parameterValues": {"baseline": "gs://bucket/report"},
        },
        "outputs": {
            "artifacts": {"out": {"artifacts": [{"uri": f"gs://{tmp}/b/out"}]}},
            "outputFile": "gs://bucket/executor_output.json",
        },
    }
    return [
        "--executor_class_path",
        "x.Y",
        "--json_serialized_invocation_args",
        json.dumps(invocation),
        "--flag",
    ]


@pytest.mark.parametrize(("kind", "target"), [("GPU", "gpu"), ("TPU", "tpu")])
def test_a_step_ends_where_tensorflow_does_not_see_its_accelerator(kind: str, target: str) -> None:
    """On the CPU it would take days, and nobody would be told."""
    import tensorflow as tf

    if tf.config.list_physical_devices(kind):
        pytest.skip(f"this machine has a {kind}")
    with pytest.raises(ValueError, match=f"asks for a {kind}, and TensorFlow .* sees none: .*`{target}`"):
        checked_accelerator([*arguments("bucket"), f"--requires_accelerator={kind}"])
    assert checked_accelerator(arguments("bucket")) == arguments("bucket")


def test_artifacts_are_files_where_both_clusters_put_them(tmp_path: Path) -> None:
    folders = {"gs://": f"{tmp_path}/gcs/"}
    given = arguments("bucket")
    changed = with_paths(given, folders)
    assert changed[:3] == given[:3] and changed[4:] == ["--flag"]
    invocation = json.loads(changed[3])
    model = invocation["inputs"]["artifacts"]["model"]["artifacts"][0]
    assert model == {"uri": f"{tmp_path}/gcs/bucket/a/model", "metadata": {"from": "gs://kept"}}
    out = Path(invocation["outputs"]["artifacts"]["out"]["artifacts"][0]["uri"])
    assert out == tmp_path / "gcs" / "bucket" / "b" / "out"
    assert (
        out.parent.is_dir() and not out.exists()
    )  # as a cluster does: the output itself is the step's to make
    # The output file and parameters are the cluster's, and stay.
    assert invocation["outputs"]["outputFile"] == "gs://bucket/executor_output.json"
    assert invocation["inputs"]["parameterValues"] == {"baseline": "gs://bucket/report"}


def test_kubeflows_untyped_inputs_and_its_log_are_set_right_for_tfx() -> None:
    """As KFP's driver builds an executor input, read by TFX's own parser of artifacts."""
    utils = pytest.importorskip("tfx.orchestration.kubeflow.v2.container.kubeflow_v2_entrypoint_utils")
    from kfp.pipeline_spec import pipeline_spec_pb2

    declared = {
        "artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model\ntype: object\n"}}}
    }
    given = {
        "inputs": {
            "artifacts": {
                "model": {"artifacts": [{"name": "5", "type": {"instanceSchema": ""}, "uri": "s3://b/m"}]}
            }
        },
        "outputs": {
            "artifacts": {
                "executor-logs": {
                    "artifacts": [{"type": {"schemaTitle": "system.Artifact"}, "uri": "s3://b/logs"}]
                },
                "out": {
                    "artifacts": [{"type": declared["artifacts"]["model"]["artifactType"], "uri": "s3://b/o"}]
                },
            },
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        },
    }
    flags = [["--json_serialized_inputs_spec_args", json.dumps(declared)]]
    flags += [[f"--json_serialized_inputs_spec_args={json.dumps(declared)}"]]
    for spec_flag in flags:
        command = ["--json_serialized_invocation_args", json.dumps(given), *spec_flag]
        changed = json.loads(as_tfx_expects(command)[1])
        message = json_format.ParseDict(changed, pipeline_spec_pb2.ExecutorInput())
        (model,) = utils.parse_raw_artifact_dict(message.inputs.artifacts, {})["model"]
        assert model.type_name == "Model" and model.uri == "s3://b/m"
        assert list(utils.parse_raw_artifact_dict(message.outputs.artifacts, {})) == ["out"]


def test_the_cluster_gets_its_own_addresses_back() -> None:
    def output(uri: str) -> dict:
        return {"artifacts": {"out": {"artifacts": [{"uri": uri, "metadata": {"rows": 1.0}}]}}}

    assert FOLDERS == {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
    for path, address in (("/gcs/b/x", "gs://b/x"), ("/minio/b/x", "minio://b/x"), ("/data/x", "/data/x")):
        assert with_addresses(output(path)) == output(address)


def test_what_a_killed_attempt_left_is_removed_and_a_drivers_output_kept(tmp_path: Path) -> None:
    shards, page = tmp_path / "task" / "examples", tmp_path / "task" / "page"
    (shards / "Split-train" / "beam-temp-1").mkdir(parents=True)
    (shards / "Split-train" / "clips.tfrecord.part").write_text("half")
    page.write_text("<html>")
    outputs = {
        "artifacts": {
            "examples": {"artifacts": [{"uri": str(shards)}]},
            "page": {"artifacts": [{"uri": str(page)}]},
            "model": {"artifacts": [{"uri": str(tmp_path / "task" / "model")}]},
        },
        "outputFile": str(tmp_path / "task" / "executor_output.json"),
    }
    output_file = Path(outputs["outputFile"])
    output_file.write_text('{"parameterValues": {"span": 7}}')
    remove_leftovers(outputs)
    assert [path.name for path in (tmp_path / "task").iterdir()] == ["executor_output.json"]
    for half in ("", '{"artifacts": {"exam'):
        output_file.write_text(half)
        remove_leftovers(outputs)
        assert not output_file.exists()
    remove_leftovers(outputs)  # a first attempt finds nothing


@pytest.mark.parametrize(
    ("flags", "on_files"),
    [
        (["--runner=DataflowRunner"], False),
        (["--runner", "DataflowRunner", "--project", "p"], False),
        (["--project=p", "--runner", "dataflow"], False),
        (
            ["--runner=DirectRunner", "--runner=dataflow"],
            False,
        ),  # the cluster's flags come after the pipeline's
        (["--runner=dataflow", "--runner=DirectRunner"], True),
        (["--runner", "FlinkRunner"], True),
        (["--project", "DataflowRunner"], True),
        ([], True),
    ],
)
def test_addresses_stay_where_dataflow_does_the_work(flags: list[str], on_files: bool) -> None:
    pytest.importorskip("tfx")  # components imports it
    assert works_on_files([*arguments("bucket"), *flags]) == on_files
