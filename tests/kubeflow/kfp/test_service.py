"""Every failure gives one error of its kind, is retried only where it may be, and nothing is submitted twice."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from kits.kfp_server import PIPELINE, Fault, KfpServer, kfp
from kubeflow.clusters import Failure, ServiceConfig, ServiceError, State
from kubeflow.kfp.service import KfpService

pytestmark = pytest.mark.slow

__all__ = ["kfp"]
RETRIES = 2
STATUSES = [
    (401, Failure.UNAUTHENTICATED),
    (403, Failure.FORBIDDEN),
    (404, Failure.NOT_FOUND),
    (409, Failure.CONFLICT),
    (429, Failure.BUSY),
    (500, Failure.SERVER),
    (503, Failure.BUSY),
]


@pytest.fixture
def service(kfp: KfpServer) -> KfpService:
    return KfpService(ServiceConfig(host=kfp.url, timeout_seconds=0.5, retries=RETRIES, backoff_seconds=0.01))


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    path = tmp_path / "hares.yaml"
    path.write_text(PIPELINE)
    return path


def create(service: KfpService, kind: str, compiled: Path) -> None:
    if kind == "runs":
        service.submit(compiled, "nightly", "key", {"run_key": "r"})
    else:
        service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {"run_key": "r"})


def test_a_run_carries_all_that_it_was_given(kfp: KfpServer, service: KfpService, compiled: Path) -> None:
    run = service.submit(compiled, "nightly", "key", {"run_key": "r"})
    (held,) = kfp.things["runs"].values()
    assert held["display_name"] == run.name == "nightly"
    assert held["runtime_config"] == {"parameters": {"run_key": "r"}}
    assert held["pipeline_spec"]["platform_spec"] == {"platforms": {"kubernetes": {}}}
    assert [(s.name, s.state) for s in run.steps] == [("ingest", State.SUCCEEDED), ("trainer", State.RUNNING)]
    assert kfp.things["experiments"][held["experiment_id"]]["display_name"] == "hares"


def test_one_key_is_one_run_and_another_key_another(
    kfp: KfpServer, service: KfpService, compiled: Path
) -> None:
    first = service.submit(compiled, "a", "key", {})
    assert service.submit(compiled, "a", "key", {}).run_id == first.run_id
    assert service.submit(compiled, "a", "other", {}).run_id != first.run_id
    assert kfp.got["POST", "runs"] == 2


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
def test_a_step_whose_name_argo_refuses_is_said_before_any_request(
    kfp: KfpServer, service: KfpService, compiled: Path, kind: str
) -> None:
    """A schedule with such a name would be taken, and each of its runs refused."""
    compiled.write_text(PIPELINE.replace("trainer", "embed_esc50"))
    with pytest.raises(ServiceError, match="Argo refuses the step names embed_esc50") as caught:
        create(service, kind, compiled)
    assert caught.value.failure is Failure.INVALID and not kfp.got["POST", kind]


def test_the_server_on_loopback_refuses_what_argo_refuses(
    kfp: KfpServer, service: KfpService, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled.write_text(PIPELINE.replace("trainer", "embed_esc50"))
    monkeypatch.setattr("kubeflow.kfp.service.check_argo_names", lambda *_: None)
    with pytest.raises(ServiceError, match="Failed to validate workflow: 'embed_esc50'"):
        service.submit(compiled, "nightly", "key", {})
    assert not kfp.things["runs"]


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
@pytest.mark.parametrize(("status", "failure"), STATUSES)
def test_a_refused_creation_is_one_error(
    kfp: KfpServer, service: KfpService, compiled: Path, kind: str, status: int, failure: Failure
) -> None:
    kfp.faults = [Fault("POST", kind, times=99, status=status)]
    with pytest.raises(ServiceError, match=f"planted {status}") as caught:
        create(service, kind, compiled)
    assert caught.value.failure is failure
    assert kfp.got["POST", kind] == (1 + RETRIES if failure is Failure.BUSY else 1)
    assert not kfp.things[kind]


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(
    kfp: KfpServer, service: KfpService, compiled: Path, kind: str, status: int
) -> None:
    kfp.faults = [Fault("POST", kind, times=1, status=status)]
    create(service, kind, compiled)
    assert len(kfp.things[kind]) == 1 and kfp.got["POST", kind] == 2


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
@pytest.mark.parametrize(
    "fault",
    [{"cut": True}, {"status": 500}, {"status": 503}, {"status": 429}, {"delay": 1.0}],
    ids=lambda f: str(f),
)
def test_what_was_made_before_its_answer_was_lost_is_found(
    kfp: KfpServer, service: KfpService, compiled: Path, kind: str, fault: dict
) -> None:
    kfp.faults = [Fault("POST", kind, times=1, after=True, **fault)]
    create(service, kind, compiled)
    assert len(kfp.things[kind]) == 1 and kfp.got["POST", kind] == 1


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
def test_a_connection_cut_before_the_work_is_sent_again(
    kfp: KfpServer, service: KfpService, compiled: Path, kind: str
) -> None:
    kfp.faults = [Fault("POST", kind, times=1, cut=True)]
    create(service, kind, compiled)
    assert len(kfp.things[kind]) == 1 and kfp.got["POST", kind] == 2


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
def test_a_connection_cut_every_time_is_one_error(
    kfp: KfpServer, service: KfpService, compiled: Path, kind: str
) -> None:
    kfp.faults = [Fault("POST", kind, times=99, cut=True)]
    with pytest.raises(ServiceError, match="cut before the answer") as caught:
        create(service, kind, compiled)
    assert caught.value.failure is Failure.UNREACHABLE and kfp.got["POST", kind] == 1 + RETRIES


@pytest.mark.parametrize("kind", ["runs", "recurringruns"])
def test_after_a_timeout_nothing_is_sent_again(
    kfp: KfpServer, service: KfpService, compiled: Path, kind: str
) -> None:
    kfp.faults = [Fault("POST", kind, times=1, delay=1.5)]
    with pytest.raises(ServiceError, match=r"no answer within 0\.5 s") as caught:
        create(service, kind, compiled)
    assert caught.value.failure is Failure.TIMEOUT and kfp.got["POST", kind] == 1


@pytest.mark.parametrize(("status", "failure"), STATUSES)
@pytest.mark.parametrize("call", ["runs", "schedules", "cancel", "pause", "delete"])
def test_calls_that_may_come_twice(
    kfp: KfpServer, service: KfpService, compiled: Path, call: str, status: int, failure: Failure
) -> None:
    run = service.submit(compiled, "a", "key", {})
    schedule = service.create_schedule(compiled, "a", "0 3 * * *", 1, {})
    method, kind, run_it = {
        "runs": ("GET", "runs", lambda: service.runs(5)),
        "schedules": ("GET", "recurringruns", service.schedules),
        "cancel": ("POST", "runs", lambda: service.cancel(run.run_id)),
        "pause": ("POST", "recurringruns", lambda: service.set_enabled(schedule.schedule_id, False)),
        "delete": ("DELETE", "recurringruns", lambda: service.delete_schedule(schedule.schedule_id)),
    }[call]
    again = failure in (Failure.BUSY, Failure.SERVER)
    if call == "delete" and status == 404:  # the schedule is gone, as was asked for
        kfp.faults = [Fault(method, kind, times=1, status=status)]
        run_it()
        return
    kfp.faults = [Fault(method, kind, times=99, status=status)]
    before = kfp.got[method, kind]
    with pytest.raises(ServiceError, match=f"planted {status}") as caught:
        run_it()
    assert caught.value.failure is failure
    assert kfp.got[method, kind] - before == (1 + RETRIES if again else 1)
    kfp.faults = [Fault(method, kind, times=RETRIES, cut=True, after=True)]
    run_it()


@pytest.mark.parametrize(
    ("own", "root"), [("", "gs://bucket/of-the-file"), ("s3://other/hares", "s3://other/hares")]
)
def test_a_run_gets_the_files_pipeline_root_or_the_cluster_files(
    kfp: KfpServer, service: KfpService, compiled: Path, own: str, root: str
) -> None:
    """Kubeflow reads no `defaultPipelineRoot` (backend/src/v2/driver/root_dag.go takes the run's)."""
    documents = list(yaml.safe_load_all(compiled.read_text(encoding="utf-8")))
    documents[0]["defaultPipelineRoot"] = "gs://bucket/of-the-file"
    compiled.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
    service = KfpService(dataclasses.replace(service._config, pipeline_root=own))
    service.submit(compiled, "a run", "key", {})
    service.create_schedule(compiled, "nightly", "0 3 * * *", 1, {})
    for kind in ("runs", "recurringruns"):
        (held,) = kfp.things[kind].values()
        assert held["runtime_config"]["pipeline_root"] == root


def test_schedules_keep_the_cron_they_were_given(kfp: KfpServer, service: KfpService, compiled: Path) -> None:
    made = service.create_schedule(compiled, "nightly", "0 3 * * *", 2, {})
    (held,) = kfp.things["recurringruns"].values()
    assert held["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert service.schedules() == [made] and made.cron == "0 3 * * *" and made.max_concurrent == 2
    service.set_enabled(made.schedule_id, False)
    assert not service.schedules()[0].enabled
    service.set_enabled(made.schedule_id, True)
    assert service.schedules()[0].enabled
    with pytest.raises(ServiceError, match="other settings"):
        service.create_schedule(compiled, "nightly", "0 4 * * *", 2, {})
    service.delete_schedule(made.schedule_id)
    assert service.schedules() == []
    with pytest.raises(ServiceError) as caught:
        service.delete_schedule(made.schedule_id)
    assert caught.value.failure is Failure.NOT_FOUND


def test_runs_are_listed_newest_first_over_pages(kfp: KfpServer, service: KfpService, compiled: Path) -> None:
    assert service.runs(5) == []
    ids = [service.submit(compiled, "a", str(number), {}).run_id for number in range(4)]
    assert [run.run_id for run in service.runs(3)] == ids[:0:-1]
    service.cancel(ids[0])
    assert service.run(ids[0]).state is State.CANCELLED
    posts = kfp.got["POST", "runs"]
    service.cancel(ids[0])
    assert kfp.got["POST", "runs"] == posts


@pytest.mark.parametrize("driver_fails", [False, True])
def test_a_failed_step_says_where_to_look(
    kfp: KfpServer, service: KfpService, compiled: Path, driver_fails: bool
) -> None:
    """The API says no reason; and a step whose driver failed has no state at all."""
    kfp.outcome, kfp.driver_fails = "FAILED", driver_fails
    run = service.submit(compiled, "a", "key", {})
    assert run.state is State.FAILED and run.steps[1].state is State.FAILED
    assert (
        f"kubectl logs --namespace NAMESPACE --selector pipeline/runid={run.run_id}" in run.steps[1].message
    )
    assert ("its driver failed" in run.steps[1].message) == driver_fails


def test_steps_that_an_ended_run_left_out_are_skipped(
    kfp: KfpServer, service: KfpService, compiled: Path
) -> None:
    compiled.write_text(
        PIPELINE.replace("      trainer:", "      pusher: {taskInfo: {name: pusher}}\n      trainer:")
    )
    assert [step.state for step in service.submit(compiled, "a", "key", {}).steps][1] is State.PENDING
    kfp.outcome = "FAILED"
    run = service.submit(compiled, "a", "other", {})
    assert [(step.name, step.state) for step in run.steps] == [
        ("ingest", State.SUCCEEDED), ("pusher", State.SKIPPED), ("trainer", State.FAILED),
    ]  # fmt: skip
    kfp.outcome = "SUCCEEDED"  # of a large run Kubeflow never learns how its later steps ended
    run = service.submit(compiled, "a", "large", {})
    assert {step.state for step in run.steps} == {State.SUCCEEDED}


def test_nothing_listens(compiled: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{taken.getsockname()[1]}"
        service = KfpService(ServiceConfig(host=host, retries=1, backoff_seconds=0.01))
        with pytest.raises(ServiceError, match="no server answers") as caught:
            service.submit(compiled, "a", "key", {})
    assert caught.value.failure is Failure.UNREACHABLE


def test_a_token_file_is_read_for_every_call(
    kfp: KfpServer, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HARES_CLUSTER_TOKEN")
    token = tmp_path / "token"
    token.write_text("old\n")
    service = KfpService(ServiceConfig(host=kfp.url, token_file=str(token), backoff_seconds=0.01))
    with pytest.raises(ServiceError) as caught:
        service.runs(1)
    assert caught.value.failure is Failure.UNAUTHENTICATED
    token.write_text("a-token\n")
    assert service.runs(1) == []


def test_no_tfx_is_imported() -> None:
    code = "import sys, kubeflow.kfp.service, kubeflow.clusters; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
