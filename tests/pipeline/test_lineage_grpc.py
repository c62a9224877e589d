"""ML Metadata's gRPC address, over a socket to a server process: the same answers, TLS, and a server that dies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore

from kits.certificates import make_certificates
from kits.grpc_store_server import grpc_server
from kits.lineage_stores import StoreWriter
from pipeline.lineage.connection import StoreUnreachableError, sqlite_config, store_address

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]


def hares(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def write_runs(store: MetadataStore) -> None:
    writer = StoreWriter(store)
    examples = writer.artifact("Examples", "/ingest/examples/1", run="run0", node="ingest")
    writer.step("run0", "ingest", [], [("examples", examples)])
    for number, score in enumerate((0.25, 0.75)):
        writer.context(
            "pipeline_run", f"run{number}", status="complete", end="x", encoder="sf", **{"score/hares": score}
        )
        model = writer.artifact("Model", f"/trainer/model/{number}", run=f"run{number}", node="trainer")
        writer.step(f"run{number}", "trainer", [("examples", examples)], [("model", model)], seed=number)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A store's file, and the address of the server that serves it."""
    path = tmp_path_factory.mktemp("grpc") / "metadata.sqlite"
    with grpc_server(path) as port:
        address = f"grpc://127.0.0.1:{port}"
        write_runs(store_address(address, Path()).open())
        yield path, address


@pytest.mark.parametrize(
    "question",
    [
        ("trace", "/trainer/model/1"),
        ("why", "run1"),
        ("runs", "--score", "hares>0.5", "--encoder", "sf"),
        ("impact", "1"),
        ("export", "run0"),
    ],
    ids=lambda question: question[0],
)
def test_the_server_answers_as_its_file_does(store: tuple[Path, str], question: tuple[str, ...]) -> None:
    path, address = store
    over_grpc, from_file = (
        hares("lineage", *question, "--json", "--metadata", place) for place in (address, str(path))
    )
    assert over_grpc.returncode == 0, over_grpc.stderr
    assert json.loads(over_grpc.stdout) == json.loads(from_file.stdout)
    assert over_grpc.stdout != "[]\n"


def test_a_store_moves_to_the_server(store: tuple[Path, str], tmp_path: Path) -> None:
    path, _ = store
    with grpc_server(tmp_path / "other.sqlite") as port:
        done = hares("metadata", "migrate", str(path), f"grpc://127.0.0.1:{port}", "--json")
        assert done.returncode == 0, done.stderr
    there, here = MetadataStore(sqlite_config(tmp_path / "other.sqlite")), MetadataStore(sqlite_config(path))
    assert json.loads(done.stdout)["executions"] == 3 == len(there.get_executions())
    assert sorted(a.uri for a in there.get_artifacts()) == sorted(a.uri for a in here.get_artifacts())


def test_a_server_that_is_gone_is_said_so(tmp_path: Path) -> None:
    with grpc_server(tmp_path / "metadata.sqlite") as port:
        pass
    done = hares("lineage", "runs", "--metadata", f"grpc://127.0.0.1:{port}")
    assert done.returncode == 8, done.stderr
    assert (
        f"grpc://127.0.0.1:{port}: the metadata store cannot be opened"
        in done.stderr.strip().splitlines()[-1]
    )


def test_tls_on_both_sides(tmp_path: Path) -> None:
    """The server shows a certificate and asks for one; without the authority, or without one's own, it is refused."""
    ours = make_certificates(tmp_path)
    (tmp_path / "others").mkdir()
    others = make_certificates(tmp_path / "others")
    options = ("--key", str(ours.key), "--certificate", str(ours.certificate), "--ca", str(ours.ca))
    with grpc_server(tmp_path / "metadata.sqlite", *options) as port:
        base = f"grpc://127.0.0.1:{port}"
        own = f"client_key={ours.key}&server_cert={ours.certificate}"
        write_runs(store_address(f"{base}?custom_ca={ours.ca}&{own}", Path()).open())
        done = hares("lineage", "runs", "--json", "--metadata", f"{base}?custom_ca={ours.ca}&{own}")
        assert done.returncode == 0, done.stderr
        assert [run["run"] for run in json.loads(done.stdout)] == ["run1", "run0"]
        strange = f"client_key={others.key}&server_cert={others.certificate}"
        for refused in (
            "",
            f"?custom_ca={ours.ca}",
            f"?custom_ca={others.ca}&{own}",
            f"?custom_ca={ours.ca}&{strange}",
        ):
            with pytest.raises(StoreUnreachableError):
                store_address(base + refused, Path()).open()


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    done = hares("lineage", "runs", "--metadata", f"grpc://127.0.0.1:1?custom_ca={tmp_path}/none.pem")
    assert done.returncode == 3
    assert f"custom_ca {tmp_path}/none.pem cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
