"""A step of the pipeline as a custom job of Vertex AI: on TPUs, on several workers, on larger machines.

`in_custom_job` puts this module in front of a compiled step's command. The step then starts a custom job that runs
that command, executor input included, and waits for it. The executor inside the job reads and writes what it would
have in the step, its output file too, so nothing else in the pipeline changes.

There is one job for each run and task. Vertex chooses the ids of custom jobs, so a job carries its key as a label, and
a retried step finds the job by it. If the retried step has other output paths than the attempt that started the job, it
takes over the job's output file, which says where the artifacts are. If two jobs are started at the same moment, both
are listed, and the younger is cancelled. Cancelling the pipeline ends the step with SIGTERM, which cancels the job.

    python -m kubeflow.vertex.custom_job SETTINGS KEY PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1 import types
from google.protobuf import duration_pb2, json_format

from kubeflow.clusters import Failure, ServiceConfig, ServiceError
from kubeflow.compiled.executor_input import executor_input, output_file, with_executor_input
from kubeflow.vertex.api import VertexApi
from kubeflow.vertex.service import KEY_LABEL, key_digest
from kubeflow.vertex.settings import HardwareSpec
from pipeline.settings import override

# Vertex fills these in; a retried step gets the same ones.
_KEY = "{{$.pipeline_job_resource_name}}/{{$.pipeline_task_name}}"
_MODULE = ("python", "-m", "kubeflow.vertex.custom_job")
_CONTENT_LABEL = "hares_content"
_REPLICA = ("python", "-m", "kubeflow.vertex.replica")
_ESCAPED = "$$("
_STATES = types.JobState
_ACCELERATORS: Any = types.AcceleratorType  # its stubs do not say that it is an enumeration
_ENDED = (
    _STATES.JOB_STATE_SUCCEEDED,
    _STATES.JOB_STATE_PARTIALLY_SUCCEEDED,
    _STATES.JOB_STATE_FAILED,
    _STATES.JOB_STATE_CANCELLED,
    _STATES.JOB_STATE_EXPIRED,
)
_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class CustomJobStep:
    """How the job of a step is started; the settings of this module's command.

    Attributes:
        service: how the step reaches Vertex: with its own credentials, not the submitter's.
        hardware: what the job runs on.
        image: of the job; the step itself only waits, and keeps its own image.
        poll_seconds: between two queries of the job's state.
        labels: the run's; a custom job inherits none, and its cost is counted by its own.
    """

    service: ServiceConfig
    hardware: HardwareSpec
    image: str
    poll_seconds: float = 30.0
    labels: Mapping[str, str] = field(default_factory=dict)


def in_custom_job(container: Mapping[str, Any], step: CustomJobStep) -> dict[str, Any]:
    """A compiled step's container, changed to run its command in a custom job; its own resources are dropped."""
    settings = json.dumps(dataclasses.asdict(step), sort_keys=True)
    return {
        "image": container["image"],
        "command": list(_MODULE),
        "args": [settings, _KEY, *container.get("command", []), *container.get("args", [])],
    }


