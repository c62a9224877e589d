"""Flags for Beam: refused by Beam's own parser before a run starts, and given to the steps that can take them."""

from __future__ import annotations

import importlib.util

import pytest

pytest.importorskip("tfx")  # components.beam_runner is below a package that imports it

from components.beam_runner import DASK_RUNNER
from pipeline.beam_args import by_step, checked_beam_args
from pipeline.settings import SettingError

IMAGE = "--sdk_container_image=registry.example/hares:1"
DATAFLOW = [
    "--runner=DataflowRunner",
    "--project=some-project",
    "--region=europe-west4",
    "--temp_location=gs://bucket/temp",
    "--staging_location=gs://bucket/staging",
    "--job_name=hares",
]


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
        [*DATAFLOW, IMAGE],
        ["--runner=FlinkRunner", "--flink_master=host:8081", "--parallelism=4", IMAGE],
        ["--runner=FlinkRunner", "--flink_master=host:8081", "--environment_type=LOOPBACK"],
        ["--runner=SparkRunner", "--spark_master_url=spark://host:7077", IMAGE],
    ],
)
def test_flags_that_beam_takes_pass_as_they_are(args):
    assert checked_beam_args(args) == tuple(args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["--direct_num_worker=2"],
            "does not know '--direct_num_worker=2'; did you mean --direct_num_workers",
        ),
        (["--direct_num_workers=two"], "invalid int value: 'two'"),
        (["--direct_running_mode=parallel"], "invalid choice: 'parallel'"),
        (["direct_num_workers=2"], "one flag with its value"),
        (["--runner=FlinkRuner"], "--runner cannot be used"),
        ([f for f in DATAFLOW if "project" not in f] + [IMAGE], "project"),
        (DATAFLOW, "--sdk_container_image"),
        (["--runner=FlinkRunner", "--flink_master=host:8081"], "--sdk_container_image"),
        (["--runner=SparkRunner"], "--sdk_container_image"),
    ],
)
def test_what_beam_refuses_is_refused_by_name(args, message):
    with pytest.raises(SettingError, match="beam_args") as caught:
        checked_beam_args(args)
    assert message in str(caught.value)


def test_dask_by_its_short_name_or_a_clear_refusal():
    if importlib.util.find_spec("distributed"):
        args = checked_beam_args(["--runner=DaskRunner", "--dask_npartitions=4"])
        assert args == (f"--runner={DASK_RUNNER}", "--dask_npartitions=4")
    else:
        with pytest.raises(SettingError, match=r"hares-tfx\[dask\]"):
            checked_beam_args(["--runner=DaskRunner"])


def test_with_dask_only_ingestion_and_embedding_leave_this_machine():
    flink = ["--runner=FlinkRunner"]
    assert by_step(flink) == (flink, [])
    dask = [f"--runner={DASK_RUNNER}"]
    assert by_step(dask) == ([], dask)
