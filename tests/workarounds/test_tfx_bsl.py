"""What TFX's own steps hold of the Examples at a time: a number of bytes, whatever the clips and the clock."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("tfx")

import apache_beam as beam
import tensorflow as tf
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.transform import executor as transform
from tfx_bsl.public.tfxio import TFExampleRecord

from components.standard.executor import StatisticsGenExecutor, TransformExecutor
from workarounds.tfx_bsl import BATCH_BYTES, batches_by_bytes

pytestmark = pytest.mark.slow


def read(folder: Path, sizes: list[int], batch_size: int | None = None) -> list[list[int]]:
    """The sizes of the records of each batch that TFX's steps are given, by a pipeline that is built here."""
    path = folder / "clips.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for size in sizes:
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes(size)]))
            features = tf.train.Features(feature={"waveform": feature})
            writer.write(tf.train.Example(features=features).SerializeToString())
    out = folder / "batches"
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = (
            pipeline
            | TFExampleRecord(str(path), telemetry_descriptors=["test"]).BeamSource(batch_size)
            | beam.Map(lambda batch: " ".join(str(len(row[0])) for row in batch.column(0).to_pylist()))
            | beam.io.WriteToText(str(out), shard_name_template="")
        )
    return [[int(size) for size in line.split()] for line in out.read_text().splitlines()]


def test_a_batch_has_as_many_clips_as_fit_and_a_longer_one_goes_alone(tmp_path: Path) -> None:
    half, large = BATCH_BYTES // 2 - 1000, 2 * BATCH_BYTES
    with batches_by_bytes():
        found = read(tmp_path, [large, half, half, half, large, large, half])
    assert found == [[large], [half, half], [half], [large], [large], [half]]


def test_a_size_that_is_asked_for_stays(tmp_path: Path) -> None:
    with batches_by_bytes():
        assert read(tmp_path, [10] * 5, batch_size=2) == [[10, 10], [10, 10], [10]]


def test_others_pipelines_are_left_to_tfx(tmp_path: Path) -> None:
    """TFX begins with one record and doubles; an error inside changes nothing about that."""
    with pytest.raises(ZeroDivisionError), batches_by_bytes():
        _ = 1 // 0
    assert len(read(tmp_path, [10] * 4)[0]) == 1


@pytest.mark.parametrize(
    ("executor", "of_tfx"),
    [(StatisticsGenExecutor, statistics_gen.Executor), (TransformExecutor, transform.Executor)],
)
def test_steps_that_read_clips_build_their_pipelines_inside(
    executor: type, of_tfx: type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where TFX's executor begins, records are batched by their bytes."""
    found = []

    def do_of_tfx(self: object, *arguments: object) -> None:
        found.extend(read(tmp_path, [10] * 8))

    monkeypatch.setattr(of_tfx, "Do", do_of_tfx)
    executor().Do({}, {}, {})
    assert found == [[10] * 8]
