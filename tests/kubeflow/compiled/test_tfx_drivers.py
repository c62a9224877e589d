"""A pipeline of TFX's own, whose ingestion has TFX's own driver, compiled by TFX's compiler and run from its file.

Our pipeline has no driver: spans and digests are resolved before it is compiled. What the harness does for drivers is
held here by the component that TFX wrote them for, which fails without what its driver says: the driver finds the span
and puts it into the pattern of the files to read, the properties of the output and the parameters.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tfx")

from tfx.components import CsvExampleGen, StatisticsGen
from tfx.orchestration.kubeflow.v2 import kubeflow_v2_dag_runner as tfx_compiler
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import example_gen_pb2

from kits.hand_made import Quiet
from kubeflow.compiled.file import read_compiled
from kubeflow.compiled.local_run import run_compiled


@pytest.mark.full
def test_tfxs_own_driver_finds_the_span_that_its_step_reads(tmp_path: Path) -> None:
    for span, rows in (("1", "old,1\n"), ("2", "new,2\nnewer,3\n")):
        folder = tmp_path / "data" / f"span-{span}"
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_text(f"name,number\n{rows}")
    source = example_gen_pb2.Input(
        splits=[example_gen_pb2.Input.Split(name="all", pattern="span-{SPAN}/*.csv")]
    )
    out = example_gen_pb2.Output(
        split_config=example_gen_pb2.SplitConfig(
            splits=[example_gen_pb2.SplitConfig.Split(name="all", hash_buckets=1)]
        )
    )
    ingest = CsvExampleGen(input_base=str(tmp_path / "data"), input_config=source, output_config=out)
    statistics = StatisticsGen(examples=ingest.outputs["examples"])
    file = tmp_path / "pipeline.json"
    config = tfx_compiler.KubeflowV2DagRunnerConfig(
        default_image="images.example/tfx:1", use_pipeline_spec_2_1=True
    )
    tfx_compiler.KubeflowV2DagRunner(config, output_dir=str(tmp_path), output_filename=file.name).run(
        Pipeline("drivers", "gs://bucket/root", components=[ingest, statistics])
    )
    containers = [e["container"] for e in executors(file).values()]
    assert sum("preCacheCheck" in c.get("lifecycle", {}) for c in containers) == 1

    done = run_compiled(read_compiled(file), tmp_path / "run", Quiet())
    (examples,) = done["CsvExampleGen"]["examples"]
    assert examples["metadata"]["custom:span"] == 2.0
    assert examples["metadata"]["input_fingerprint"].startswith("split:all,num_files:1,")
    assert values_of(Path(examples["uri"]) / "Split-all") == [2, 3]
    assert Path(done["StatisticsGen"]["statistics"][0]["uri"], "Split-all").is_dir()


def executors(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())["pipelineSpec"]["deploymentSpec"]["executors"]
    return found


def values_of(folder: Path) -> list[int]:
    """The column `number` of the Examples in a folder."""
    import tensorflow as tf

    files = sorted(str(path) for path in folder.glob("*.gz"))
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    examples = [tf.train.Example.FromString(record.numpy()) for record in records]
    return sorted(example.features.feature["number"].int64_list.value[0] for example in examples)
