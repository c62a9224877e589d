"""A job server of Beam and a pool of SDK workers, as processes on loopback: what Flink and Spark are to a pipeline.

The job server is Prism, Beam's own portable runner, of the locked version and built from its Go module
(`make test-engines`). It takes jobs, hands out bundles and moves data between workers by the protocols of the job
servers of Flink and Spark, but it has one worker environment and does a failed bundle not again. With
HARES_JOB_ENDPOINT=HOST:PORT the tests use a job server that runs already: Flink's, Spark's, or another.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kits.pipeline_runs import PROJECT, environment, project

PRISM = PROJECT / "build" / "engines" / "prism"
GIVEN = "HARES_JOB_ENDPOINT"
ANSWERS_WITHIN = 120  # seconds, on a machine that others keep busy


@dataclass(frozen=True)
class Engine:
    """A job server and a worker pool that answer."""

    job_endpoint: str
    worker_pool: str
    pool: subprocess.Popen[bytes]

    def beam_args(self) -> list[str]:
        """As a user writes them."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={self.job_endpoint}",
            "--environment_type=EXTERNAL",
            f"--environment_config={self.worker_pool}",
        ]

    def setting(self) -> str:
        """The same, for `--set`."""
        return f"beam_args=[{', '.join(repr(flag) for flag in self.beam_args())}]"

    def kill_workers(self) -> list[int]:
        """Kills the SDK workers that the pool started, as a machine that fails does; the pool itself lives on."""
        threads = Path(f"/proc/{self.pool.pid}/task").iterdir()
        workers = [int(number) for thread in threads for number in (thread / "children").read_text().split()]
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        return workers


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """A job server and a worker pool, each in a folder of its own; ended on the way out."""
    folder.mkdir(parents=True)
    processes: list[subprocess.Popen[bytes]] = []
    endpoint = os.environ.get(GIVEN, "")
    try:
        if not endpoint:
            endpoint = f"localhost:{free_port()}"
            processes.append(_started(prism(endpoint), folder / "prism"))
        pool_address = f"localhost:{free_port()}"
        pool = [sys.executable, "-m", "apache_beam.runners.worker.worker_pool_main",
                "--service_port", pool_address.rpartition(":")[2]]  # fmt: skip
        processes.append(_started(pool, folder / "pool"))
        for place in (endpoint, pool_address):
            _await(place, processes, folder)
        yield Engine(endpoint, pool_address, processes[-1])
    finally:
        for process in processes:
            process.terminate()  # the pool ends its workers
        for process in processes:
            process.wait(timeout=60)


def prism(endpoint: str) -> list[str]:
    """The command of Prism; the test is skipped where it is not built."""
    if not PRISM.exists():
        pytest.skip(
            f"no job server of Beam: `make test-engines` builds one (it needs Go), or name one in {GIVEN}"
        )
    return [str(PRISM), "-job_port", endpoint.rpartition(":")[2], "-serve_http=false"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _started(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    # The pool starts its workers as `python`, which it looks for on the path.
    found = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    assert shutil.which("python", path=found)
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(
            command, cwd=folder, env={**environment(project()), "PATH": found}, stdout=log, stderr=log
        )


def _await(place: str, processes: list[subprocess.Popen[bytes]], folder: Path) -> None:
    host, _, port = place.rpartition(":")
    deadline = time.monotonic() + ANSWERS_WITHIN
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError:
            logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in folder.rglob("log"))
            assert all(process.poll() is None for process in processes), logs
            assert time.monotonic() < deadline, logs
            time.sleep(0.1)
