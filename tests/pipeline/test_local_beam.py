"""Beam's work runs in the step's process, by the runner that fetches nothing and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apache_beam as beam
import grpc
import pytest
from apache_beam.portability.api import beam_job_api_pb2 as jobs
from apache_beam.portability.api import beam_job_api_pb2_grpc
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.local_job_service import LocalJobServicer
from tfx.dsl.components.base import base_beam_executor
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import executable_spec_pb2
from tfx.types import standard_artifacts

from pipeline.local_beam import EnginePipeline, LocalBeamOperator, in_process

pytestmark = pytest.mark.slow


class Counts(base_beam_executor.BaseBeamExecutor):
    """Counts three elements with Beam, and writes down what it was given."""

    def Do(self, input_dict, output_dict, exec_properties):
        folder = output_dict["report"][0].uri
        pipeline = self._make_beam_pipeline()
        assert type(pipeline.runner) is FnApiRunner and self._beam_pipeline_args == []
        Path(folder, "workers").write_text(pipeline._options.get_all_options()["direct_running_mode"])
        with pipeline:
            counted = pipeline | beam.Create([3, 4, 5]) | beam.combiners.Count.Globally()
            _ = counted | beam.Map(lambda count: Path(folder, "count").write_text(str(count)))


@pytest.mark.parametrize(
    ("flags", "mode"), [([], "in_memory"), (["--direct_running_mode=multi_threading"], "multi_threading")]
)
def test_a_step_runs_in_this_process_and_leaves_no_temporary_file(tmp_path, monkeypatch, flags, mode) -> None:
    for name in ("temporary", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    spec = executable_spec_pb2.BeamExecutableSpec()
    spec.python_executor_spec.class_path = f"{__name__}.Counts"
    for flag in flags:
        spec.beam_pipeline_args_placeholders.add().value.string_value = flag
    monkeypatch.setattr("tfx.utils.import_utils.import_class_by_path", lambda path: Counts)
    report = standard_artifacts.ExampleStatistics()
    report.uri = str(tmp_path / "out")
    info = data_types.ExecutionInfo(
        execution_id=1,
        input_dict={},
        output_dict={"report": [report]},
        exec_properties={},
        execution_output_uri=str(tmp_path / "executor_output"),
        stateful_working_dir=str(tmp_path),
        tmp_dir=str(tmp_path),
    )
    LocalBeamOperator(spec).run_executor(info)
    assert (tmp_path / "out" / "count").read_text() == "3"
    assert (tmp_path / "out" / "workers").read_text() == mode
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "here"),
    [
        ([], True),
        (["--direct_num_workers=2"], True),
        (["--runner=DirectRunner"], True),
        (["--runner", "apache_beam.runners.portability.fn_api_runner.FnApiRunner"], True),
        (["--runner=DataflowRunner", "--project=p"], False),
        (["--runner=FlinkRunner"], False),
    ],
)
def test_flags_that_name_another_runner_are_left_to_it(flags, here) -> None:
    assert in_process(flags) is here


@pytest.fixture
def job_server() -> Iterator[tuple[LocalJobServicer, str]]:
    server = LocalJobServicer()
    port = server.start_grpc_server()
    yield server, f"localhost:{port}"
    server.stop()


def waits_on(endpoint: str, end: Path, disturb: Callable[[], object]) -> None:
    """A job that lasts until the file is there; disturbed once it runs."""

    def wait(element: int) -> None:
        while not end.exists():
            time.sleep(0.05)

    def once_it_runs() -> None:
        while [state for state in states(endpoint) if state == "RUNNING"] != ["RUNNING"]:
            time.sleep(0.05)
        disturb()

    flags = ["--runner=PortableRunner", f"--job_endpoint={endpoint}", "--environment_type=LOOPBACK"]
    with EnginePipeline(argv=flags) as pipeline:
        _ = pipeline | beam.Create([1]) | beam.Map(wait)
        threading.Thread(target=once_it_runs, daemon=True).start()


def states(endpoint: str) -> list[str]:
    with grpc.insecure_channel(endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        return [jobs.JobState.Enum.Name(job.state) for job in service.GetJobs(jobs.GetJobsRequest()).job_info]


def test_an_interrupted_step_leaves_no_job_behind(job_server, tmp_path) -> None:
    endpoint = job_server[1]
    with pytest.raises(KeyboardInterrupt):
        waits_on(endpoint, tmp_path / "end", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert states(endpoint) in (["CANCELLING"], ["CANCELLED"])
    (tmp_path / "end").touch()


def test_a_job_server_that_is_lost_is_named_as_the_cause(job_server, tmp_path) -> None:
    server, endpoint = job_server
    with pytest.raises(RuntimeError, match="Beam's job server stopped answering"):
        waits_on(endpoint, tmp_path / "end", lambda: server.stop(0))
    (tmp_path / "end").touch()
