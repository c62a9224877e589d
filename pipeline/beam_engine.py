"""The engine that flags for Beam name: does it answer, before a run reads any data?

Beam asks only when the first step starts. It waits five minutes for a job server that is not there
(`--job_server_timeout`), drops flags that the job server does not know, and fetches the job server's jar of Flink and
Spark from Maven in the middle of the run. Here each place is asked once, and has a few seconds to answer. The job API
does not say which Beam a job server is of; Flink says its own version, which decides the job server's jar.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

from pipeline.beam_args import unknown_flags, workers_are_here
from pipeline.http import Answer, Client
from pipeline.settings import SettingError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

ANSWERS_WITHIN = 5.0  # seconds
_LONGEST_ANSWER = 1 << 20  # bytes
_JAVA_RUNNERS = ("FlinkRunner", "SparkRunner")


@dataclass(frozen=True)
class EngineFault:
    """What stands against a run on the engine.

    Attributes:
        where: the flag, with its value.
        cause: what is wrong.
        remedy: what to do about it.
        fatal: whether the run would fail for certain.
    """

    where: str
    cause: str
    remedy: str
    fatal: bool = True


def require_engine(beam_args: Sequence[str]) -> None:
    """Asks the engine's places whether they are there.

    Args:
        beam_args: flags that `checked_beam_args` returned.

    Raises:
        SettingError: a run on this engine would fail for certain.
    """
    for fault in engine_faults(beam_args):
        if fault.fatal:
            raise SettingError(f"beam_args: {fault.where}: {fault.cause}; {fault.remedy}")


def engine_faults(beam_args: Sequence[str]) -> Iterator[EngineFault]:
    """What stands against a run on the engine that the flags name; nothing where the work stays in this process.

    Args:
        beam_args: flags that `checked_beam_args` returned.
    """
    if not beam_args:
        return
    # Imported here: it takes seconds, and only settings with flags for Beam need it.
    from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions

    from components.beam_runner import runner_of

    runner = runner_of(beam_args)
    if runner not in (*_JAVA_RUNNERS, "PortableRunner"):
        return
    options = PipelineOptions(list(beam_args))
    endpoint = options.view_as(PortableOptions).job_endpoint
    if endpoint and endpoint != "embed":
        yield from _of_job_server(endpoint, beam_args, runner)
    elif runner in _JAVA_RUNNERS:
        yield from _of_jar(options, runner)
        if not workers_are_here(options, runner):
            yield from (_of_flink(options) if runner == "FlinkRunner" else _of_spark(options))
    yield from _of_worker_pool(options)


def _of_job_server(endpoint: str, beam_args: Sequence[str], runner: str) -> Iterator[EngineFault]:
    import grpc
    from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

    where = f"--job_endpoint={endpoint}"
    with grpc.insecure_channel(endpoint) as channel:
        if not _ready(channel):
            yield EngineFault(
                where, f"nothing answers there within {ANSWERS_WITHIN:g} s",
                "start Beam's job server there, or give the address of the one that runs",
            )  # fmt: skip
            return
        service = beam_job_api_pb2_grpc.JobServiceStub(channel)
        try:
            described = service.DescribePipelineOptions(
                beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=ANSWERS_WITHIN
            )
        except grpc.RpcError as error:
            yield EngineFault(
                where, f"what answers there is no job server of Beam ({error.code().name.lower()})",
                "give the job server's port, not the engine's or the artifact service's",
            )  # fmt: skip
            return
    names = [option.name for option in described.options]
    # A server that describes none takes everything.
    for flag, hint in unknown_flags(beam_args, runner, names) if names else ():
        yield EngineFault(
            where, f"the job server there does not know {flag!r}, and Beam would leave it out{hint}",
            "take the flag away, or correct it",
        )  # fmt: skip


def _ready(channel: Any) -> bool:
    import grpc

    try:
        grpc.channel_ready_future(channel).result(timeout=ANSWERS_WITHIN)
    except grpc.FutureTimeoutError:
        return False
    return True


def _of_jar(options: PipelineOptions, runner: str) -> Iterator[EngineFault]:
    """The job server that Beam starts here: Java, and the jar, which lies here or is fetched."""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions, JobServerOptions, SparkRunnerOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer
    from apache_beam.runners.portability.spark_runner import SparkJarJobServer
    from apache_beam.utils.subprocess_server import JavaJarServer

    given = options.view_as(JobServerOptions)
    flink = runner == "FlinkRunner"
    if flink:
        uber = options.view_as(FlinkRunnerOptions).flink_submit_uber_jar
    else:
        uber = options.view_as(SparkRunnerOptions).spark_submit_uber_jar
    if not uber and shutil.which(given.job_server_java_launcher) is None:
        yield EngineFault(
            f"--job_server_java_launcher={given.job_server_java_launcher}",
            "Beam starts the engine's job server here, and there is no such program",
            "install Java, or start a job server elsewhere and give --job_endpoint=HOST:PORT",
        )
    name = "--flink_job_server_jar" if flink else "--spark_job_server_jar"
    try:
        jar = (FlinkJarJobServer if flink else SparkJarJobServer)(options).path_to_jar()
    except ValueError as error:
        yield EngineFault(name, str(error).partition(". ")[0], "give the path of the file")
        return
    kept = os.path.join(given.jar_cache_dir or JavaJarServer.JAR_CACHE, os.path.basename(jar))
    if os.path.exists(jar) or os.path.exists(kept) or not re.match("https?://", jar):
        return  # of other addresses Beam's own file systems know
    answer = _asked("HEAD", jar)
    if isinstance(answer, str) or answer.status >= 400:
        said = answer if isinstance(answer, str) else f"the server answers {answer.status}"
        yield EngineFault(
            name, f"the job server's jar cannot be fetched from {jar} ({said})",
            f"put it at {kept}, give its path with {name}, or give the --job_endpoint of a job server that runs",
        )  # fmt: skip


def _asked(method: str, url: str) -> Answer | str:
    """The answer, or why there is none."""
    try:
        return Client(ANSWERS_WITHIN, redirects=3, most=_LONGEST_ANSWER).send(method, url)
    except requests.exceptions.Timeout:
        return f"no answer within {ANSWERS_WITHIN:g} s"
    except requests.exceptions.SSLError as error:
        return str(error).splitlines()[0][:200]
    except requests.exceptions.ConnectionError:
        return "no server answers there"
    except requests.RequestException as error:
        return str(error).splitlines()[0][:200]


def _of_flink(options: PipelineOptions) -> Iterator[EngineFault]:
    """The cluster: is it Flink, of the job server's version, with workers?"""
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    flink = options.view_as(FlinkRunnerOptions)
    given = flink.flink_master.strip()
    master = given if re.match("https?://", given) else f"http://{given}"
    where = f"--flink_master={given}"
    remedy = "give the address of its REST service, as HOST:8081"
    answer = _asked("GET", f"{master}/overview")
    if isinstance(answer, str):
        yield EngineFault(where, answer, f"start the cluster, or {remedy}")
        return
    try:
        said = answer.json()
        version, managers, slots = said["flink-version"], said["taskmanagers"], said["slots-total"]
    except (ValueError, KeyError, TypeError):
        yield EngineFault(where, "what answers there is no Flink", remedy)
        return
    if not str(version).startswith(f"{flink.flink_version}."):
        yield EngineFault(
            where, f"Flink there is {version}, and the job server would be the one for {flink.flink_version}",
            f"give --flink_version; Beam has job servers for {', '.join(flink.PUBLISHED_FLINK_VERSIONS)}",
        )  # fmt: skip
    if managers == 0:
        yield EngineFault(where, "the cluster has no task manager", "start one", fatal=False)
    elif flink.parallelism > slots:
        yield EngineFault(
            where, f"the cluster has {slots} slots, and --parallelism={flink.parallelism} wants more",
            "give fewer, or start more task managers", fatal=False,
        )  # fmt: skip


