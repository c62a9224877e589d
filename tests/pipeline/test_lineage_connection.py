"""Addresses of stores: what they become, what is refused, and that a password shows nowhere."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata import errors

from pipeline.lineage.connection import StoreUnreachableError, store_address

CANARY = "canary-7f3a"
DEFAULT = Path("W/metadata.sqlite")


def test_without_an_address_it_is_the_workspaces_file(tmp_path: Path) -> None:
    address = store_address("", DEFAULT)
    assert address.file == DEFAULT and address.config.sqlite.filename_uri == str(DEFAULT)
    assert store_address("/a/b.sqlite", DEFAULT).file == Path("/a/b.sqlite")
    with pytest.raises(FileNotFoundError, match="has `hares run` been run"):
        store_address(str(tmp_path / "none.sqlite"), DEFAULT).open()
    assert list(tmp_path.iterdir()) == [], "reading makes no empty store"


def test_mysql(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARES_METADATA_PASSWORD", CANARY)
    options = "ssl_ca=/ca.pem&ssl_cert=/c.pem&ssl_key=/k.pem&plaintext=true"
    config = store_address(f"mysql://us%40er@db.example:3307/hares?{options}", DEFAULT).config.mysql
    assert (config.host, config.port, config.database, config.user) == ("db.example", 3307, "hares", "us@er")
    tls = config.ssl_options
    assert (config.password, tls.ca, tls.cert, tls.key) == (CANARY, "/ca.pem", "/c.pem", "/k.pem")
    assert store_address("mysql://u@localhost/d", DEFAULT).config.mysql.port == 3306


def test_postgresql_with_a_password_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARES_METADATA_PASSWORD", "another")
    (tmp_path / "secret").write_text(f"{CANARY}\n")
    options = f"plaintext=true&password_file={tmp_path / 'secret'}"
    config = store_address(f"postgresql://u@h/d?{options}", DEFAULT).config.postgresql
    assert (config.host, config.port, config.dbname, config.user) == ("h", "5432", "d", "u")
    assert config.password == CANARY


def test_grpc(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificate")
    config = store_address(f"grpc://h:9000?custom_ca={tmp_path / 'ca.pem'}", DEFAULT).config
    assert (config.host, config.port, config.ssl_config.custom_ca) == ("h", 9000, "certificate")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redis://h/d", "accepted are a path, mysql://, postgresql:// and grpc://"),
        ("mysql://u@h", r"expected mysql://user@host/database"),
        ("postgresql://h/d", r"expected postgresql://user@host/database"),
        ("mysql://u@h:port/d", "expected mysql://user@host"),
        ("mysql://u@/d", "socket=PATH"),
        ("mysql://u@h/d?socket=/s", "socket=PATH"),
        ("postgresql://u@/d", "socket=PATH"),
        ("grpc://:8080", "expected grpc://host"),
        ("postgresql://u@localhost/d?sslmode=verify-full", "unknown option sslmode"),
        ("postgresql://u@h/d?plaintext=false&plaintext=true", "given twice"),
        ("mysql://u@h/d?ssl_ca=", "is empty"),
        ("mysql://u@localhost/d?ssl_verify=true", "unknown option ssl_verify"),
        ("mysql://u@localhost/d?sslmode=on", "unknown option sslmode; accepted are ssl_key"),
        ("mysql://u@h/d?plaintext=1", "plaintext is '1'; accepted are true and false"),
        ("mysql://u@h/d?password_file=/nowhere", "password_file /nowhere cannot be read"),
    ],
)
def test_what_is_no_address_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store_address(text, DEFAULT)


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_a_password_in_an_address_is_refused_without_repeating_it(scheme: str) -> None:
    with pytest.raises(ValueError, match="HARES_METADATA_PASSWORD") as caught:
        store_address(f"{scheme}://u:{CANARY}@h/d", DEFAULT)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("scheme", ["mysql", "postgresql", "grpc"])
def test_a_server_that_is_not_there_is_said_so_without_the_password(
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("HARES_METADATA_PASSWORD", CANARY)
    caplog.set_level(logging.DEBUG)
    place = "127.0.0.1:1" if scheme == "grpc" else "u@127.0.0.1:1/d"
    address = store_address(f"{scheme}://{place}", DEFAULT)
    with pytest.raises(
        StoreUnreachableError, match=f"{scheme}://{place}: the metadata store cannot"
    ) as caught:
        address.open()
    printed = capfd.readouterr()
    for text in (str(caught.value), repr(address), printed.out, printed.err, caplog.text):
        assert CANARY not in text


def hares(*arguments: str) -> subprocess.CompletedProcess[str]:
    project = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "HARES_METADATA_PASSWORD": CANARY, "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=project, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert CANARY not in done.stdout + done.stderr
    return done


def test_the_command_says_so_in_one_line_and_exit_code_8() -> None:
    done = hares("lineage", "runs", "--metadata", "mysql://u@127.0.0.1:1/d")
    assert done.returncode == 8 and "the metadata store cannot be opened" in done.stderr.splitlines()[-1]


def test_the_demo_refuses_a_wrong_address_before_it_makes_a_corpus(tmp_path: Path) -> None:
    done = hares("demo", "--workspace", str(tmp_path / "w"), "--metadata", "redis://h/d")
    assert done.returncode == 3 and "got redis://" in done.stderr and not (tmp_path / "w").exists()


@pytest.mark.full
def test_the_demo_takes_the_store_it_is_given(made_corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus").symlink_to(made_corpus)
    done = hares("demo", "--workspace", str(tmp_path), "--metadata", "postgresql://u@127.0.0.1:1/d")
    assert done.returncode == 8, done.stderr
    assert "postgresql://u@127.0.0.1:1/d: the metadata store cannot be opened" in done.stderr
    assert not (tmp_path / "metadata.sqlite").exists()


def test_a_store_that_another_process_keeps_locked_is_named_as_such(tmp_path: Path) -> None:
    """What ML Metadata says of it, after its retries, is AbortedError; a server's says the same of other things."""
    aborted = errors.AbortedError("Concurrent writes aborted after max number of retries.")
    file, server = store_address("", tmp_path / "m.sqlite"), store_address("mysql://u@localhost/d", DEFAULT)
    assert "m.sqlite" in str(file.lost(aborted)) and "another process keeps the file locked" in str(
        file.lost(aborted)
    )
    assert "locked" not in str(server.lost(aborted))


def test_a_full_disk_is_said_without_the_query_that_met_it(tmp_path: Path) -> None:
    text = "Error when executing query: database or disk is full query:  UPDATE `Execution` SET `id` = 1;"
    said = str(store_address("", tmp_path / "m.sqlite").lost(errors.InternalError(text)))
    assert "(Error when executing query: database or disk is full)" in said
