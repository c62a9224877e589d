"""Flags for Beam: refused by Beam's own parser before a run starts, and given to the steps that can take them."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tfx")  # components.beam_runner is below a package that imports it

from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from components.beam_runner import DASK_RUNNER
from kits.small_runs import small_run
from pipeline.beam_args import by_step, checked_beam_args
from pipeline.config import load_config
from pipeline.pipeline import create_pipeline
from pipeline.settings import SettingError

IMAGE = "--sdk_container_image=registry.example/hares:1"
FLINK = ["--runner=FlinkRunner", "--flink_master=host:8081"]
SPARK = ["--runner=SparkRunner", "--spark_master_url=spark://host:7077"]
DATAFLOW = [
    "--runner=DataflowRunner",
    "--project=some-project",
    "--region=europe-west4",
    "--temp_location=gs://bucket/temp",
    "--staging_location=gs://bucket/staging",
    "--job_name=hares",
]


def without(word: str) -> list[str]:
    return [flag for flag in [*DATAFLOW, IMAGE] if word not in flag]


@pytest.fixture(autouse=True)
def nothing_is_contacted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No address is looked up or connected to, and no program (gcloud, java) is asked."""
    asked: list[str] = []

    def refuse(*args: object, **_: object) -> None:
        asked.append(str(args))
        raise OSError(f"the check of flags asked {args}")

    for owner, name in ((socket.socket, "connect"), (socket, "getaddrinfo"), (subprocess, "Popen")):
        monkeypatch.setattr(owner, name, refuse)
    yield
    assert not asked


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--direct_running_mode=multi_processing", "--direct_num_workers=2"],
        [*DATAFLOW, IMAGE],
        ["--runner=dataflow", *DATAFLOW[1:], IMAGE, "--max_num_workers=8", "--worker_machine_type=n1-standard-8"],
        [*FLINK, "--parallelism=4", IMAGE],
        [*FLINK, "--checkpointing_interval=60000", "--object_reuse", "--state_backend=rocksdb", IMAGE],
        [*FLINK, "--environment_type=LOOPBACK"],
        ["--runner=FlinkRunner"],  # Beam starts one here, and its workers are this Python
        [*SPARK, IMAGE],
        [*SPARK, "--bundle_size=100", "--storage_level=MEMORY_ONLY", IMAGE],
        ["--runner=SparkRunner"],
        ["--runner=PortableRunner", "--job_endpoint=host:8099", "--environment_type=EXTERNAL",
         "--environment_config=host:5000", "--only_that_server_knows=1"],
    ],
)  # fmt: skip
def test_flags_that_beam_takes_pass_as_they_are(args: list[str]) -> None:
    assert checked_beam_args(args) == tuple(args)