def _of_spark(options: PipelineOptions) -> Iterator[EngineFault]:
    from apache_beam.options.pipeline_options import SparkRunnerOptions

    url = options.view_as(SparkRunnerOptions).spark_master_url
    if not url.startswith("spark://"):
        return  # YARN, or Kubernetes: found by settings that only Spark reads
    places = url.removeprefix("spark://").split(",")
    if not any(_listens(place) for place in places):
        yield EngineFault(
            f"--spark_master_url={url}", f"nothing listens there within {ANSWERS_WITHIN:g} s",
            "start the master, or give its address as it prints it, spark://HOST:7077",
        )  # fmt: skip


def _listens(place: str) -> bool:
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS_WITHIN).close()
    except (OSError, ValueError, OverflowError):
        return False
    return True


def _of_worker_pool(options: PipelineOptions) -> Iterator[EngineFault]:
    """Of an external environment. The engine's machines reach it; this one may not, so it is no reason to stop."""
    from apache_beam.options.pipeline_options import PortableOptions

    portable = options.view_as(PortableOptions)
    if (portable.environment_type or "").upper() != "EXTERNAL":
        return
    pool = portable.environment_config or portable.lookup_environment_option("external_service_address")
    import grpc

    with grpc.insecure_channel(str(pool)) as channel:
        if not _ready(channel):
            yield EngineFault(
                f"--environment_config={pool}", "no worker pool answers there, seen from this machine",
                "start `python -m apache_beam.runners.worker.worker_pool_main --service_port PORT` beside each of the "
                "engine's workers; if only they reach it, this is no fault", fatal=False,
            )  # fmt: skip
