"""Runs and schedules on Vertex AI: PipelineJobs and Schedules of the REST API v1.

No run is started twice. A run's `pipelineJobId` is made from its idempotency key, so Vertex itself refuses a second run
(409), and the first one is returned. Vertex chooses the ids of schedules, so a schedule carries a digest of its content
as a label. It is looked for by the label before it is created, and again if the answer to its creation was lost.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from google.cloud.aiplatform_v1 import types
from google.protobuf import field_mask_pb2, json_format

from kubeflow.clusters import ClusterRun, Failure, Schedule, ServiceConfig, ServiceError, State, StepState
from kubeflow.vertex.api import VertexApi

KEY_LABEL = "hares_key"  # marks our runs, with the digest of the key that they were started for
_PAGE = 100  # the most that Vertex returns at a time

_RUN_STATES = {
    "QUEUED": State.PENDING,
    "PENDING": State.PENDING,
    "PAUSED": State.PENDING,
    "RUNNING": State.RUNNING,
    "CANCELLING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
}
_STEP_STATES = {
    "PENDING": State.PENDING,
    "RUNNING": State.RUNNING,
    "CANCEL_PENDING": State.RUNNING,
    "CANCELLING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELLED,
    "SKIPPED": State.SKIPPED,  # outputs came from the cache
    "NOT_TRIGGERED": State.SKIPPED,
}


class VertexService:
    """`PipelineService` for Vertex AI."""

    def __init__(self, config: ServiceConfig):
        self._api = VertexApi(config)

    def submit(self, compiled: Path, name: str, key: str, parameters: Mapping[str, Any]) -> ClusterRun:
        """Starts a run, as `PipelineService.submit`; the compiled file is PipelineJob JSON."""
        label = key_digest(key)
        job_id = f"hares-{label}"
        job = self._pipeline_job(compiled, name, parameters, label)
        full_name = self._api.name("pipelineJobs", job_id)

        def find() -> types.PipelineJob | None:
            try:
                found = self._read(full_name)
            except ServiceError as error:
                if error.failure is Failure.NOT_FOUND:
                    return None
                raise
            return found if found.labels.get(KEY_LABEL) == label else None

        request = types.CreatePipelineJobRequest(
            parent=self._api.parent, pipeline_job=job, pipeline_job_id=job_id
        )
        started = self._api.create_once(
            f"submitting {compiled}", self._api.pipelines.create_pipeline_job, request, find, guarded=True
        )
        return self._cluster_run(started, with_steps=True)

    def run(self, run_id: str) -> ClusterRun:
        """A run with its steps: those that have begun, in Vertex's order, then the others."""
        return self._cluster_run(self._read(self._api.name("pipelineJobs", run_id)), with_steps=True)

    def runs(self, limit: int) -> list[ClusterRun]:
        """The newest of our runs, submitted or scheduled, newest first, without steps."""
        mask = ["name", "display_name", "state", "create_time", "labels", "error"]
        request = types.ListPipelineJobsRequest(
            parent=self._api.parent,
            filter=f"labels.{KEY_LABEL}:*",
            order_by="create_time desc",
            page_size=min(limit, _PAGE),
            read_mask=field_mask_pb2.FieldMask(paths=mask),
        )
        method = self._api.pipelines.list_pipeline_jobs
        found = self._api.items("listing runs", method, request, "pipeline_jobs", limit)
        return [self._cluster_run(job, with_steps=False) for job in found]

    def cancel(self, run_id: str) -> None:
        """Asks Vertex to stop a run; does nothing if it has ended."""
        name = self._api.name("pipelineJobs", run_id)
        self._bring_about(
            f"cancelling run {run_id}",
            self._api.pipelines.cancel_pipeline_job,
            types.CancelPipelineJobRequest(name=name),
            lambda: _run_state(self._read(name)).ended,
        )

    def create_schedule(
        self, compiled: Path, name: str, cron: str, max_concurrent: int, parameters: Mapping[str, Any]
    ) -> Schedule:
        """Starts runs by the clock.

        Raises:
            ServiceError: CONFLICT also if a schedule of this name exists with other content: two of them would train
                everything twice.
        """
        if max_concurrent < 1:
            raise ServiceError(
                Failure.INVALID, f"schedule {name}: max-concurrent is {max_concurrent}; give 1 or more"
            )
        content = self._pipeline_job(compiled, name, parameters, "")
        written = json_format.MessageToDict(types.PipelineJob.pb(content))
        label = key_digest(json.dumps([name, cron, max_concurrent, written], sort_keys=True))
        job = self._pipeline_job(compiled, name, parameters, label)

        def find() -> types.Schedule | None:
            for schedule in self._schedules():
                if schedule.display_name != name:
                    continue
                if _key_of(schedule) == label:
                    return schedule
                raise ServiceError(
                    Failure.CONFLICT,
                    f"schedule {name} exists with other settings ({_id(schedule.name)}, {schedule.cron}); delete it "
                    "first, or choose another name",
                )
            return None

        found = find()
        if found is None:
            request = types.CreateScheduleRequest(
                parent=self._api.parent,
                schedule=types.Schedule(
                    display_name=name,
                    cron=cron,
                    # The first limits requests that are starting, the second runs that have not ended. Without
                    # queueing, a run over the limit is skipped.
                    max_concurrent_run_count=max_concurrent,
                    max_concurrent_active_run_count=max_concurrent,
                    allow_queueing=True,
                    create_pipeline_job_request=types.CreatePipelineJobRequest(
                        parent=self._api.parent, pipeline_job=job
                    ),
                ),
            )
            found = self._api.create_once(
                f"creating schedule {name}", self._api.schedules.create_schedule, request, find
            )
        return _schedule(found)

    def schedules(self) -> list[Schedule]:
        """All our schedules that have not reached their end."""
        return [_schedule(schedule) for schedule in self._schedules()]

    def set_enabled(self, schedule_id: str, enabled: bool) -> None:
        """Pauses or resumes a schedule; runs missed in between are not made up."""
        name = self._api.name("schedules", schedule_id)
        states = types.Schedule.State

        def is_so() -> bool:
            request = types.GetScheduleRequest(name=name)
            schedule = self._api.call(
                f"reading schedule {schedule_id}", self._api.schedules.get_schedule, request
            )
            return schedule.state == (states.ACTIVE if enabled else states.PAUSED)

        if enabled:
            self._bring_about(
                f"resuming schedule {schedule_id}",
                self._api.schedules.resume_schedule,
                types.ResumeScheduleRequest(name=name, catch_up=False),
                is_so,
            )
        else:
            self._bring_about(
                f"pausing schedule {schedule_id}",
                self._api.schedules.pause_schedule,
                types.PauseScheduleRequest(name=name),
                is_so,
            )

    def delete_schedule(self, schedule_id: str) -> None:
        """Removes a schedule; its runs stay."""
        name = self._api.name("schedules", schedule_id)
        what = f"deleting schedule {schedule_id}"
        # Read first, so that a wrong id is an error: a repeated deletion finds nothing, and that is none.
        self._api.call(what, self._api.schedules.get_schedule, types.GetScheduleRequest(name=name))
        try:
            self._api.call(what, self._api.schedules.delete_schedule, types.DeleteScheduleRequest(name=name))
        except ServiceError as error:
            if error.failure is not Failure.NOT_FOUND:
                raise

    def _pipeline_job(
        self, compiled: Path, name: str, parameters: Mapping[str, Any], label: str
    ) -> types.PipelineJob:
        """The compiled file as Vertex's message, with the submission's name, parameters and label,
        and the settings' account and pipeline root.

        Raises:
            ServiceError: INVALID if it is no PipelineJob, or lacks one of the parameters.
        """
        try:
            written = json.loads(compiled.read_text(encoding="utf-8"))
            message = json_format.ParseDict(written, types.PipelineJob.pb(types.PipelineJob()))
        except (OSError, ValueError, json_format.ParseError) as error:
            cause = " ".join(str(error).split())
            raise ServiceError(
                Failure.INVALID,
                f"{compiled}: no PipelineJob of Vertex AI: {cause}; make one with `hares compile --target vertex`",
            ) from error
        declared = (
            written.get("pipelineSpec", {}).get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        )
        unknown = sorted(set(parameters) - set(declared))
        if unknown:
            raise ServiceError(
                Failure.INVALID,
                f"{compiled}: has no parameter {', '.join(unknown)}; there are {', '.join(sorted(declared)) or 'none'}",
            )
        for parameter, value in parameters.items():
            json_format.ParseDict(value, message.runtime_config.parameter_values[parameter])
        message.display_name = name
        if self._api.config.pipeline_root:
            message.runtime_config.gcs_output_directory = self._api.config.pipeline_root
        if self._api.config.service_account:
            message.service_account = self._api.config.service_account
        if label:
            message.labels[KEY_LABEL] = label
        return types.PipelineJob.wrap(message)

    def _read(self, name: str) -> types.PipelineJob:
        return self._api.call(
            f"reading run {_id(name)}",
            self._api.pipelines.get_pipeline_job,
            types.GetPipelineJobRequest(name=name),
        )

    def _bring_about(
        self, what: str, method: Callable[..., Any], request: Any, is_so: Callable[[], bool]
    ) -> None:
        """Asks for a state unless it holds; Vertex answers 400 if it came about in between."""
        if is_so():
            return
        try:
            self._api.call(what, method, request)
        except ServiceError as error:
            if error.failure is not Failure.INVALID or not is_so():
                raise

    def _schedules(self) -> list[types.Schedule]:
        request = types.ListSchedulesRequest(parent=self._api.parent, page_size=_PAGE)
        method = self._api.schedules.list_schedules
        found = self._api.items("listing schedules", method, request, "schedules")
        return [s for s in found if _key_of(s) and s.state != types.Schedule.State.COMPLETED]

    def _cluster_run(self, job: types.PipelineJob, with_steps: bool) -> ClusterRun:
        config = self._api.config
        run_id = _id(job.name)
        return ClusterRun(
            run_id=run_id,
            name=job.display_name,
            state=_run_state(job),
            created=types.PipelineJob.pb(job).create_time.ToJsonString() if job.create_time else "",
            steps=_steps(job) if with_steps else (),
            url=f"https://console.cloud.google.com/vertex-ai/locations/{config.region}/pipelines/runs/{run_id}"
            f"?project={config.project}",
            message=job.error.message,
        )


