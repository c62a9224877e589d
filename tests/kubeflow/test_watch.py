"""A real process watches real folders, is killed and restarted; the server counts the runs it got."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.grpc_store_server import grpc_server
from kits.kfp_metadata import retraining
from kits.kfp_server import PIPELINE, Fault, KfpServer, kfp
from kits.lineage_stores import open_store
from pipeline.lineage.connection import store_address
from pipeline.lineage.store import latest_blessed_report

__all__ = ["kfp"]
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def line(kfp: KfpServer, tmp_path: Path) -> list[str]:
    (tmp_path / "hares.yaml").write_text(PIPELINE)
    (tmp_path / "cluster.yaml").write_text(
        f"service: {{host: '{kfp.url}', retries: 1, backoff_seconds: 0.01}}\n"
    )
    there = ["--target", "kubeflow", "--cluster", "cluster.yaml", "--workspace", "W", "--poll", "0.05"]
    start = [sys.executable, "-m", "cli.main", "watch", *there, "--source", "data/span-{SPAN}"]
    return [*start, "--", "cp", "hares.yaml", "{OUTPUT}"]


@pytest.fixture
def start(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], subprocess.Popen[bytes]]:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    started: list[subprocess.Popen[bytes]] = []

    def run() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


def arrive(folder: Path, span: int, whole: bool = True) -> None:
    place = folder / "data" / f"span-{span}"
    place.mkdir(parents=True, exist_ok=True)
    (place / "clip.wav").touch()
    if whole:
        (place / "_SUCCESS").touch()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def names(kfp: KfpServer) -> list[str]:
    return [run["display_name"] for run in kfp.things["runs"].values()]


def test_once_per_whole_span_over_restarts(
    kfp: KfpServer, tmp_path: Path, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    arrive(tmp_path, 1)
    arrive(tmp_path, 2, whole=False)
    ledger = tmp_path / "W" / "watch" / "ledger.json"
    process = start()
    until(ledger.exists)
    second = start()
    assert second.wait(60) == 5 and b"is in use by process" in second.stderr.read()
    process.kill()
    process.wait()
    assert names(kfp) == ["span-1"]
    arrive(tmp_path, 2)
    start()
    until(lambda: '"2"' in ledger.read_text())
    assert names(kfp) == ["span-1", "span-2"] and kfp.got["POST", "runs"] == 2


def test_killed_between_submission_and_ledger(
    kfp: KfpServer, tmp_path: Path, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    arrive(tmp_path, 7)
    kfp.faults = [Fault("POST", "runs", times=1, after=True, delay=5.0)]
    process = start()
    until(lambda: bool(kfp.things["runs"]))
    process.kill()
    process.wait()
    ledger = tmp_path / "W" / "watch" / "ledger.json"
    assert not ledger.exists()
    start()
    until(ledger.exists)
    assert names(kfp) == ["span-7"] and kfp.got["POST", "runs"] == 1
    assert next(iter(kfp.things["runs"])) in ledger.read_text()


def test_a_refusal_ends_it_and_leaves_the_span_due(
    kfp: KfpServer, tmp_path: Path, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    arrive(tmp_path, 3)
    kfp.faults = [Fault("POST", "runs", times=1, status=403)]
    refused = start()
    assert refused.wait(60) == 9 and b"403" in refused.stderr.read()
    start()
    until((tmp_path / "W" / "watch" / "ledger.json").exists)
    assert names(kfp) == ["span-3"]


def test_with_wait_a_span_begins_when_the_run_before_has_ended(
    kfp: KfpServer, tmp_path: Path, line: list[str], start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """Also after a kill while it waited: else the second span would start from the model before the first's."""
    line.insert(line.index("--"), "--wait")
    arrive(tmp_path, 1)
    arrive(tmp_path, 2)
    ledger = tmp_path / "W" / "watch" / "ledger.json"
    process = start()
    until(ledger.exists)
    process.kill()
    process.wait()
    start()
    known = kfp.got["GET", "runs"]
    until(lambda: kfp.got["GET", "runs"] > known + 5)
    assert names(kfp) == ["span-1"]
    next(iter(kfp.things["runs"].values()))["state"] = "SUCCEEDED"
    until(lambda: '"2"' in ledger.read_text())
    assert names(kfp) == ["span-1", "span-2"]


def test_with_wait_a_failed_run_is_said(
    kfp: KfpServer, tmp_path: Path, line: list[str], start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    line[line.index("--") : line.index("--")] = ["--wait", "--once"]
    kfp.outcome = "FAILED"
    for span in (1, 2):
        arrive(tmp_path, span)
    for span in (1, 2):
        failed = start()
        assert failed.wait(60) == 5 and b"failed" in failed.stderr.read()
        assert names(kfp)[-1] == f"span-{span}"


def watch_once(folder: Path, target: str, cluster: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """One look; the compile command keeps the store as it finds it."""
    (folder / "cluster.yaml").write_text(yaml.safe_dump(cluster))
    (folder / "hares.yaml").write_text(PIPELINE)
    there = ["--target", target, "--cluster", "cluster.yaml", "--workspace", "W", "--once"]
    start = [sys.executable, "-m", "cli.main", "watch", *there, "--source", "data/span-{SPAN}"]
    compiles = "cp V/metadata.sqlite seen-{SPAN}.sqlite; cp hares.yaml {OUTPUT}"
    return subprocess.run(
        [*start, "--", "sh", "-c", compiles], cwd=folder, capture_output=True, text=True, check=False
    )


def test_what_the_cluster_recorded_is_in_the_store_before_it_compiles(
    kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next run is compared with the last blessed model, and may start from it."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    arrive(tmp_path, 1)
    with grpc_server(tmp_path / "cluster.sqlite") as port:
        there = f"grpc://127.0.0.1:{port}"
        made = retraining(store_address(there, Path()).open(), "of-last-week")
        service = {"host": kfp.url, "metadata_store": there}
        done = watch_once(tmp_path, "kubeflow", {"service": service, "workspace": str(tmp_path / "V")})
        assert done.returncode == 0, done.stderr
        assert "run of-last-week: imported into" in done.stdout
        assert names(kfp) == ["span-1"]
        seen = open_store(tmp_path / "seen-1.sqlite")
        report = latest_blessed_report(seen, "hares", "another key")
        assert report.startswith(f"{made.root}/hares/of-last-week/evaluator/")
    arrive(tmp_path, 2)
    done = watch_once(tmp_path, "kubeflow", {"service": service, "workspace": str(tmp_path / "V")})
    assert done.returncode == 8 and there in done.stderr, "an old baseline would pass for the latest"
    assert names(kfp) == ["span-1"]


def test_no_import_is_said(kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    arrive(tmp_path, 1)
    (tmp_path / "V").mkdir()
    (tmp_path / "V" / "metadata.sqlite").touch()
    done = watch_once(tmp_path, "kubeflow", {"service": {"host": kfp.url}})
    assert done.returncode == 0 and names(kfp) == ["span-1"]
    said = " ".join(done.stdout.split())
    assert "has no service.metadata_store and no workspace: runs are not imported" in said
