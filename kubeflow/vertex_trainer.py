"""Training in a custom job of Vertex AI: what it runs on, and how one job a key is started, found again and cancelled.

| hardware | machine | accelerators |
|---|---|---|
| CPU | any, as "n1-standard-8" | none |
| GPU | "n1-standard-8", "g2-standard-12", ... | `NVIDIA_...`, as many as the machine takes |
| several workers | as above | pool 0 is the chief, pool 1 the other workers; Vertex sets TF_CONFIG |
| TPU v2, v3 | "cloud-tpu" | `TPU_V2` or `TPU_V3`, 8 cores |
| TPU v5e | "ct5lp-hightpu-1t", "-4t", "-8t" | none: `tpu_topology` "1x1", "2x2", "2x4" |

TPU slices of more than one host are refused: our strategy drives the chips of its own host
(`models.training.distribution`).

Vertex gives custom jobs their ids, so a job carries its key as a label and is looked for by it. Two that are started
at the same moment both see themselves listed: the younger is cancelled.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from google.cloud.aiplatform_v1 import types
from google.protobuf import duration_pb2, json_format

from kubeflow.service import Failure, ServiceError
from kubeflow.vertex_api import VertexApi
from kubeflow.vertex_service import KEY_LABEL, key_digest

_CONTENT_LABEL = "hares_content"
_V5E_TOPOLOGY = {"ct5lp-hightpu-1t": "1x1", "ct5lp-hightpu-4t": "2x2", "ct5lp-hightpu-8t": "2x4"}
_TPU_CORES = 8  # of a v2 or v3 board, the smallest slice that Vertex rents
_REPLICA = ("python", "-m", "kubeflow.vertex_replica")
_STATES = types.JobState
_ACCELERATORS: Any = types.AcceleratorType  # its own types do not tell that it is an enumeration
_ENDED = (
    _STATES.JOB_STATE_SUCCEEDED,
    _STATES.JOB_STATE_PARTIALLY_SUCCEEDED,
    _STATES.JOB_STATE_FAILED,
    _STATES.JOB_STATE_CANCELLED,
    _STATES.JOB_STATE_EXPIRED,
)


class CustomJobError(RuntimeError):
    """The job ended, and not well; the message has Vertex's own and where its log is."""


class CustomJobCancelled(RuntimeError):
    """We were told to stop, and the job was cancelled."""


@dataclass(frozen=True)
class HardwareSpec:
    """What a custom job runs on; the module's table says what goes together.

    Attributes:
        machine_type: of every worker.
        accelerator: Vertex's name, as "NVIDIA_L4" or "TPU_V3"; "" for none.
        accelerator_count: GPUs of each worker, or TPU cores.
        tpu_topology: of v5e, as "2x2".
        workers: machines, chief included.
        boot_disk_gb: of each machine.
        max_hours: after which Vertex ends the job.
    """

    machine_type: str = "n1-standard-8"
    accelerator: str = ""
    accelerator_count: int = 0
    tpu_topology: str = ""
    workers: int = 1
    boot_disk_gb: int = 100
    max_hours: int = 168

    def __post_init__(self) -> None:
        if not self.machine_type:
            raise ValueError("hardware.machine_type: is empty; give one, as in 'n1-standard-8'")
        names = [kind.name for kind in _ACCELERATORS if kind]  # 0 is "unspecified"
        if self.accelerator and self.accelerator not in names:
            raise ValueError(
                f"hardware.accelerator: got {self.accelerator!r}; accepted are {', '.join(names)}"
            )
        if bool(self.accelerator) != (self.accelerator_count > 0):
            raise ValueError(
                f"hardware.accelerator and accelerator_count: got {self.accelerator!r} and "
                f"{self.accelerator_count}; give both or neither"
            )
        if self.workers < 1 or self.boot_disk_gb < 1 or self.max_hours < 1:
            raise ValueError("hardware: workers, boot_disk_gb and max_hours must be 1 or more")
        self._check_tpu()

    @property
    def tpu(self) -> bool:
        """Whether the job runs on TPUs; its image needs TensorFlow's TPU build."""
        return self.accelerator.startswith("TPU_") or self.machine_type.startswith("ct5lp-")

    def _check_tpu(self) -> None:
        if self.machine_type.startswith("ct5lp-"):
            topology = _V5E_TOPOLOGY.get(self.machine_type)
            if topology is None or self.tpu_topology != topology or self.accelerator:
                accepted = ", ".join(f"{machine} with {shape}" for machine, shape in _V5E_TOPOLOGY.items())
                raise ValueError(
                    f"hardware: TPU v5e is given by machine type and topology alone; accepted are {accepted}; got "
                    f"{self.machine_type} with {self.tpu_topology or 'no topology'} and accelerator "
                    f"{self.accelerator!r}"
                )
        elif self.tpu_topology:
            raise ValueError("hardware.tpu_topology: only machines ct5lp-hightpu-*t have one")
        board = self.accelerator in ("TPU_V2", "TPU_V3") and self.accelerator_count == _TPU_CORES
        if (self.accelerator.startswith("TPU_") or self.machine_type == "cloud-tpu") and not (
            board and self.machine_type == "cloud-tpu"
        ):
            raise ValueError(
                f"hardware: accepted is machine type cloud-tpu with {_TPU_CORES} of TPU_V2 or TPU_V3; got "
                f"{self.machine_type} with {self.accelerator_count} of {self.accelerator or 'no accelerator'}"
            )
        if self.tpu and self.workers > 1:
            raise ValueError(
                f"hardware.workers: got {self.workers}; a TPU slice is one host's, give it 1 worker"
            )


