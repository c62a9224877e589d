"""All Beam steps of a run on a job server with SDK workers of its own, against the same run in memory.

`make test-engines`. What the workers leave is compared to the byte, Transform's records as a multiset: the order in
which a runner hands them out is its own. Then the workers are killed in the middle of a shard and the run in the middle
of a job, and the same command goes on. Last, what a run and the doctor say of a real Flink and a real Spark.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("tfx")

import grpc
import tensorflow as tf
from apache_beam.portability.api import beam_job_api_pb2 as jobs
from apache_beam.portability.api import beam_job_api_pb2_grpc

from kits.engine_clusters import FLINK, flink_cluster, said, spark_cluster
from kits.job_server import GIVEN, Engine, engine, free_port
from kits.pipeline_runs import FEW_TASKS, Finished, command, environment, project, run
from pipeline.beam_engine import EngineFault, engine_faults

pytestmark = pytest.mark.full

TASKS = ("birdsong", "esc50", "speech_commands_v2")
BYTE_FOR_BYTE = (
    *((f"ingest_{name}", output) for name in (*TASKS, "pretraining") for output in ("examples", "manifest")),
    ("statistics", "statistics"),
    ("transform", "transformed_examples"),
    *((f"embed_{name}", "embeddings") for name in TASKS),
)


@pytest.fixture(scope="module")
def beam_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with engine(tmp_path_factory.mktemp("engine") / "processes") as running:
        yield running


def content(finished: Finished) -> dict[str, object]:
    """What Beam's steps left, by its path; Transform's records in no order."""
    found: dict[str, object] = {}
    for node, output in BYTE_FOR_BYTE:
        folder = finished.artifact(node, output)
        for path in folder.rglob("*"):
            if not path.is_file():
                continue
            name = f"{node}/{output}/{path.relative_to(folder)}"
            if node == "transform":
                records = (
                    canonical(record) for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
                )
                name = str(Path(name).parent)
                found[name] = Counter(records) + found.get(name, Counter())
            else:
                found[name] = path.read_bytes()
    return found


def canonical(record: bytes) -> bytes:
    """An Example with its features by name; a process of Transform's writes them in the order of a hash."""
    return tf.train.Example.FromString(record).SerializeToString(deterministic=True)


def test_every_step_leaves_what_it_leaves_in_memory(
    beam_engine: Engine, made_corpus: Path, short_run: Finished, tmp_path: Path
) -> None:
    found = run(made_corpus, tmp_path, FEW_TASKS, beam_engine.setting())
    assert found.code == 0, found.stdout + found.stderr
    assert content(found) == content(short_run)
    assert len(content(found)) > 30
    assert found.report()["tasks"] == short_run.report()["tasks"]
    print("| step | in memory | job server |\n|---|---|---|")
    for step, seconds in seconds_by_step(found).items():
        if step.partition("_")[0] in ("ingest", "statistics", "transform", "embed"):
            print(f"| {step} | {seconds_by_step(short_run)[step]} s | {seconds} s |")


def seconds_by_step(finished: Finished) -> dict[str, float]:
    lines = [line.split() for line in finished.stdout.splitlines()]
    return {words[1]: float(words[2]) for words in lines if words[:1] == ["done"]}


