"""Runs and schedules on Vertex AI, over real sockets: nothing is started twice, every failure is one clear error."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.cloud.aiplatform_v1 import types

from kits.vertex_kit import (
    LASTING,
    LOSING,
    RETRIES,
    SHORT_SECONDS,
    ScheduleClock,
    fails,
    patience,
    settings,
    vertex_fixture,  # noqa: F401  (the fixture `vertex`)
)
from kits.vertex_server import VertexServer
from kubeflow.clusters import Failure, State, open_service
from kubeflow.vertex.service import VertexService

pytestmark = pytest.mark.slow

JOB = {
    "displayName": "hares",
    "pipelineSpec": {
        "pipelineInfo": {"name": "hares"},
        "root": {
            "dag": {"tasks": {"ingest": {}, "trainer": {"dependentTasks": ["ingest"]}}},
            "inputDefinitions": {"parameters": {"steps": {"type": "INT"}, "warm_start": {"type": "STRING"}}},
        },
    },
    "runtimeConfig": {
        "gcsOutputDirectory": "gs://compiled/for/another",
        "parameterValues": {"steps": 10, "warm_start": ""},
    },
    "labels": {"revision": "0296b4a"},
}
CREATE = r"POST pipelineJobs$"
SCHEDULE = r"POST schedules$"


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    path = tmp_path / "hares.json"
    path.write_text(json.dumps(JOB))
    return path


@pytest.fixture
def service(vertex: VertexServer, tmp_path: Path, request: pytest.FixtureRequest) -> VertexService:
    return VertexService(settings(vertex, tmp_path, timeout_seconds=patience(request)))


def test_submitting_twice_with_a_key_starts_one_run(
    vertex: VertexServer, service: VertexService, compiled: Path
) -> None:
    first = service.submit(compiled, "nightly", "span 7", {"steps": 500})
    again = service.submit(compiled, "nightly", "span 7", {"steps": 500})
    other = service.submit(compiled, "nightly", "span 8", {"steps": 500})
    assert (first.run_id, first.state) == (again.run_id, State.RUNNING)
    assert other.run_id != first.run_id
    assert list(vertex.stored["pipelineJobs"]) == [first.run_id, other.run_id]
    job = vertex.stored["pipelineJobs"][first.run_id]
    assert job.display_name == "nightly"
    assert dict(job.runtime_config.parameter_values) == {"steps": 500, "warm_start": ""}
    assert job.runtime_config.gcs_output_directory == "gs://bucket/hares"
    assert job.service_account == "trainer@hares-test.iam.gserviceaccount.com"
    assert job.labels["revision"] == "0296b4a"
    assert first.url.endswith(f"/europe-west4/pipelines/runs/{first.run_id}?project=hares-test")
    assert first.created == "2023-11-14T22:14:20Z"


def test_another_resource_under_our_id_is_a_conflict(
    vertex: VertexServer, service: VertexService, compiled: Path
) -> None:
    run = service.submit(compiled, "nightly", "span 7", {})
    vertex.stored["pipelineJobs"][run.run_id].labels["hares_key"] = "others"
    fails(lambda: service.submit(compiled, "nightly", "span 7", {}), Failure.CONFLICT, "another resource")


@pytest.mark.parametrize(("does", "failure"), LASTING)
def test_a_submission_that_keeps_failing_is_one_error(
    vertex: VertexServer, service: VertexService, compiled: Path, does: int | str, failure: Failure
) -> None:
    vertex.plant(CREATE, does, times=99)
    fails(lambda: service.submit(compiled, "nightly", "key", {}), failure, vertex.url, "submitting")
    again = failure in (Failure.BUSY, Failure.SERVER, Failure.TIMEOUT, Failure.UNREACHABLE)
    assert vertex.count(CREATE) == (RETRIES + 1 if again else 1)
    assert not vertex.stored["pipelineJobs"]


@pytest.mark.parametrize("does", LOSING)
def test_a_submission_whose_answer_is_lost_is_found_and_not_sent_again(
    vertex: VertexServer, service: VertexService, compiled: Path, does: int | str
) -> None:
    vertex.plant(CREATE, does, after=True)
    run = service.submit(compiled, "nightly", "key", {})
    assert list(vertex.stored["pipelineJobs"]) == [run.run_id]
    assert vertex.count(CREATE) == 1


@pytest.mark.parametrize("does", [*LOSING, 429])
def test_a_submission_that_never_arrived_is_sent_again(
    vertex: VertexServer, service: VertexService, compiled: Path, does: int | str
) -> None:
    vertex.plant(CREATE, does)
    run = service.submit(compiled, "nightly", "key", {})
    assert list(vertex.stored["pipelineJobs"]) == [run.run_id]
    assert vertex.count(CREATE) == 2


def test_a_renewed_token_is_read_again(
    vertex: VertexServer, service: VertexService, compiled: Path, tmp_path: Path
) -> None:
    service.submit(compiled, "nightly", "key", {})
    vertex.token = "renewed"
    fails(lambda: service.runs(5), Failure.UNAUTHENTICATED, "refused (401)", "gcloud auth")
    (tmp_path / "token").write_text("renewed")
    assert len(service.runs(5)) == 1


def test_missing_tokens_and_wrong_settings_are_said_before_anything_is_sent(
    vertex: VertexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(vertex, tmp_path)
    (tmp_path / "token").write_text("")
    fails(lambda: VertexService(config).runs(1), Failure.UNAUTHENTICATED, "token_file", "is empty")
    monkeypatch.setenv("HARES_TEST_TOKEN", vertex.token)
    assert VertexService(replace(config, token_env="HARES_TEST_TOKEN")).runs(1) == []
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    fails(
        VertexService(replace(config, token_file="")).schedules,
        Failure.UNAUTHENTICATED,
        "none.json",
        "gcloud auth",
    )
    with pytest.raises(ValueError, match="unencrypted"):
        VertexService(replace(config, endpoint="http://example.com"))
    with pytest.raises(ValueError, match=r"service\.region"):
        VertexService(replace(config, region=""))
    assert vertex.count("") == 1


def test_the_cluster_file_leads_here(vertex: VertexServer, tmp_path: Path, compiled: Path) -> None:
    (tmp_path / "token").write_text(vertex.token)
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(
        f"service: {{project: hares-test, region: europe-west4, endpoint: '{vertex.url}', "
        f"pipeline_root: gs://bucket/hares, token_file: {tmp_path / 'token'}}}"
    )
    service = open_service("vertex", cluster)
    run = service.submit(compiled, "nightly", "key", {})
    assert [listed.run_id for listed in service.runs(5)] == [run.run_id]


def test_nobody_listening_is_unreachable(tmp_path: Path, vertex: VertexServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        vertex.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    fails(
        lambda: VertexService(settings(vertex, tmp_path)).runs(1),
        Failure.UNREACHABLE,
        vertex.url,
        f"{RETRIES + 1} attempts",
    )


def test_files_and_parameters_that_are_wrong_are_never_sent(
    vertex: VertexServer, service: VertexService, compiled: Path, tmp_path: Path
) -> None:
    fails(
        lambda: service.submit(compiled, "n", "k", {"step": 1}), Failure.INVALID, "step", "steps, warm_start"
    )
    fails(lambda: service.submit(tmp_path / "none", "n", "k", {}), Failure.INVALID, "hares compile")
    compiled.write_text(json.dumps({**JOB, "pipelinespec": {}}))
    fails(lambda: service.submit(compiled, "n", "k", {}), Failure.INVALID, "pipelinespec")
    fails(lambda: service.run("../models/x"), Failure.INVALID, "no id")
    assert vertex.count("") == 0


def test_a_run_shows_its_steps(vertex: VertexServer, service: VertexService, compiled: Path) -> None:
    run = service.submit(compiled, "nightly", "key", {})
    assert [(s.name, s.state) for s in run.steps] == [("ingest", State.PENDING), ("trainer", State.PENDING)]
    job = vertex.stored["pipelineJobs"][run.run_id]
    task, states = types.PipelineTaskDetail, types.PipelineTaskDetail.State
    job.job_detail.task_details = [
        task(
            task_id=8, parent_task_id=1, task_name="trainer", state=states.FAILED, error={"message": "no GPU"}
        ),
        task(task_id=1, task_name=run.run_id, state=states.RUNNING),
        task(task_id=5, parent_task_id=1, task_name="ingest", state=states.SKIPPED),
    ]
    job.state, job.error.message = types.PipelineState.PIPELINE_STATE_FAILED, "trainer failed"
    shown = service.run(run.run_id)
    assert [(s.name, s.state, s.message) for s in shown.steps] == [
        ("ingest", State.SKIPPED, ""),
        ("trainer", State.FAILED, "no GPU"),
    ]
    assert (shown.state, shown.message) == (State.FAILED, "trainer failed")


def test_runs_are_ours_newest_first(vertex: VertexServer, service: VertexService, compiled: Path) -> None:
    ids = [service.submit(compiled, f"run {n}", str(n), {}).run_id for n in range(5)]
    vertex.stored["pipelineJobs"][ids[1]].labels.pop("hares_key")  # somebody else's
    listed = service.runs(3)
    assert [run.run_id for run in listed] == [ids[4], ids[3], ids[2]]
    assert all(run.steps == () for run in listed)
    assert len(service.runs(10)) == 4
    assert vertex.count("GET pipelineJobs$") == 4  # pages of two


def test_cancelling(vertex: VertexServer, service: VertexService, compiled: Path) -> None:
    run = service.submit(compiled, "nightly", "key", {})
    service.cancel(run.run_id)
    assert service.run(run.run_id).state is State.CANCELLED
    service.cancel(run.run_id)
    assert vertex.count(":cancel") == 1
    fails(lambda: service.cancel("hares-none"), Failure.NOT_FOUND, "hares-none")


CALLS: dict[str, tuple[str, Any]] = {
    "run": ("GET pipelineJobs/", lambda service, ids: service.run(ids[0])),
    "runs": ("GET pipelineJobs$", lambda service, ids: service.runs(5)),
    "cancel": (":cancel", lambda service, ids: service.cancel(ids[0])),
    "schedules": ("GET schedules$", lambda service, ids: service.schedules()),
    "pause": (":pause", lambda service, ids: service.set_enabled(ids[1], False)),
    "delete": ("DELETE schedules/", lambda service, ids: service.delete_schedule(ids[1])),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_changes_nothing_twice_is_retried_and_the_rest_is_one_error(
    vertex: VertexServer, service: VertexService, compiled: Path, tmp_path: Path, call: str
) -> None:
    run = service.submit(compiled, "nightly", "key", {})
    schedule = service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {})
    pattern, act = CALLS[call]
    for code, failure in (
        (401, "UNAUTHENTICATED"),
        (403, "FORBIDDEN"),
        (500, "SERVER"),
        ("cut", "UNREACHABLE"),
    ):
        before = vertex.count(pattern)
        vertex.faults.clear()
        vertex.plant(pattern, code, times=99)
        fails(lambda: act(service, (run.run_id, schedule.schedule_id)), Failure[failure], vertex.url)
        assert vertex.count(pattern) - before == (1 if code in (401, 403) else RETRIES + 1)
    vertex.faults.clear()
    vertex.plant(pattern, "delay", after=True)
    vertex.plant(pattern, 429)
    hasty = VertexService(settings(vertex, tmp_path, timeout_seconds=SHORT_SECONDS))
    act(hasty, (run.run_id, schedule.schedule_id))


def test_a_schedule_is_created_once(vertex: VertexServer, service: VertexService, compiled: Path) -> None:
    first = service.create_schedule(compiled, "nightly", "TZ=Europe/Berlin 0 3 * * *", 2, {"steps": 500})
    assert (first.name, first.cron, first.enabled, first.max_concurrent) == (
        "nightly",
        "TZ=Europe/Berlin 0 3 * * *",
        True,
        2,
    )
    assert service.create_schedule(compiled, "nightly", first.cron, 2, {"steps": 500}) == first
    for n in range(3):
        service.create_schedule(compiled, f"other {n}", "0 4 * * *", 1, {})
    fails(
        lambda: service.create_schedule(compiled, "nightly", "0 5 * * *", 2, {"steps": 500}),
        Failure.CONFLICT,
        first.schedule_id,
    )
    assert len(service.schedules()) == len(vertex.stored["schedules"]) == vertex.count(SCHEDULE) == 4
    kept = vertex.stored["schedules"][first.schedule_id]
    # The first field limits starting requests "and not the execution"; a run over the limit waits.
    assert kept.max_concurrent_run_count == kept.max_concurrent_active_run_count == 2
    assert kept.allow_queueing
    job = kept.create_pipeline_job_request.pipeline_job
    assert job.runtime_config.parameter_values["steps"] == 500


def test_a_scheduled_run_that_is_due_too_early_waits_for_the_one_before(
    vertex: VertexServer, service: VertexService, compiled: Path
) -> None:
    """Neither two at once, nor one lost."""
    clock = ScheduleClock(
        vertex, service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {}).schedule_id
    )
    clock.comes()
    clock.comes()
    assert len(service.runs(9)) == 1
    clock.oldest_run_ends()
    assert [run.state for run in service.runs(9)] == [State.RUNNING, State.SUCCEEDED]


def test_a_schedule_is_paused_resumed_and_deleted(
    vertex: VertexServer, service: VertexService, compiled: Path
) -> None:
    made = service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {})
    for enabled in (False, False, True, True):
        service.set_enabled(made.schedule_id, enabled)
        assert [schedule.enabled for schedule in service.schedules()] == [enabled]
    assert (vertex.count(":pause"), vertex.count(":resume")) == (1, 1)
    service.delete_schedule(made.schedule_id)
    assert service.schedules() == []
    fails(lambda: service.delete_schedule(made.schedule_id), Failure.NOT_FOUND, made.schedule_id)


@pytest.mark.parametrize(("does", "failure"), LASTING)
def test_a_schedule_that_cannot_be_created_is_one_error(
    vertex: VertexServer, service: VertexService, compiled: Path, does: int | str, failure: Failure
) -> None:
    vertex.plant(SCHEDULE, does, times=99)
    fails(lambda: service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {}), failure, vertex.url)
    assert vertex.count(SCHEDULE) == (RETRIES + 1 if failure is Failure.BUSY else 1)
    assert not vertex.stored["schedules"]
    vertex.faults.clear()  # the same command again finishes the work
    assert service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {}).enabled


@pytest.mark.parametrize("does", LOSING)
def test_a_schedule_whose_answer_is_lost_is_found_and_not_sent_again(
    vertex: VertexServer, service: VertexService, compiled: Path, does: int | str
) -> None:
    vertex.plant(SCHEDULE, does, after=True)
    made = service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {})
    assert list(vertex.stored["schedules"]) == [made.schedule_id]
    assert vertex.count(SCHEDULE) == 1
