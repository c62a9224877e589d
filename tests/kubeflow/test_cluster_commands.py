"""submit, schedule and runs from the command line, against the server on loopback."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from cli.errors import CommandError, ExitCode
from cli.main import hares
from kits.kfp_server import PIPELINE, Fault, KfpServer, kfp

__all__ = ["kfp"]
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "clusters.md"
GOLDEN = Path(__file__).with_name("compiled") / "golden" / "kubeflow.yaml"


@pytest.fixture
def folder(kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("hares.yaml").write_text(PIPELINE)
    Path("cluster.yaml").write_text(
        f"image: another-group\nservice: {{host: '{kfp.url}', retries: 1, backoff_seconds: 0.01}}\n"
    )
    return tmp_path


def call(line: str) -> Result:
    words = shlex.split(line)
    count = 2 if words[0] in ("runs", "schedule") else 1
    there = ["--target", "kubeflow", "--cluster", "cluster.yaml"]
    return CliRunner().invoke(hares, [*words[:count], *there, *words[count:]])


def code(result: Result) -> int:
    return int(result.exception.code) if isinstance(result.exception, CommandError) else result.exit_code


def test_submit_waits_and_says_how_it_ended(kfp: KfpServer, folder: Path) -> None:
    kfp.outcome = "SUCCEEDED"
    result = call("submit hares.yaml --wait --poll 0.01")
    assert code(result) == 0 and "done      ingest" in result.output and "succeeded" in result.output
    kfp.outcome = "FAILED"
    result = call("submit hares.yaml --wait --poll 0.01 --again")
    assert code(result) == ExitCode.STEP and "trainer: see `kubectl logs" in str(result.exception)
    assert "FAILED    trainer" in result.output


def test_submit_twice_is_one_run(kfp: KfpServer, folder: Path) -> None:
    first, second = (json.loads(call("submit hares.yaml --json").output) for _ in range(2))
    assert first["run_id"] == second["run_id"] and kfp.got["POST", "runs"] == 1
    other = json.loads(call("submit hares.yaml --json --parameter run_key=X").output)
    assert other["run_id"] != first["run_id"]
    again = json.loads(call("submit hares.yaml --json --again").output)
    assert again["run_id"] not in (first["run_id"], other["run_id"])


def test_runs(kfp: KfpServer, folder: Path) -> None:
    run = json.loads(call("submit hares.yaml --name nightly --json").output)
    assert [r["run_id"] for r in json.loads(call("runs list --json").output)] == [run["run_id"]]
    assert "nightly" in call("runs list").output
    assert "trainer" in call(f"runs show {run['run_id']}").output
    assert call(f"runs cancel {run['run_id']}").output == f"{run['run_id']}: cancelled\n"
    missing = call("runs show none")
    assert code(missing) == ExitCode.SERVICE and "404" in str(missing.exception)


def test_schedules(kfp: KfpServer, folder: Path) -> None:
    made = json.loads(call("schedule create --cron '0 3 * * *' hares.yaml --json").output)
    same = json.loads(call("schedule create --cron '0  3 * * *' hares.yaml --json").output)
    assert same == made and kfp.got["POST", "recurringruns"] == 1
    assert call(f"schedule pause {made['schedule_id']}").exit_code == 0
    assert not json.loads(call("schedule list --json").output)[0]["enabled"]
    assert call(f"schedule resume {made['schedule_id']}").exit_code == 0
    assert json.loads(call("schedule list --json").output)[0]["enabled"]
    assert json.loads(call(f"schedule delete {made['schedule_id']} --json").output)["state"] == "deleted"
    assert call("schedule list").output == "no schedules\n"


@pytest.fixture
def volume(kfp: KfpServer, folder: Path) -> Path:
    """A volume that pods see at the same path, and a cluster file that mounts it."""
    place = folder / "volume"
    (place / "corpora").mkdir(parents=True)
    cluster = {
        "image": "images.example/hares:1", "pipeline_root": "minio://bucket/hares", "workspace": f"{place}/hares",
        "volumes": {"data": str(place)}, "images": {"watch": "images.example/watch:1"},
        "service": {"host": kfp.url, "retries": 1, "backoff_seconds": 0.01, "headers": {"X-Key": "text"}},
    }  # fmt: skip
    Path("cluster.yaml").write_text(yaml.safe_dump(cluster))
    return place


def for_spans(volume: Path) -> str:
    return (
        f"schedule create --cron '0 3 * * *' --name nightly --source {volume}/span-{{SPAN}} --window 2 --json "
        f"-- --config demo --corpus {volume}/corpora --set pretraining.warm_start=latest_blessed"
    )


def test_a_schedule_for_spans_that_arrive(kfp: KfpServer, volume: Path) -> None:
    made, same = (json.loads(call(for_spans(volume)).output) for _ in range(2))
    assert same == made and made["name"] == "nightly" and kfp.got["POST", "recurringruns"] == 1
    (stored,) = kfp.things["recurringruns"].values()
    (container,) = [
        executor["container"]
        for executor in stored["pipeline_spec"]["pipeline_spec"]["deploymentSpec"]["executors"].values()
    ]
    assert container["image"] == "images.example/watch:1"
    inside, *words = container["args"]
    assert json.loads(inside)["service"] == {  # neither the submitter's address nor its secrets
        "host": "http://ml-pipeline.kubeflow:8888",
        "metadata_store": "grpc://metadata-grpc-service.kubeflow:8080?plaintext=true",
    }
    assert (
        words[:4] == ["hares", "watch", "--target", "kubeflow"]
        and words[-6:] == shlex.split(for_spans(volume))[-6:]
    )
    (pod,) = stored["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"][
        "executors"
    ].values()
    assert pod["pvcMount"] == [{"constant": "data", "mountPath": str(volume)}]


def test_spans_and_corpora_in_a_bucket_need_no_volume(
    kfp: KfpServer, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hares.folder.spans", lambda pattern: {})  # nobody answers for that bucket here
    line = (
        for_spans(volume)
        .replace(f"{volume}/span", "s3://audio/span")
        .replace(f"{volume}/corpora", "s3://audio")
    )
    assert code(call(line)) == 0 and kfp.got["POST", "recurringruns"] == 1


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        ("--name nightly", "", "--name: is missing"),
        ("/span-{SPAN}", "/span", "{SPAN}"),
        ("--source {volume}", "--source /elsewhere", "no pod sees it"),
        ("--corpus {volume}/corpora", "--corpus /elsewhere", "--corpus /elsewhere: no pod sees it"),
        ("--config demo", "--config cluster.yaml", "cluster.yaml"),
        ("--config demo", "--config nothing", "nothing"),
        ("pretraining.warm_start=", "pretraining.warm=", "pretraining.warm"),
        ("pretraining.warm_start=latest_blessed", "pretraining.span=3", "the step itself gives"),
        ("--config demo", "--output here", "are given by the step itself"),
        ("--config demo", "--colour red", "after --: No such option"),
        ("--json", "--json --max-concurrent 2", "mean nothing with --source"),
        ("--json", "--json --parameter a=b", "mean nothing with --source"),
        ("--source {volume}/span-{SPAN} --window 2", "", "give one compiled file"),
        ("--window 2", "--window 33", "33"),
    ],
)
def test_what_its_pod_would_refuse_is_said_before_any_request(
    kfp: KfpServer, volume: Path, change: str, to: str, said: str
) -> None:
    line, change = for_spans(volume), change.replace("{volume}", str(volume))
    assert change in line
    result = call(line.replace(change, to))
    assert code(result) in (ExitCode.SETTINGS, 2) and said in f"{result.exception} {result.output}"
    assert not kfp.got


def test_the_scheduled_step_becomes_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the pod: the cluster file lies where the command reads it, with the pod's own token where there is one."""
    projected = tmp_path / "token"
    projected.write_text("t")
    (tmp_path / "hares").write_text('#!/bin/sh\necho "$@"; cat "$2"\n')
    (tmp_path / "hares").chmod(0o755)
    step = (
        "import sys; from kubeflow.compiled import scheduled_watch as step\n"
        f"step._PROJECTED = {str(projected)!r}; step.main(sys.argv[1:])"
    )
    words = [
        json.dumps({"service": {"host": "h"}}),
        "hares",
        "--cluster",
        "{CLUSTER}",
        "--set",
        "source={SOURCE}",
    ]
    done = subprocess.run(
        [sys.executable, "-c", step, *words], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(GOLDEN.parents[4])},
    )  # fmt: skip
    said, _, content = done.stdout.partition("\n")
    assert said.startswith("--cluster /") and said.endswith("/cluster.yaml --set source={SOURCE}")
    assert yaml.safe_load(content) == {"service": {"host": "h", "token_file": str(projected)}}


