"""`hares run` on MariaDB and PostgreSQL servers: all twelve tasks, and the server killed with -9 under it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hares.task import task_names
from kits.database_servers import KINDS, DatabaseServer, database_server
from kits.pipeline_runs import environment, project
from kits.server_runs import FEW, WatchedRun, dump, made_from, run_ids, start_run, watch
from pipeline.lineage.connection import PASSWORD_VARIABLE, store_address

CANARY = "canary-0ddba11"
SECRET = {PASSWORD_VARIABLE: CANARY}
pytestmark = pytest.mark.full


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    with database_server(request.param, CANARY) as running:
        yield running


def assert_no_canary(folder: Path, *texts: str) -> None:
    assert all(CANARY not in text for text in texts)
    read = [(path, path.read_bytes()) for path in folder.rglob("*") if path.is_file()]
    assert any(path.parent.name == "logs" and content for path, content in read)
    assert [path for path, content in read if CANARY.encode() in content] == []


def wait_for(run: WatchedRun, step: str) -> None:
    """Until a step is shown as done."""
    deadline = time.monotonic() + 600
    while f"done   {step} " not in run.output.with_suffix(".out").read_text():
        assert run.process.poll() is None, run.finished().stdout + run.finished().stderr
        assert time.monotonic() < deadline, f"{step} does not end"
        time.sleep(0.02)


def test_all_twelve_tasks(server: DatabaseServer, made_corpus: Path, tmp_path: Path) -> None:
    """Two runs at once with one corpus, as two users of a machine start them, each with a seed of its own."""
    address = server.address("twelve")
    runs = [
        start_run(made_corpus, tmp_path / name, address, (f"training.seed={seed}",), SECRET)
        for seed, name in enumerate("ab")
    ]
    store = store_address(address, Path()).open()
    seen = []
    for done in watch(*runs):
        assert done.code == 0, done.stdout + done.stderr
        assert len(done.steps("done")) + len(done.steps("cached")) == 31
        assert set(done.report()["tasks"]) == set(task_names()) and done.report()["hares"] is not None
        assert_no_canary(done.workspace, done.stdout, done.stderr)
        (run,) = run_ids(store, done.workspace)
        trace = subprocess.run(
            [sys.executable, "-m", "cli.main", "lineage", "trace", "hares", "--run", run, "--metadata", address,
             "--json"],
            cwd=project(), env=environment(project()), capture_output=True, text=True, timeout=300, check=True,
        )  # fmt: skip
        found = json.loads(trace.stdout)
        steps, artifacts = made_from(store, found["target"]["artifact"])
        assert {step["execution"] for step in found["steps"]} == steps
        assert {artifact["id"] for artifact in found["artifacts"]} == artifacts
        seen.append({step["execution"]: step["node"] for step in found["steps"]})
        assert {node for node in seen[-1].values() if node.startswith("embed_")} == {
            f"embed_{task}" for task in task_names()
        }
    shared = {seen[0][step] for step in set(seen[0]) & set(seen[1])}
    assert all(node.startswith("ingest_") for node in shared), (
        "the same audio, and nothing that a seed changes"
    )
    assert CANARY.encode() not in dump(server, CANARY, "twelve")


@pytest.mark.parametrize("after", ["ingest_birdsong", "transform", "trainer"])
def test_the_server_killed_under_a_run(
    server: DatabaseServer, made_corpus: Path, tmp_path: Path, after: str
) -> None:
    """Right after a step: the next one is being prepared, or computes."""
    address = server.address(f"after_{after}")
    run = start_run(made_corpus, tmp_path / "w", address, FEW, SECRET)
    wait_for(run, after)
    server.kill()
    (lost,) = watch(run)
    server.start()
    assert lost.code == 8, lost.stdout + lost.stderr
    assert lost.stderr.startswith(f"hares: {address}: the metadata store does not answer any more")
    assert lost.stderr.count("\n") == 1 and "the same command goes on after the last step" in lost.stderr
    assert_no_canary(lost.workspace, lost.stdout, lost.stderr)
    (again,) = watch(start_run(made_corpus, tmp_path / "w", address, FEW, SECRET))
    assert again.code == 0, again.stdout + again.stderr
    before, cached = set(lost.steps("done")), set(again.steps("cached"))
    assert before and before <= cached and len(cached - before) <= 1, (
        "at most one was recorded and not yet shown"
    )
    assert len(cached) + len(again.steps("done")) == 9


def test_a_wrong_password_is_one_line(server: DatabaseServer, made_corpus: Path, tmp_path: Path) -> None:
    wrong = {PASSWORD_VARIABLE: f"not-{CANARY}"}
    (done,) = watch(start_run(made_corpus, tmp_path / "w", server.address(), FEW, wrong))
    assert done.code == 8 and done.stderr.count("\n") == 1, done.stderr
    assert "the metadata store cannot be opened" in done.stderr
    assert_no_canary(done.workspace, done.stdout, done.stderr)