def custom_job(
    name: str, hardware: HardwareSpec, image: str, command: Sequence[str], service_account: str = ""
) -> types.CustomJob:
    """A custom job that runs a command, on every worker the same.

    Args:
        name: shown in Vertex's pages.
        hardware: what on.
        image: container image.
        command: program and arguments. Workers other than the chief get it behind `kubeflow.vertex_replica`, which
            keeps them from writing over the chief's outputs.
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
            disk_spec=types.DiskSpec(boot_disk_type="pd-ssd", boot_disk_size_gb=hardware.boot_disk_gb),
            container_spec=types.ContainerSpec(
                # Vertex replaces $(NAME) by variables, as Kubernetes does; $$( is a plain $(.
                image_uri=image,
                command=list(words[:1]),
                args=[word.replace("$(", "$$(") for word in words[1:]],
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
    """Starts a job, or finds the one started for this key, and waits for its end.

    A job of this key with the same content that is running or has succeeded is taken for ours; a running one with
    other content is cancelled first, since both would write to the same places; one that failed is started again.

    Args:
        api: where.
        key: names the work, as in "RUN/trainer".
        job: from `custom_job`.
        stopped: set by whoever wants the job cancelled.
        poll_seconds: between two looks at the job.

    Raises:
        CustomJobError: it failed, was cancelled by somebody else, or ran out of time.
        CustomJobCancelled: `stopped` was set, and the job was cancelled.
        ServiceError: Vertex does not answer; the job goes on, and the next call with the key finds it.
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
            raise CustomJobCancelled(f"{job.display_name}: stopped before it was started")
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
    """The oldest job with our key and content that runs or has succeeded."""
    fitting = [
        job
        for job in _listed(api, wanted)
        if job.labels.get(_CONTENT_LABEL) == wanted.labels[_CONTENT_LABEL]
        and (_alive(job) or job.state == _STATES.JOB_STATE_SUCCEEDED)
    ]
    return min(fitting, key=lambda job: (job.create_time, job.name), default=None)


def _listed(api: VertexApi, wanted: types.CustomJob) -> list[types.CustomJob]:
    found: list[types.CustomJob] = []
    token = ""
    while True:
        page = api.call(
            f"looking for {wanted.display_name}",
            api.jobs.list_custom_jobs,
            types.ListCustomJobsRequest(
                parent=api.parent,
                filter=f'labels.{KEY_LABEL}="{wanted.labels[KEY_LABEL]}"',
                page_token=token,
            ),
        )
        found += page.custom_jobs
        token = page.next_page_token
        if not token:
            return found


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


def _content(job: types.CustomJob) -> str:
    written = json_format.MessageToDict(types.CustomJobSpec.pb(job.job_spec))
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:32]