def test_a_value_may_be_a_text_of_its_own() -> None:
    words = [word for flag in [*FLINK, "--parallelism=4", IMAGE] for word in flag.split("=", 1)]
    assert checked_beam_args(words) == (*FLINK, "--parallelism=4", IMAGE)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--direct_num_worker=2"], "does not know '--direct_num_worker=2'; did you mean --direct_num_workers"),
        (["--direct_num_workers=two"], "invalid int value: 'two'"),
        (["--direct_running_mode=parallel"], "invalid choice: 'parallel'"),
        (["direct_num_workers=2"], "one flag with its value"),
        (["--direct_num_workers=2", "3"], "got '3'; each is one flag with its value"),
        (["--runner"], "--runner: expected one argument"),
        (["--runner=FlinkRuner"], "--runner cannot be used"),
        (["--runner=no.such.Runner"], "--runner cannot be used"),
        (without("project"), "project"),
        (without("region"), "--region=REGION"),
        (without("location"), "Give --temp_location=gs://BUCKET/FOLDER"),
        (without("image"), "--sdk_container_image"),
        ([*DATAFLOW, IMAGE, "--num_workers=0"], "num_workers. Value needs to be positive"),
        ([*DATAFLOW, IMAGE, "--job_name=Hares 1"], "Invalid job_name"),
        ([*DATAFLOW, IMAGE, "--object_reuse"], "DataflowRunner does not know '--object_reuse'"),
        ([*FLINK, IMAGE, "--flink_mastre=host:1"], "FlinkRunner does not know '--flink_mastre=host:1'; did you mean"),
        ([*FLINK, IMAGE, "--paralelism=4"], "did you mean --parallelism"),
        ([*FLINK, IMAGE, "--parallelism=many"], "invalid int value: 'many'"),
        ([*FLINK, IMAGE, "--checkpointing_interval=often"], "invalid int value: 'often'"),
        ([*FLINK, IMAGE, "--flink_version=0.1"], "invalid choice: '0.1'"),
        ([*FLINK, IMAGE, "--storage_level=MEMORY_ONLY"], "FlinkRunner does not know '--storage_level=MEMORY_ONLY'"),
        (FLINK, "--sdk_container_image"),
        ([*FLINK, "--environment_type=PROCESS"], "process_command is required"),
        (SPARK, "--sdk_container_image"),
        ([*SPARK, IMAGE, "--spark_masterurl=x"], "did you mean --spark_master_url"),
        ([*SPARK, IMAGE, "--bundle_size=big"], "invalid int value: 'big'"),
    ],
)  # fmt: skip
def test_what_beam_refuses_is_refused_by_name(args: list[str], message: str) -> None:
    with pytest.raises(SettingError, match="beam_args") as caught:
        checked_beam_args(args)
    assert message in str(caught.value)


def test_settings_with_a_wrong_flag_are_not_loaded() -> None:
    assert load_config("demo", ["beam_args=[--direct_num_workers=2]"]).beam_args == (
        "--direct_num_workers=2",
    )
    with pytest.raises(SettingError, match=r"beam_args: .*did you mean --direct_num_workers"):
        load_config("demo", ["beam_args=[--direct_num_worker=2]"])


@pytest.mark.parametrize("name", ["DaskRunner", "dask", DASK_RUNNER])
def test_dask_by_its_short_name_or_a_clear_refusal(name: str) -> None:
    if importlib.util.find_spec("distributed"):
        args = checked_beam_args(["--dask_npartitions=4", "--runner", name])
        assert args == (f"--runner={DASK_RUNNER}", "--dask_npartitions=4")
        with pytest.raises(SettingError, match="did you mean --dask_npartitions"):
            checked_beam_args([f"--runner={name}", "--dask_npartition=4"])
    else:
        with pytest.raises(SettingError, match=r"not installed .*install hares-tfx\[dask\]"):
            checked_beam_args([f"--runner={name}"])


def test_with_dask_only_ingestion_and_embedding_leave_this_machine() -> None:
    assert by_step([]) == ([], [])
    assert by_step(FLINK) == (FLINK, [])
    for spelling in ([f"--runner={DASK_RUNNER}"], ["--runner", "DaskRunner"]):
        assert by_step(spelling) == ([], spelling)


@pytest.mark.parametrize("flags", [(f"--runner={DASK_RUNNER}",), ("--direct_num_workers=2",)])
def test_each_step_of_the_pipeline_gets_the_flags_that_it_can_take(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    run = small_run(workspace=tmp_path)
    pipeline = create_pipeline(replace(run, config=replace(run.config, beam_args=flags)))
    given = {
        step.id: tuple(step.executor_spec.beam_pipeline_args)
        for step in pipeline.components
        if isinstance(step.executor_spec, BeamExecutorSpec)
    }
    kinds = {step.partition("_")[0] for step in given}
    assert {"ingest", "embed", "statistics", "transform"} <= kinds
    for step, args in given.items():
        taken = "direct" in flags[0] or step.startswith(("ingest_", "embed_"))
        assert args == (flags if taken else ()), step
