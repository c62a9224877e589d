"""Runs and schedules on Kubeflow Pipelines: the REST API v2beta1.

No run is started twice. Kubeflow accepts any number of runs with one name, so a run carries its idempotency key in its
description, and is looked for by it before every attempt to create it: a run whose answer was lost is found, not
created again. After a timeout nothing is sent again, since the server may still be working on it. Two processes that
submit one key at the same moment are not kept apart here; the lock of `hares watch` does that.

Kubeflow's cron expressions begin with a field for seconds; we put "0 " before the usual five fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import kfp_server_api as api

from kubeflow.clusters import ClusterRun, Failure, Schedule, ServiceConfig, ServiceError, State, StepState
from kubeflow.compiled.file import CompiledFileError, check_argo_names, read_documents
from kubeflow.kfp.api import KfpApi, LostAnswerError

_MARK = "hares-key:"
_PAGE = 100
_STATES = {
    "PENDING": State.PENDING,
    "PAUSED": State.PENDING,
    "RUNNING": State.RUNNING,
    "CANCELING": State.RUNNING,
    "SUCCEEDED": State.SUCCEEDED,
    "SKIPPED": State.SKIPPED,
    "FAILED": State.FAILED,
    "CANCELED": State.CANCELLED,
}


class KfpService:
    """`PipelineService` for Kubeflow Pipelines."""

    def __init__(self, config: ServiceConfig):
        self._config = config
        self._api = KfpApi(config)

    def submit(self, compiled: Path, name: str, key: str, parameters: Mapping[str, Any]) -> ClusterRun:
        """Starts a run, as `PipelineService.submit`; the compiled file is schema 2.1 YAML."""
        mark = _mark(key)
        run = api.V2beta1Run(
            display_name=name,
            description=mark,
            experiment_id=self._experiment(),
            pipeline_spec=_specification(compiled),
            runtime_config=self._runtime(compiled, parameters),
            service_account=self._config.service_account or None,
        )
        query = {"filter": _equals("description", mark)}
        return self._run(self._once("/runs", run, lambda: self._first("/runs", "runs", query, mark)))

    def run(self, run_id: str) -> ClusterRun:
        """A run with its steps, in the order of the compiled file's names."""
        return self._run(self._api.read(f"/runs/{run_id}"))

    def runs(self, limit: int) -> list[ClusterRun]:
        """The newest runs of the experiment, newest first, without steps."""
        experiment = self._find_experiment()
        if experiment is None:
            return []
        query = {"experiment_id": experiment, "sort_by": "created_at desc"}
        found = self._pages("/runs", "runs", query, limit)
        return [self._run(run, with_steps=False) for run in found]

    def cancel(self, run_id: str) -> None:
        """Asks Kubeflow to stop a run; does nothing if it has ended."""
        if not self.run(run_id).state.ended:
            self._api.repeat("POST", f"/runs/{run_id}:terminate")

    def create_schedule(
        self, compiled: Path, name: str, cron: str, max_concurrent: int, parameters: Mapping[str, Any]
    ) -> Schedule:
        """Starts runs by the clock.

        Raises:
            ServiceError: CONFLICT also if a schedule of this name exists with other content: two of them would train
                everything twice.
        """
        spec = _specification(compiled)
        runtime = self._runtime(compiled, parameters)
        content = json.dumps([name, cron, max_concurrent, spec, runtime.to_dict()], sort_keys=True)
        mark = _mark(hashlib.sha256(content.encode()).hexdigest())

        def find() -> dict[str, Any] | None:
            for schedule in self._recurring():
                if schedule.get("display_name") != name:
                    continue
                if schedule.get("description") == mark:
                    return schedule
                raise ServiceError(
                    Failure.CONFLICT,
                    f"schedule {name} exists with other settings ({schedule.get('recurring_run_id')}); delete it "
                    "first, or choose another name",
                )
            return None

        trigger = api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=f"0 {cron}"))
        body = api.V2beta1RecurringRun(
            display_name=name,
            description=mark,
            experiment_id=self._experiment(),
            pipeline_spec=spec,
            runtime_config=runtime,
            service_account=self._config.service_account or None,
            max_concurrency=str(max_concurrent),
            trigger=trigger,
            mode=api.RecurringRunMode.ENABLE,
            no_catchup=True,  # after a pause start one run with the newest data, not one for each missed time
        )
        return _schedule(self._once("/recurringruns", body, find))

    def schedules(self) -> list[Schedule]:
        """All schedules of the experiment."""
        return [_schedule(found) for found in self._recurring()]

    def set_enabled(self, schedule_id: str, enabled: bool) -> None:
        """Pauses or resumes a schedule."""
        self._api.repeat("POST", f"/recurringruns/{schedule_id}:{'enable' if enabled else 'disable'}")

    def delete_schedule(self, schedule_id: str) -> None:
        """Removes a schedule; its runs stay. If it is gone after a lost answer, we have removed it."""
        self._api.read(f"/recurringruns/{schedule_id}")
        try:
            self._api.repeat("DELETE", f"/recurringruns/{schedule_id}")
        except ServiceError as error:
            if error.failure is not Failure.NOT_FOUND:
                raise

    def _once(self, path: str, body: Any, find: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        """Creates a thing once, however often the answer is lost."""
        for attempt in range(self._config.retries + 1):
            found = find()
            if found is not None:
                return found
            try:
                return self._api.create(path, body)
            except LostAnswerError as error:
                if error.failure is not Failure.UNREACHABLE:
                    return self._found_later(find, error)
                failure: ServiceError = error
            except ServiceError as error:
                if error.failure not in (Failure.BUSY, Failure.UNREACHABLE):
                    raise
                failure = error
            if attempt < self._config.retries:
                self._api.wait(attempt)
        found = find() if isinstance(failure, LostAnswerError) else None
        if found is None:
            raise failure
        return found

    def _found_later(self, find: Callable[[], dict[str, Any] | None], error: ServiceError) -> dict[str, Any]:
        """What a server created although its answer came too late or was wrong."""
        for attempt in range(max(1, self._config.retries)):
            found = find()
            if found is not None:
                return found
            self._api.wait(attempt)
        raise error

    def _find_experiment(self) -> str | None:
        query = {"filter": _equals("display_name", self._config.experiment)}
        if self._config.namespace:
            query["namespace"] = self._config.namespace
        for found in self._pages("/experiments", "experiments", query, None):
            if found.get("display_name") == self._config.experiment:
                return str(found["experiment_id"])
        return None

    def _experiment(self) -> str:
        """The experiment's id; it is created if it does not exist."""

        def find() -> dict[str, Any] | None:
            found = self._find_experiment()
            return None if found is None else {"experiment_id": found}

        body = api.V2beta1Experiment(
            display_name=self._config.experiment, namespace=self._config.namespace or None
        )
        return str(self._once("/experiments", body, find)["experiment_id"])

    def _recurring(self) -> list[dict[str, Any]]:
        experiment = self._find_experiment()
        if experiment is None:
            return []
        return self._pages("/recurringruns", "recurringRuns", {"experiment_id": experiment}, None)

    def _first(self, path: str, group: str, query: Mapping[str, Any], mark: str) -> dict[str, Any] | None:
        for found in self._pages(path, group, dict(query, experiment_id=self._experiment()), None):
            if found.get("description") == mark:
                return found
        return None

    def _pages(
        self, path: str, group: str, query: Mapping[str, Any], limit: int | None
    ) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        token = ""
        while limit is None or len(found) < limit:
            size = _PAGE if limit is None else min(_PAGE, limit - len(found))
            page = self._api.read(path, {**query, "page_size": size, "page_token": token})
            found += page.get(group, [])
            token = page.get("next_page_token", "")
            if not token:
                break
        return found[:limit]

    def _runtime(self, compiled: Path, parameters: Mapping[str, Any]) -> api.V2beta1RuntimeConfig:
        """Parameters and pipeline root of a run; the server does not read `defaultPipelineRoot` from the file."""
        spec = _specification(compiled)
        root = spec.get("pipeline_spec", spec).get("defaultPipelineRoot")
        return api.V2beta1RuntimeConfig(
            parameters=dict(parameters), pipeline_root=self._config.pipeline_root or root or None
        )

    def _run(self, run: Mapping[str, Any], with_steps: bool = True) -> ClusterRun:
        run_id = str(run["run_id"])
        return ClusterRun(
            run_id=run_id,
            name=run.get("display_name", ""),
            state=_STATES.get(run.get("state", ""), State.PENDING),
            created=run.get("created_at", ""),
            steps=_steps(run, self._config.namespace) if with_steps else (),
            url=f"{self._config.host.rstrip('/')}/#/runs/details/{run_id}",
            message=run.get("error", {}).get("message", ""),
        )


def _steps(run: Mapping[str, Any], namespace: str) -> tuple[StepState, ...]:
    """The compiled file's tasks, without the drivers that Kubeflow lists beside them.

    Kubeflow says neither why a task failed nor that one was left out, as after a failed driver (2.17.0,
    backend/src/apiserver/server/api_converter.go, toApiPipelineTaskDetail, and model/run.go, ToV2).

    Nor does it know the later steps of a large run: Argo compresses the nodes of a workflow of more than 1 MiB, as that
    of twelve tasks is, and nothing in Kubeflow (2.5.0, 2.17.0) reads `status.compressedNodes`. A run that has succeeded
    has done all its steps, since ours have no conditions.
    """
    spec = run.get("pipeline_spec") or {}
    spec = spec.get("pipeline_spec", spec)
    begun = {task.get("display_name"): task for task in run.get("run_details", {}).get("task_details", [])}
    whole = _STATES.get(run.get("state", ""), State.PENDING)
    left = State.SKIPPED if whole.ended else State.PENDING
    where = f"kubectl logs --namespace {namespace or 'NAMESPACE'} --selector pipeline/runid={run['run_id']} --prefix"
    steps = []
    for name in spec.get("root", {}).get("dag", {}).get("tasks", {}):
        state, driver = (
            _STATES.get(begun.get(task, {}).get("state", ""), left) for task in (name, f"{name}-driver")
        )
        message = begun.get(name, {}).get("error", {}).get("message", "")
        if whole is State.SUCCEEDED:
            state = whole
        elif driver is State.FAILED:
            state, message = driver, f"it did not begin, as its driver failed; see `{where}`"
        elif state is State.FAILED and not message:
            message = f"see `{where}`"
        steps.append(StepState(name, state, message))
    return tuple(steps)


def _schedule(found: Mapping[str, Any]) -> Schedule:
    cron = found.get("trigger", {}).get("cron_schedule", {}).get("cron", "")
    return Schedule(
        schedule_id=str(found["recurring_run_id"]),
        name=found.get("display_name", ""),
        cron=cron.removeprefix("0 ") if len(cron.split()) == 6 else cron,
        enabled=found.get("status") == "ENABLED",
        max_concurrent=int(found.get("max_concurrency", 0)),
    )


def _specification(compiled: Path) -> dict[str, Any]:
    """The compiled file as the API takes it: the pipeline, and the platform's document if there is one."""
    try:
        documents = read_documents(compiled)
    except CompiledFileError as error:
        raise ServiceError(Failure.INVALID, str(error)) from error
    if not documents or not isinstance(documents[0], dict) or "root" not in documents[0]:
        raise ServiceError(
            Failure.INVALID,
            f"{compiled} is not a pipeline for Kubeflow; write one with `hares compile --target kubeflow`",
        )
    try:
        check_argo_names(compiled, documents[0]["root"].get("dag", {}).get("tasks", {}))
    except CompiledFileError as error:
        raise ServiceError(Failure.INVALID, str(error)) from error
    if len(documents) == 1:
        return documents[0]
    return {"pipeline_spec": documents[0], "platform_spec": documents[1]}


def _mark(key: str) -> str:
    # Kubeflow keeps 255 characters of a description; a digest always fits.
    return _MARK + hashlib.sha256(key.encode()).hexdigest()


def _equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "string_value": value}]})
