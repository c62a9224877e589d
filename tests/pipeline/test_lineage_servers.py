"""Stores on real MariaDB and PostgreSQL servers, started here on loopback with data folders of their own.

Skipped where a server is not installed (Debian: mariadb-server-core, postgresql).
"""

from __future__ import annotations

import getpass
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lineage_stores import RUNNING, StoreWriter
from ml_metadata.metadata_store import MetadataStore

from pipeline.lineage.connection import StoreUnreachableError, sqlite_config, store_address
from pipeline.lineage.graph import downstream, upstream
from pipeline.lineage.runs import RunFilter, find_run, list_runs

PASSWORD = "canary-5d1e"
PROJECT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def found_program(name: str, *folders: str) -> str:
    places = [folder for pattern in folders for folder in map(str, sorted(Path("/").glob(pattern)))]
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *places]))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def server_user() -> str:
    """Servers refuse to run as root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    try:
        return pwd.getpwnam("nobody").pw_name
    except KeyError:
        pytest.skip("servers do not run as root, and there is no user 'nobody'")


@contextmanager
def running(command: list[str], user: str, folder: Path) -> Iterator[None]:
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, user=user, stdout=log, stderr=log, cwd=folder)
        try:
            yield
        finally:
            process.send_signal(
                signal.SIGINT if "postgres" in command[0] else signal.SIGTERM
            )  # without waiting for clients
            process.wait(timeout=60)


def waiting(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            store_address(address, Path()).open()
            return
        except StoreUnreachableError:
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def data_folder() -> Iterator[Callable[[str], Path]]:
    """Folders that the server's user may write; a socket's path must be short."""
    folders: list[Path] = []

    def make(user: str) -> Path:
        folders.append(Path(tempfile.mkdtemp(prefix="hares-db-")))
        if os.geteuid() == 0:
            shutil.chown(folders[-1], user)
        return folders[-1]

    yield make
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=["mariadb", "postgresql"])
def address(request: pytest.FixtureRequest, data_folder: Callable[[str], Path]) -> Iterator[str]:
    """The address of an empty store on a server of that kind."""
    user, port = server_user(), free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARES_METADATA_PASSWORD", PASSWORD)
        if request.param == "mariadb":
            server = found_program("mariadbd", "usr/sbin")
            install = found_program("mariadb-install-db")
            base, folder = str(Path(server).parents[1]), data_folder(user)
            common = ["--no-defaults", f"--basedir={base}", f"--datadir={folder / 'data'}"]
            subprocess.run(
                [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
                check=True, capture_output=True, user=user, cwd=folder,
            )  # fmt: skip
            start = folder / "init.sql"
            start.write_text(
                f"CREATE USER hares@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\nGRANT ALL ON *.* TO hares@'127.0.0.1';\n"
            )
            options = [
                "--bind-address=127.0.0.1",
                f"--port={port}",
                f"--socket={folder / 's'}",
                f"--init-file={start}",
            ]
            with running([server, *common, *options], user, folder):
                waiting(f"mysql://hares@127.0.0.1:{port}/hares")
                yield f"mysql://hares@127.0.0.1:{port}/hares"
        else:
            server = found_program("postgres", "usr/lib/postgresql/*/bin")
            install, folder = found_program("initdb", "usr/lib/postgresql/*/bin"), data_folder(user)
            (folder / "password").write_text(PASSWORD)
            (folder / "password").chmod(0o644)
            subprocess.run(
                [install, "-D", str(folder / "data"), "-U", "hares", f"--pwfile={folder / 'password'}", "-A",
                 "scram-sha-256", "--no-sync"],
                check=True, capture_output=True, user=user, cwd=folder,
            )  # fmt: skip
            options = ["-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
            with running([server, *options], user, folder):
                waiting(f"postgresql://hares@127.0.0.1:{port}/hares")
                yield f"postgresql://hares@127.0.0.1:{port}/hares"


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