def key_digest(key: str) -> str:
    """An idempotency key as a label's value: 32 hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def _steps(job: types.PipelineJob) -> tuple[StepState, ...]:
    begun = [
        StepState(task.task_name, _STEP_STATES.get(task.state.name, State.PENDING), task.error.message)
        for task in sorted(job.job_detail.task_details, key=lambda task: task.task_id)
        if task.parent_task_id  # the task without a parent is the graph itself
    ]
    written = json_format.MessageToDict(types.PipelineJob.pb(job).pipeline_spec)
    tasks = written.get("root", {}).get("dag", {}).get("tasks", {})
    known = {step.name for step in begun}
    return (*begun, *(StepState(name, State.PENDING) for name in sorted(tasks) if name not in known))


def _run_state(job: types.PipelineJob) -> State:
    return _RUN_STATES.get(job.state.name.removeprefix("PIPELINE_STATE_"), State.PENDING)


def _schedule(schedule: types.Schedule) -> Schedule:
    return Schedule(
        schedule_id=_id(schedule.name),
        name=schedule.display_name,
        cron=schedule.cron,
        enabled=schedule.state == types.Schedule.State.ACTIVE,
        max_concurrent=int(schedule.max_concurrent_active_run_count),
    )


def _key_of(schedule: types.Schedule) -> str:
    return schedule.create_pipeline_job_request.pipeline_job.labels.get(KEY_LABEL, "")


def _id(name: str) -> str:
    return name.rsplit("/", 1)[-1]