@pytest.mark.skipif(GIVEN in os.environ, reason="that job server may do killed work again, and ours does not")
def test_killed_workers_and_an_interrupted_run_go_on_by_the_same_command(
    beam_engine: Engine, made_corpus: Path, short_run: Finished, tmp_path: Path
) -> None:
    def attempt(pattern: str, disturb: Callable[[subprocess.Popen[str]], object]) -> Finished:
        """Runs until a file of that pattern is there, then disturbs it."""
        process = subprocess.Popen(
            command(made_corpus, tmp_path, FEW_TASKS, beam_engine.setting()), cwd=project(),
            env=environment(project()), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 600
        while not any((tmp_path / "artifacts").glob(pattern)) or not disturb(process):
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()
            time.sleep(0.002)
        out, err = process.communicate(timeout=300)
        return Finished(process.returncode, out, err, tmp_path)

    def kill(_: object) -> list[int]:
        return beam_engine.kill_workers()

    killed = attempt("ingest_esc50/examples/*/Split-*/*.part", kill)
    assert killed.code == 5 and killed.steps("FAILED") == ["ingest_esc50"]
    last = killed.stderr.strip().splitlines()[-1]
    assert "step ingest_esc50 failed" in last and "Traceback" not in killed.stderr

    states = job_states(beam_engine)
    interrupted = attempt(
        "statistics/.system/executor_execution/*",
        lambda process: (
            "RUNNING" in job_states(beam_engine)[len(states) :] and not process.send_signal(signal.SIGTERM)
        ),
    )
    assert interrupted.code == 6, interrupted.stderr
    assert job_states(beam_engine)[-1] in ("CANCELLED", "CANCELLING")

    killed = attempt("embed_esc50/embeddings/*/trained/*", kill)
    assert killed.steps("FAILED") == ["embed_esc50"], killed.stderr

    found = run(made_corpus, tmp_path, FEW_TASKS, beam_engine.setting())
    assert found.code == 0, found.stderr
    assert {"ingest_esc50", "transform", "trainer"} <= set(found.steps("cached"))
    assert content(found) == content(short_run)
    assert not list((tmp_path / "artifacts").rglob("*.part"))


def job_states(beam_engine: Engine) -> list[str]:
    """Of all jobs that the server has had, oldest first."""
    with grpc.insecure_channel(beam_engine.job_endpoint) as channel:
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        found = service.GetJobs(jobs.GetJobsRequest(), timeout=30).job_info
    return [jobs.JobState.Enum.Name(job.state) for job in sorted(found, key=lambda job: job.job_id)]


def test_a_real_flink_is_asked_for_its_version_and_slots(tmp_path: Path) -> None:
    jar = tmp_path / "job-server.jar"
    jar.touch()

    def faults(address: str, *more: str) -> list[EngineFault]:
        given = ("--runner=FlinkRunner", f"--flink_master={address}", f"--flink_job_server_jar={jar}", *more)
        return list(engine_faults((*given, "--environment_type=LOOPBACK")))

    ours = f"--flink_version={FLINK.rpartition('.')[0]}"
    with flink_cluster(tmp_path / "flink") as (address, processes):
        assert faults(address, ours, "--parallelism=4") == faults(f"http://{address}", ours) == []
        (fault,) = faults(address, "--flink_version=1.18")
        assert (
            fault.fatal
            and f"Flink there is {FLINK}, and the job server would be the one for 1.18" in fault.cause
        )
        (fault,) = faults(address, ours, "--parallelism=5")
        assert not fault.fatal and "has 4 slots" in fault.cause
        for task_manager in processes[1:]:
            task_manager.terminate()  # a killed one is missed after its heartbeat, 50 s
        deadline = time.monotonic() + 60
        while said(f"http://{address}/overview")["taskmanagers"] and time.monotonic() < deadline:
            time.sleep(0.2)
        (fault,) = faults(address, ours)
        assert not fault.fatal and "no task manager" in fault.cause


def test_a_real_spark_master_is_found(tmp_path: Path) -> None:
    jar = tmp_path / "job-server.jar"
    jar.touch()
    common = ("--runner=SparkRunner", f"--spark_job_server_jar={jar}", "--environment_type=LOOPBACK")
    with spark_cluster(tmp_path / "spark") as url:
        assert list(engine_faults((*common, f"--spark_master_url={url}"))) == []
        assert (
            list(engine_faults((*common, f"--spark_master_url=spark://localhost:{free_port()},{url[8:]}")))
            == []
        )
    (fault,) = engine_faults((*common, f"--spark_master_url={url}"))
    assert fault.fatal and "nothing listens" in fault.cause
