"""A Flink session cluster and a Spark standalone cluster on loopback, from the jars of tests/engines/pom.xml.

What the scripts of both distributions start is started here: a cluster's entry point and task managers, a master and
workers, each a process of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kits.job_server import free_port
from kits.pipeline_runs import PROJECT

JARS = PROJECT / "build" / "engines"
FLINK = "1.20.3"  # as in tests/engines/pom.xml
ANSWERS_WITHIN = 120  # seconds, on a machine that others keep busy
_HEAP = "-Xmx384m"
# What Spark's own scripts open to it on Java 17.
_OPENED = [
    word
    for package in ("java.lang", "java.lang.invoke", "java.nio", "java.util", "sun.nio.ch")
    for word in ("--add-opens", f"java.base/{package}=ALL-UNNAMED")
]


def flink_settings(rest_port: int, rpc_port: int, folder: Path) -> str:
    """Two slots for each task manager, and as little memory as it starts with."""
    return f"""
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: localhost
jobmanager.memory.process.size: 1024m
rest.address: localhost
rest.bind-address: localhost
rest.port: {rest_port}
taskmanager.host: localhost
taskmanager.bind-host: localhost
taskmanager.numberOfTaskSlots: 2
taskmanager.cpu.cores: 1.0
taskmanager.memory.task.heap.size: 128m
taskmanager.memory.task.off-heap.size: 0m
taskmanager.memory.framework.heap.size: 64m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.managed.size: 64m
taskmanager.memory.network.min: 32m
taskmanager.memory.network.max: 32m
taskmanager.memory.jvm-metaspace.size: 128m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
io.tmp.dirs: {folder}
"""


@contextmanager
def flink_cluster(
    folder: Path, task_managers: int = 2
) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of its REST service, and its processes: the job manager, then the registered task managers."""
    address, conf = f"localhost:{free_port()}", folder / "conf"
    conf.mkdir(parents=True)
    (conf / "config.yaml").write_text(flink_settings(int(address.rpartition(":")[2]), free_port(), folder))
    package, settings = "org.apache.flink.runtime", ["--configDir", str(conf)]
    commands = [
        [f"{package}.entrypoint.StandaloneSessionClusterEntrypoint", *settings, "--executionMode", "cluster"],
        *([f"{package}.taskexecutor.TaskManagerRunner", *settings] for _ in range(task_managers)),
    ]
    with _processes("flink", commands, [], folder) as started:
        _await(lambda: said(f"http://{address}/overview")["taskmanagers"] == task_managers, started, folder)
        yield address, started


@contextmanager
def spark_cluster(folder: Path, workers: int = 2) -> Iterator[str]:
    """The address of its master, as spark://HOST:PORT, once the workers have registered."""
    folder.mkdir(parents=True)
    port, page = free_port(), free_port()
    url = f"spark://localhost:{port}"
    package = "org.apache.spark.deploy"
    commands = [
        [f"{package}.master.Master", "--host", "localhost", "--port", str(port), "--webui-port", str(page)],
        *(
            [f"{package}.worker.Worker", "--host", "localhost", "--cores", "1", "--memory", "512m",
             "--webui-port", str(free_port()), "--work-dir", str(folder / "work"), url]
            for _ in range(workers)
        ),
    ]  # fmt: skip
    with _processes("spark", commands, _OPENED, folder) as started:
        _await(lambda: said(f"http://localhost:{page}/json/")["aliveworkers"] == workers, started, folder)
        yield url


def said(url: str) -> dict:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read())


@contextmanager
def _processes(
    name: str, commands: list[list[str]], options: list[str], folder: Path
) -> Iterator[list[subprocess.Popen[bytes]]]:
    jars = JARS / name
    if shutil.which("java") is None or not jars.is_dir():
        pytest.skip(f"no {name}: `make test-engines` fetches its jars (it needs Java and Maven)")
    started = []
    # Hadoop's and Spark's own look at the host's name may find an address that nothing listens on.
    known = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_HOSTNAME": "localhost"}
    try:
        for number, command in enumerate(commands):
            with open(folder / f"{number}.log", "wb") as log:
                started.append(
                    subprocess.Popen(
                        ["java", _HEAP, *options, "-cp", f"{jars}/*", *command],
                        cwd=folder, env=known, stdout=log, stderr=log,
                    )
                )  # fmt: skip
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def _await(there: Callable[[], bool], started: list[subprocess.Popen[bytes]], folder: Path) -> None:
    deadline = time.monotonic() + ANSWERS_WITHIN
    while True:
        try:
            if there():
                return
        except (OSError, ValueError):
            pass
        logs = "\n".join(log.read_text(errors="replace")[-2000:] for log in folder.glob("*.log"))
        assert all(process.poll() is None for process in started), logs
        assert time.monotonic() < deadline, logs
        time.sleep(0.2)