@pytest.mark.parametrize(
    "cron",
    [
        "0 3 * *",
        "60 3 * * *",
        "0 24 * * *",
        "0 3 0 * *",
        "a 3 * * *",
        "0 3 * * 5-1",
        "*/0 3 * * *",
        "0 0 3 * * *",
    ],
)
def test_a_wrong_cron_is_said_before_any_request(kfp: KfpServer, folder: Path, cron: str) -> None:
    result = call(f"schedule create --cron '{cron}' hares.yaml")
    assert code(result) == ExitCode.SETTINGS and "--cron" in str(result.exception)
    assert not kfp.got


@pytest.mark.parametrize(
    ("weekday", "sent"),
    [("7", "0"), ("5-7", "5,6,0"), ("1,7", "1,0"), ("1-7/2", "1,3,5,0"), ("*/2", "*/2"), ("0,7", "0")],
)
def test_sunday_may_be_7(kfp: KfpServer, folder: Path, weekday: str, sent: str) -> None:
    made = json.loads(call(f"schedule create --cron '0 3 * * {weekday}' hares.yaml --json").output)
    assert made["cron"] == f"0 3 * * {sent}"


@pytest.mark.parametrize("line", ["submit hares.yaml", "schedule create --cron '0 3 * * *' hares.yaml"])
def test_names_that_a_cluster_refuses_are_said_before_any_request(
    kfp: KfpServer, folder: Path, line: str
) -> None:
    for name in ("a" * 129, " ", "two\nlines", " nightly"):
        result = call(f"{line} --name {shlex.quote(name)}")
        assert code(result) == ExitCode.SETTINGS and "--name" in str(result.exception), name
    (folder / "hares.yaml").write_text(PIPELINE.replace("name: hares-small", "name: My_Run"))
    result = call(line)
    assert code(result) == ExitCode.SETTINGS and "'My_Run'" in str(result.exception)
    assert not kfp.got


