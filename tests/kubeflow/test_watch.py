"""A real process watches real folders, is killed and restarted; the server counts the runs it got."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kits.kfp_server import PIPELINE, Fault, KfpServer, kfp

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
