"""Transform's records can be read in any order; training takes the same batches whatever Beam makes of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest

pytest.importorskip("tfx")

import tensorflow as tf
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.proto import transform_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from components.standard.executor import TransformExecutor
from hares.example import ExampleClip, encode_example
from models.frontend import FrontendConfig
from models.training.input_pipeline import InputSpec, make_dataset
from models.training.records import Records, open_records
from pipeline.pipeline import SCHEMA_FILE, _schema_text
from workarounds.tfx_transform import uncompressed_records

pytestmark = pytest.mark.slow


def transformed(folder: Path, beam_args: list[str]) -> list[str]:
    """The files that the step writes of 24 clips in two files of ingestion."""
    examples, schema, graph, output = (
        artifact()
        for artifact in (
            standard_artifacts.Examples, standard_artifacts.Schema, standard_artifacts.TransformGraph,
            standard_artifacts.Examples,
        )
    )  # fmt: skip
    for name, artifact in {"in": examples, "schema": schema, "graph": graph, "out": output}.items():
        artifact.uri = str(folder / name)
    examples.split_names = json.dumps(["train"])
    (folder / "in" / "Split-train").mkdir(parents=True)
    random = np.random.default_rng(0)
    for file in range(2):
        with tf.io.TFRecordWriter(str(folder / "in" / "Split-train" / f"clips-{file}.tfrecord")) as writer:
            for clip in range(12):
                pcm = random.integers(-9000, 9000, 8000).astype(np.int16)
                writer.write(encode_example(ExampleClip(f"{file}-{clip}", pcm, (clip,), "speaker")))
    (folder / "schema").mkdir()
    (folder / "schema" / SCHEMA_FILE).write_text(_schema_text())
    splits = transform_pb2.SplitsConfig(analyze=["train"], transform=["train"])
    custom = {"frontend": dataclasses.asdict(FrontendConfig()), "input_kind": "log_mel"}
    context = BaseBeamExecutor.Context(
        beam_pipeline_args=beam_args, tmp_dir=str(folder / "tmp"), unique_id="1"
    )
    TransformExecutor(context).Do(
        {"examples": [examples], "schema": [schema]},
        {"transform_graph": [graph], "transformed_examples": [output]},
        {
            "preprocessing_fn": "pipeline.entry_points.preprocessing.preprocessing_fn",
            "splits_config": proto_utils.proto_to_json(splits),
            "custom_config": json.dumps(custom),
            "disable_statistics": 1,
            "force_tf_compat_v1": 0,
        },
    )
    return sorted(str(path) for path in (folder / "out" / "Split-train").iterdir())


def batches(records: Records) -> list[dict[str, np.ndarray]]:
    spec = InputSpec(
        records=records, batch_size=8, num_views=2, mixes=True, num_classes=12, noise_size=0,
        input_kind="log_mel", crop_length=20, mel_bins=80, mixing_alpha=5.0, mixing_beta=2.0, seed=0,
    )  # fmt: skip
    return [{name: value.numpy() for name, value in batch.items()} for batch in make_dataset(spec).take(7)]


def test_two_beam_workers_write_other_files_and_training_takes_the_same_batches(tmp_path: Path) -> None:
    alone = transformed(tmp_path / "alone", [])
    workers = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    shared = transformed(tmp_path / "shared", workers)
    assert [Path(file).read_bytes() for file in alone] != [Path(file).read_bytes() for file in shared]
    assert not [file for file in (*alone, *shared) if ".gz" in file]
    for one, other in zip(batches(open_records(alone)), batches(open_records(shared)), strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_others_pipelines_are_left_to_beam() -> None:
    of_beam = beam.io.WriteToTFRecord
    with pytest.raises(ZeroDivisionError), uncompressed_records():
        assert beam.io.WriteToTFRecord is not of_beam
        _ = 1 // 0
    assert beam.io.WriteToTFRecord is of_beam