def test_a_refusal_is_one_line_and_exit_code_9(kfp: KfpServer, folder: Path) -> None:
    kfp.faults = [Fault("GET", "experiments", times=99, status=403)]
    for line in (
        "submit hares.yaml",
        "runs list",
        "schedule list",
        "schedule create --cron '0 3 * * *' hares.yaml",
    ):
        result = call(line)
        assert code(result) == ExitCode.SERVICE and "403" in str(result.exception)
        assert "\n" not in str(result.exception)
    assert not kfp.things["runs"] and not kfp.things["recurringruns"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("image: x", "no group 'service:'"),
        ("service: {hots: x}", "unknown setting service.hots; did you mean service.host"),
        ("service: {namespace: x}", "service.host is not set"),
        ("service: {host: 'http://h', project: p}", "means nothing to kubeflow"),
        ("service: {host: h}", "expected https://"),
        ("service: {host: 'http://h', retries: many}", "accepted is int"),
        ("service: {host: 'http://h', timeout_seconds: 0}", "must be above 0"),
        ("service: [", "is not YAML"),
    ],
)
def test_a_wrong_cluster_file(kfp: KfpServer, folder: Path, text: str, said: str) -> None:
    Path("cluster.yaml").write_text(text)
    result = call("runs list")
    assert code(result) == ExitCode.SETTINGS and said in str(result.exception)
    assert "\n" not in str(result.exception) and not kfp.got


def test_the_document_s_commands_run(kfp: KfpServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kfp.outcome = "SUCCEEDED"
    monkeypatch.setattr("cli.options.os.path.isdir", lambda path: True)  # the volume that the page mounts
    cluster = {
        **yaml.safe_load(Path("cluster.yaml").read_text()), "pipeline_root": "minio://bucket/hares",
        "workspace": "/mnt/hares", "volumes": {"data": "/mnt"},
    }  # fmt: skip
    Path("cluster.yaml").write_text(yaml.safe_dump(cluster))
    (folder / "data" / "span-4").mkdir(parents=True)
    (folder / "data" / "span-4" / "_SUCCESS").touch()
    blocks = re.findall(r"```sh\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    for line in "".join(blocks).splitlines():
        result = CliRunner().invoke(hares, shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output, result.exception)
    assert sorted(run["display_name"] for run in kfp.things["runs"].values()) == ["hares", "span-4"]
    assert sorted(one["display_name"] for one in kfp.things["recurringruns"].values()) == ["hares", "spans"]
