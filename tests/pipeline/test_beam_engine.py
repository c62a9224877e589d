"""Places that flags for Beam name are asked before a run reads data; a real Flink and Spark in `test_engines.py`."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("tfx")

import grpc
from apache_beam.portability.api import beam_job_api_pb2 as jobs
from apache_beam.runners.portability.local_job_service import LocalJobServicer

from kubeflow.doctor.checks.beam import check_beam_engine
from kubeflow.doctor.finding import Severity, Subject
from pipeline import beam_engine
from pipeline.beam_engine import EngineFault, engine_faults, require_engine
from pipeline.config import PipelineConfig
from pipeline.job_server_options import JOB_SERVER_OPTIONS
from pipeline.run import prepare
from pipeline.settings import SettingError

WITHIN = 0.5  # seconds
LOOPBACK = "--environment_type=LOOPBACK"


class Describing(LocalJobServicer):
    """Beam's own job server, which says what options it takes as Flink's does (Beam's Python one says nothing)."""

    def DescribePipelineOptions(self, request, context=None):
        names = JOB_SERVER_OPTIONS["FlinkRunner"]
        options = [jobs.PipelineOptionDescriptor(name=name) for name in (*names.numbers, *names.texts)]
        return jobs.DescribePipelineOptionsResponse(options=options)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beam_engine, "ANSWERS_WITHIN", WITHIN)


@pytest.fixture
def job_server(request: pytest.FixtureRequest) -> Iterator[str]:
    server = getattr(request, "param", LocalJobServicer)()
    port = server.start_grpc_server()
    yield f"localhost:{port}"
    server.stop()


@pytest.fixture
def silent() -> Iterator[str]:
    """Takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"localhost:{server.getsockname()[1]}"


@pytest.fixture
def nobody() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"localhost:{server.getsockname()[1]}"


def faults(*args: str) -> list[EngineFault]:
    return list(engine_faults(args))


def at(endpoint: str, *more: str) -> list[EngineFault]:
    return faults("--runner=PortableRunner", f"--job_endpoint={endpoint}", *(more or [LOOPBACK]))


def test_flags_that_keep_the_work_here_ask_nobody() -> None:
    assert (
        faults() == faults("--direct_num_workers=2") == faults("--runner=DirectRunner") == at("embed") == []
    )


def test_a_job_server_that_answers_is_good(job_server: str) -> None:
    assert at(job_server) == []


@pytest.mark.parametrize("job_server", [Describing], indirect=True)
def test_a_flag_that_the_job_server_does_not_know(job_server: str) -> None:
    assert at(job_server, LOOPBACK, "--parallelism=4", "--checkpointing_interval=10000") == []
    (fault,) = at(job_server, LOOPBACK, "--checkpointing_intervall=10000")
    assert (
        "'--checkpointing_intervall=10000'" in fault.cause
        and "did you mean --checkpointing_interval?" in fault.cause
    )


@pytest.mark.parametrize("place", ["silent", "nobody"])
def test_no_job_server_there_is_said_in_seconds(place: str, request: pytest.FixtureRequest) -> None:
    endpoint, began = request.getfixturevalue(place), time.monotonic()
    (fault,) = at(endpoint)
    assert fault.fatal and fault.where == f"--job_endpoint={endpoint}" and f"within {WITHIN} s" in fault.cause
    assert time.monotonic() - began < 5


def test_a_server_that_is_no_job_server() -> None:
    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor())
    port = server.add_insecure_port("localhost:0")
    server.start()
    (fault,) = at(f"localhost:{port}")
    assert "no job server of Beam (unimplemented)" in fault.cause
    server.stop(0)


def test_a_worker_pool_that_only_the_engine_may_see_is_a_warning(job_server: str, nobody: str) -> None:
    for words in (
        ["--environment_type=EXTERNAL", f"--environment_config={nobody}"],
        ["--environment_type=external", f"--environment_options=external_service_address={nobody}"],
    ):
        (fault,) = at(job_server, *words)
        assert not fault.fatal and nobody in fault.where


def test_the_job_server_of_an_engine_needs_java_and_its_jar(tmp_path: Path, nobody: str) -> None:
    jar = tmp_path / "job-server.jar"
    jar.touch()
    assert (
        faults("--runner=FlinkRunner", f"--flink_job_server_jar={jar}", "--job_server_java_launcher=cat")
        == []
    )
    (fault,) = faults(
        "--runner=SparkRunner", f"--spark_job_server_jar={jar}", "--job_server_java_launcher=no-java"
    )
    assert fault.fatal and "no such program" in fault.cause
    (fault,) = faults(
        "--runner=FlinkRunner", "--job_server_java_launcher=cat", f"--flink_job_server_jar={jar}s"
    )
    assert fault.where == "--flink_job_server_jar" and f"{jar}s" in fault.cause
    address = f"http://{nobody}/job-server.jar"
    (fault,) = faults("--runner=SparkRunner", "--job_server_java_launcher=cat", f"--spark_job_server_jar={address}",
                      f"--jar_cache_dir={tmp_path / 'cache'}")  # fmt: skip
    assert address in fault.cause and str(tmp_path / "cache" / "job-server.jar") in fault.remedy
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "job-server.jar").touch()
    assert faults("--runner=SparkRunner", "--job_server_java_launcher=cat", f"--spark_job_server_jar={address}",
                  f"--jar_cache_dir={tmp_path / 'cache'}") == []  # fmt: skip


def test_no_cluster_where_the_master_should_be(tmp_path: Path, nobody: str) -> None:
    jar = tmp_path / "job-server.jar"
    jar.touch()
    common = ("--job_server_java_launcher=cat", LOOPBACK)
    (fault,) = faults(
        "--runner=FlinkRunner", f"--flink_master={nobody}", f"--flink_job_server_jar={jar}", *common
    )
    assert (
        fault.fatal and fault.where == f"--flink_master={nobody}" and fault.cause == "no server answers there"
    )
    url = f"spark://{nobody},{nobody}"
    (fault,) = faults(
        "--runner=SparkRunner", f"--spark_master_url={url}", f"--spark_job_server_jar={jar}", *common
    )
    assert fault.fatal and fault.where == f"--spark_master_url={url}" and "nothing listens" in fault.cause
    for url in ("yarn", "k8s://https://host:6443"):
        assert (
            faults(
                "--runner=SparkRunner", f"--spark_master_url={url}", f"--spark_job_server_jar={jar}", *common
            )
            == []
        )


def test_a_run_stops_before_it_reads_data_and_the_doctor_says_why(tmp_path: Path, nobody: str) -> None:
    args = ("--runner=PortableRunner", f"--job_endpoint={nobody}", LOOPBACK)
    with pytest.raises(SettingError, match=f"beam_args: --job_endpoint={nobody}: nothing answers"):
        prepare(PipelineConfig(beam_args=args), tmp_path / "no corpus", {}, tmp_path / "workspace")
    with pytest.raises(SettingError, match="nothing answers"):
        require_engine(args)
    (finding,) = check_beam_engine(Subject("local", tmp_path, config={"beam_args": args}))
    assert finding.severity is Severity.FATAL and finding.check == "beam_engine" and nobody in finding.where
    assert not list(check_beam_engine(Subject("kubeflow", tmp_path, config={"beam_args": args})))
    assert not list(check_beam_engine(Subject("local", tmp_path)))
