"""Stores on real MariaDB and PostgreSQL servers answer as a SQLite file does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore

from kits.database_servers import KINDS, DatabaseServer, database_server
from kits.lineage_stores import RUNNING, StoreWriter
from pipeline.lineage.connection import sqlite_config, store_address
from pipeline.lineage.graph import downstream, upstream
from pipeline.lineage.runs import RunFilter, find_run, list_runs

pytestmark = pytest.mark.slow

PASSWORD = "canary-5d1e"
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[DatabaseServer]:
    with database_server(request.param, PASSWORD) as running:
        yield running


@pytest.fixture
def address(server: DatabaseServer) -> str:
    """The address of a store on a server of that kind."""
    return server.address()


def write_runs(store: MetadataStore) -> None:
    writer = StoreWriter(store)
    source = writer.artifact("Examples", "/examples")
    for number, score in enumerate((0.25, 0.75)):
        facts = {
            "status": "complete",
            "end": "x",
            "encoder": "sf",
            "start": f"2026-01-0{number + 1}T00:00:00.000+00:00",
        }
        writer.context("pipeline_run", f"run{number}", **facts, **{"score/hares": score})
        model = writer.artifact("Model", f"/model/{number}", encoder="sf")
        writer.step(f"run{number}", "trainer", [("examples", source)], [("model", model)])
    writer.step("run1", "embed", [("model", model)], [], RUNNING)


def hares(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_store_on_a_server_answers_as_a_file_does(address: str, tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    write_runs(MetadataStore(sqlite_config(path)))
    done = hares("metadata", "migrate", str(path), address, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"contexts": 5, "artifacts": 3, "executions": 3, "events": 5}
    assert json.loads(hares("metadata", "migrate", str(path), address, "--json").stdout)["executions"] == 0
    store = store_address(address, Path()).open()
    assert [run.run_id for run in list_runs(store, RunFilter(("hares>50%",), encoder="sf"))] == ["run1"]
    assert find_run(store, "run0").scores == {"hares": 0.25} and find_run(store, "latest").run_id == "run1"
    ids = {artifact.uri: artifact.id for artifact in store.get_artifacts()}
    assert set(upstream(store, [ids["/model/1"]]).artifacts) == {ids["/model/1"], ids["/examples"]}
    assert set(downstream(store, [ids["/examples"]]).artifacts) == set(ids.values())
    (found,) = json.loads(
        hares("lineage", "runs", "--score", "hares>0.5", "--metadata", address, "--json").stdout
    )
    assert found["run"] == "run1" and found["scores"] == {"hares": 0.75}


def test_a_wrong_password_is_refused_and_no_password_is_printed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for password, code in ((PASSWORD, 0), (f"not-{PASSWORD}", 8)):
        monkeypatch.setenv("HARES_METADATA_PASSWORD", password)
        done = hares("lineage", "runs", "--metadata", address)
        assert done.returncode == code, done.stderr
        assert PASSWORD not in done.stdout + done.stderr


def test_a_page_from_a_server_holds_no_password(address: str, tmp_path: Path) -> None:
    output = tmp_path / "page.html"
    done = hares("lineage", "page", "--output", str(output), "--metadata", address)
    assert done.returncode == 0, done.stderr
    page = output.read_text(encoding="utf-8")
    assert address in page
    assert PASSWORD not in page + done.stdout + done.stderr


def test_an_empty_store_may_be_opened_by_many_at_once(
    server: DatabaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ML Metadata makes the tables one after the other; who comes in between is refused by it, and waits here."""
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom pipeline.lineage.connection import store_address\n"
        "address = store_address(sys.argv[1], Path())\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "address.open().get_contexts()"
    )
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    openers = [
        subprocess.Popen(
            [sys.executable, "-c", script, server.address("fresh")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    for opener in openers:
        assert opener.stdout is not None and opener.stdout.readline() == "ready\n"
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("go\n")
        opener.stdin.flush()
    for opener in openers:
        _, complaints = opener.communicate(timeout=120)
        assert opener.returncode == 0, complaints