def main(arguments: Sequence[str]) -> int:
    """Runs the command in a custom job; 0 if it succeeded, 143 if it was cancelled, 1 otherwise."""
    settings, key, *command = arguments
    step = override(CustomJobStep(ServiceConfig(), HardwareSpec(), ""), json.loads(settings))
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    job = custom_job(
        f"hares {key.rsplit('/', 1)[-1]}", step.hardware, step.image, command, step.service.service_account
    )
    job.labels = dict(step.labels)
    try:
        done = run_custom_job(VertexApi(step.service), key, job, stopped, step.poll_seconds)
    except CustomJobCancelled as cancelled:
        print(cancelled, file=sys.stderr)
        return _TERMINATED
    except (CustomJobError, ServiceError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    _copy_output_file(command_of(done), command)
    print(f"{done.display_name}: {done.name} has succeeded")
    return 0


class CustomJobError(RuntimeError):
    """The job failed; the message has Vertex's own message and the address of the log."""


class CustomJobCancelled(RuntimeError):
    """The step was asked to stop, and cancelled its job."""


def custom_job(
    name: str, hardware: HardwareSpec, image: str, command: Sequence[str], service_account: str = ""
) -> types.CustomJob:
    """A custom job that runs one command on every worker.

    Args:
        name: shown in Vertex's pages.
        hardware: what it runs on.
        image: container image.
        command: program and arguments. Workers other than the chief run it through `kubeflow.vertex.replica`, which
            keeps them from overwriting the chief's outputs.
        service_account: runs as this one; "" is the project's default.
    """

    def pool(replicas: int, words: Sequence[str]) -> types.WorkerPoolSpec:
        return types.WorkerPoolSpec(
            machine_spec=types.MachineSpec(
                machine_type=hardware.machine_type,
                accelerator_type=_ACCELERATORS[hardware.accelerator or "ACCELERATOR_TYPE_UNSPECIFIED"],
                accelerator_count=hardware.accelerator_count,
                tpu_topology=hardware.tpu_topology,
            ),
            replica_count=replicas,
            # Newer machines refuse older disk types, so Vertex chooses the type.
            disk_spec=types.DiskSpec(boot_disk_size_gb=hardware.boot_disk_gb),
            container_spec=types.ContainerSpec(
                # Vertex expands $(NAME) like Kubernetes; $$( stands for a plain $(.
                image_uri=image,
                command=list(words[:1]),
                args=[word.replace("$(", _ESCAPED) for word in words[1:]],
            ),
        )

    pools = [pool(1, command)]
    if hardware.workers > 1:
        pools.append(pool(hardware.workers - 1, [*_REPLICA, *command]))
    return types.CustomJob(
        display_name=name,
        job_spec=types.CustomJobSpec(
            worker_pool_specs=pools,
            service_account=service_account,
            scheduling=types.Scheduling(timeout=duration_pb2.Duration(seconds=hardware.max_hours * 3600)),
        ),
    )


def run_custom_job(
    api: VertexApi, key: str, job: types.CustomJob, stopped: threading.Event, poll_seconds: float = 30.0
) -> types.CustomJob:
    """Starts a job, or finds the one that was started for this key, and waits until it has ended.

    A job with this key and the same content (`_content`) is used if it is running or has succeeded; if it failed, a new
    one is started. A running job with other content is cancelled first, as both would write to the same checkpoints.

    Args:
        api: of the project and region.
        key: names the work, as in "RUN/trainer".
        job: from `custom_job`.
        stopped: when it is set, the job is cancelled.
        poll_seconds: between two queries of the job's state.

    Raises:
        CustomJobError: it failed, was cancelled by somebody else, or exceeded its time limit.
        CustomJobCancelled: `stopped` was set, and the job was cancelled.
        ServiceError: Vertex does not answer. The job goes on, and the next call with this key finds it.
    """
    wanted = types.CustomJob(job)
    wanted.labels = {
        **job.labels,
        KEY_LABEL: key_digest(key),
        _CONTENT_LABEL: _content(job),
    }
    ours = _find(api, wanted)
    for other in _listed(api, wanted):
        if _alive(other) and other.labels.get(_CONTENT_LABEL) != wanted.labels[_CONTENT_LABEL]:
            _cancel(api, other.name)
            while not stopped.is_set() and _read(api, other.name).state not in _ENDED:
                stopped.wait(poll_seconds)
    if ours is None:
        if stopped.is_set():
            raise CustomJobCancelled(f"{job.display_name}: stopped before the custom job was started")
        ours = api.create_once(
            f"starting {job.display_name}",
            api.jobs.create_custom_job,
            types.CreateCustomJobRequest(parent=api.parent, custom_job=wanted),
            lambda: _find(api, wanted),
        )
        first = _find(api, wanted)
        if first is not None and first.name != ours.name:
            _cancel(api, ours.name)
            ours = first
    return _wait(api, ours.name, stopped, poll_seconds)


def _wait(api: VertexApi, name: str, stopped: threading.Event, poll_seconds: float) -> types.CustomJob:
    while True:
        job = _read(api, name)
        if job.state in _ENDED:
            break
        if stopped.wait(poll_seconds):
            _cancel(api, name)
            raise CustomJobCancelled(f"{job.display_name}: cancelled custom job {name}")
    if job.state != _STATES.JOB_STATE_SUCCEEDED:
        state = job.state.name.removeprefix("JOB_STATE_").lower()
        number = name.rsplit("/", 1)[-1]
        raise CustomJobError(
            f"{job.display_name}: custom job {number} is {state}: {job.error.message or 'no message'}; its log: "
            f"https://console.cloud.google.com/vertex-ai/locations/{api.config.region}/training/{number}"
            f"?project={api.config.project}"
        )
    return job


def _find(api: VertexApi, wanted: types.CustomJob) -> types.CustomJob | None:
    """The oldest job with our key and content that is running or has succeeded."""
    fitting = [
        job
        for job in _listed(api, wanted)
        if job.labels.get(_CONTENT_LABEL) == wanted.labels[_CONTENT_LABEL]
        and (_alive(job) or job.state == _STATES.JOB_STATE_SUCCEEDED)
    ]
    return min(fitting, key=lambda job: (job.create_time, job.name), default=None)


def _listed(api: VertexApi, wanted: types.CustomJob) -> list[types.CustomJob]:
    request = types.ListCustomJobsRequest(
        parent=api.parent, filter=f'labels.{KEY_LABEL}="{wanted.labels[KEY_LABEL]}"'
    )
    what = f"looking for {wanted.display_name}"
    return api.items(what, api.jobs.list_custom_jobs, request, "custom_jobs")


def _read(api: VertexApi, name: str) -> types.CustomJob:
    request = types.GetCustomJobRequest(name=name)
    job: types.CustomJob = api.call(f"reading custom job {name}", api.jobs.get_custom_job, request)
    return job


def _cancel(api: VertexApi, name: str) -> None:
    request = types.CancelCustomJobRequest(name=name)
    try:
        api.call(f"cancelling custom job {name}", api.jobs.cancel_custom_job, request)
    except ServiceError as error:
        if error.failure is not Failure.INVALID or _alive(_read(api, name)):  # it ended in between
            raise


def _alive(job: types.CustomJob) -> bool:
    return job.state not in _ENDED and job.state != _STATES.JOB_STATE_CANCELLING


def command_of(job: types.CustomJob) -> list[str]:
    """The command that a job's chief runs, as it was given to `custom_job`."""
    container = job.job_spec.worker_pool_specs[0].container_spec
    return [*container.command, *(word.replace(_ESCAPED, "$(") for word in container.args)]


def _content(job: types.CustomJob) -> str:
    """Digest of what a job does, without its output paths: a retried step may get others."""
    written = json_format.MessageToDict(types.CustomJobSpec.pb(job.job_spec))
    for pool in written.get("workerPoolSpecs", []):
        container = pool["containerSpec"]
        with contextlib.suppress(ValueError):  # not a command of TFX's
            container["args"] = with_executor_input(container.get("args", []), _without_outputs)
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:32]


def _without_outputs(given: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != "outputs"}


def _copy_output_file(ran: Sequence[str], command: Sequence[str]) -> None:
    """If the job ran an earlier attempt's command, copies that command's output file to this step's."""
    if list(ran) == list(command):
        return
    theirs, ours = (Path(output_file(executor_input(words))) for words in (ran, command))
    if theirs != ours:
        ours.parent.mkdir(parents=True, exist_ok=True)
        ours.write_bytes(theirs.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
