"""A step on Vertex AI whose command runs in a custom job: on TPUs, on several workers, on larger machines.

`in_custom_job` puts this module in front of a compiled step's command. The step then starts a custom job with that
command, executor input included, and waits. The executor inside the job reads and writes what it would have in the
step, its output file too, so that artifacts keep their properties and nothing else in the pipeline changes.

Idempotent by the run and the task: a retried step finds its own job (`kubeflow.vertex_trainer`). Where it was given
other places for its outputs than the attempt that started the job, it hands on the job's own output file, which says
where the artifacts are. Cancelling the pipeline ends the step with SIGTERM, and that cancels the job.

    python -m kubeflow.vertex_step SETTINGS KEY PROGRAM ARGUMENTS...
"""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeflow.executor_input import executor_input, output_file
from kubeflow.hardware import HardwareSpec
from kubeflow.service import ServiceError
from kubeflow.service_config import ServiceConfig
from kubeflow.vertex_api import VertexApi
from kubeflow.vertex_trainer import (
    CustomJobCancelled,
    CustomJobError,
    command_of,
    custom_job,
    run_custom_job,
)

# Vertex fills these in; both stay as they are when a step is tried again.
_KEY = "{{$.pipeline_job_resource_name}}/{{$.pipeline_task_name}}"
_MODULE = ("python", "-m", "kubeflow.vertex_step")
_TERMINATED = 128 + signal.SIGTERM


@dataclass(frozen=True)
class CustomJobStep:
    """How a step's job is started.

    Attributes:
        service: connection as the step has it: its own credentials, not those of who submits.
        hardware: what the job runs on.
        image: of the job; the step itself only waits, and keeps its own.
        poll_seconds: between two looks at the job.
    """

    service: ServiceConfig
    hardware: HardwareSpec
    image: str
    poll_seconds: float = 30.0


def in_custom_job(container: Mapping[str, Any], step: CustomJobStep) -> dict[str, Any]:
    """A compiled step's container, changed to run its command in a custom job; its own resources are left off."""
    settings = json.dumps(dataclasses.asdict(step), sort_keys=True)
    return {
        "image": container["image"],
        "command": list(_MODULE),
        "args": [settings, _KEY, *container.get("command", []), *container.get("args", [])],
    }


def main(arguments: Sequence[str]) -> int:
    """Runs the command in a custom job; 0 if it succeeded, 143 if it was cancelled, 1 otherwise."""
    settings, key, *command = arguments
    given = json.loads(settings)
    step = CustomJobStep(
        ServiceConfig(**given["service"]),
        HardwareSpec(**given["hardware"]),
        given["image"],
        given["poll_seconds"],
    )
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    job = custom_job(
        f"hares {key.rsplit('/', 1)[-1]}", step.hardware, step.image, command, step.service.service_account
    )
    try:
        done = run_custom_job(VertexApi(step.service), key, job, stopped, step.poll_seconds)
    except CustomJobCancelled as cancelled:
        print(cancelled, file=sys.stderr)
        return _TERMINATED
    except (CustomJobError, ServiceError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    _hand_on(command_of(done), command)
    print(f"{done.display_name}: {done.name} has succeeded")
    return 0


def _hand_on(ran: Sequence[str], command: Sequence[str]) -> None:
    """Gives the step the output file of its job, where an earlier attempt's command ran and not this one's."""
    if list(ran) == list(command):
        return
    theirs, ours = (Path(output_file(executor_input(words))) for words in (ran, command))
    if theirs != ours:
        ours.parent.mkdir(parents=True, exist_ok=True)
        ours.write_bytes(theirs.read_bytes())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
