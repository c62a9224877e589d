"""Servers of metadata stores: which are on another machine, what they are given, and what verified TLS refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore

from kits.certificates import make_certificates
from kits.database_servers import database_server
from kits.rogue_databases import rogue
from pipeline.hosts import is_loopback
from pipeline.lineage.connection import StoreUnreachableError, store_address

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
PASSWORD = "canary-8b21"
NAME = "db.example"  # leads to 127.0.0.1 within `elsewhere`
PARSED = "import sys\nfrom pathlib import Path\nfrom pipeline.lineage.connection import store_address\n" + (
    "address = store_address(sys.argv[1], Path())\n"
)
VERIFIED = PARSED + "address.config.mysql.ssl_options.verify_server_cert = True\n"
OPENED = "address.open().get_context_types()\n"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARES_METADATA_PASSWORD", PASSWORD)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1,evil.example", "localhost.", "0.0.0.0", "::",
        "2130706433", "127.1", "0x7f000001", "::ffff:10.0.0.1", "10.0.0.1", "db", "", "/run/postgresql",
    ],
)  # fmt: skip
def test_another_machine_or_none_that_is_sure(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize("host", [NAME, "10.0.0.1", "localhost.evil.example", "0.0.0.0", "[2001:db8::1]"])
def test_another_machine_is_verified_or_said_to_be_plain(host: str) -> None:
    for kind in ("mysql", "postgresql"):
        for options in (
            "",
            "?plaintext=false",
            "?ssl_ca=/ca.pem",
            "?sslmode=verify-full",
            "?ssl_verify=true",
        ):
            with pytest.raises(ValueError, match="another machine"):
                store_address(f"{kind}://u@{host}/d{options}", Path())
        assert store_address(f"{kind}://u@{host}/d?plaintext=true", Path()).file is None
    assert store_address(f"grpc://{host}", Path()).config.HasField("ssl_config")
    assert not store_address(f"grpc://{host}?plaintext=true", Path()).config.HasField("ssl_config")


def test_a_socket_is_on_this_machine() -> None:
    config = store_address("postgresql://u@/d?socket=/run/postgresql", Path()).config
    assert config.postgresql.host == "/run/postgresql"
    config = store_address("mysql://u@/d?socket=/run/mysqld/mysqld.sock", Path()).config
    assert config.mysql.socket == "/run/mysqld/mysqld.sock" and not config.mysql.host


def test_ml_metadata_s_postgresql_client_is_built_without_tls(capfd: pytest.CaptureFixture[str]) -> None:
    """Were it otherwise one day, verified TLS would be the rule for PostgreSQL too."""
    config = store_address("postgresql://u@127.0.0.1:1/d", Path()).config
    config.postgresql.ssloption.sslmode = "require"
    with pytest.raises(RuntimeError):
        MetadataStore(config)
    assert "SSL support is not compiled in" in capfd.readouterr().err


def test_without_a_password_libpq_is_not_given_the_next_option_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It reads "password= passfile=x" as a password."""
    monkeypatch.delenv("HARES_METADATA_PASSWORD")
    assert not store_address("postgresql://u@localhost/d", Path()).config.postgresql.HasField("password")


@pytest.mark.parametrize(
    "text",
    [
        "mysql://u:canary/d", "postgresql://u:can@ary@h/d", "mysql://u:can/ary@h/d", "postgresql://u:can#ary@h/d",
        "grpc://u:canary@h", "mysql://u:can?ary@h/d", "postgresql://u@h sslmode=disable/d",
        "postgresql://u@h/d%20sslmode=disable", "postgresql://u%20sslmode=disable@h/d", "mysql://u@a;b/d",
        "postgresql://u@127.0.0.1,evil.example/d", "mysql://u@h/d`;DROP DATABASE x", "grpc://unix:/run/x",
    ],
)  # fmt: skip
def test_an_address_that_could_hold_a_password_or_an_option_is_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="--metadata") as caught:
        store_address(text, Path())
    assert "can" not in str(caught.value).replace("canary-", "").replace("can read", "")


def elsewhere(address: str, folder: Path, code: str = PARSED + OPENED) -> subprocess.CompletedProcess[str]:
    """Opens a store where `NAME` leads to this machine by a hosts file of one's own, as only root can have it."""
    hosts = folder / "hosts"
    hosts.write_text(f"127.0.0.1 localhost {NAME} other.example\n")
    inner = 'mount --bind "$0" /etc/hosts && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", inner, str(hosts), sys.executable, "-c", code, address]
    return subprocess.run(
        command,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module", autouse=True)
def hosts_files_of_ones_own() -> None:
    """Skips where this user may have none."""
    done = subprocess.run(
        ["unshare", "--mount", "mount", "--bind", "/etc/hosts", "/etc/hosts"], capture_output=True
    )
    if done.returncode:
        pytest.skip("this user may mount nothing, so no name leads to a server here")


@pytest.mark.parametrize("options", ["", "?ssl_ca=ca.pem", "?ssl_capath=/etc/ssl/certs"])
def test_a_rogue_mysql_server_gets_no_file(tmp_path: Path, options: str) -> None:
    wanted = tmp_path / "private"
    wanted.write_text("canary-file")
    with rogue("mysql", wanted, tmp_path / "log") as port:
        done = elsewhere(f"mysql://hares@{NAME}:{port}/d{options}", tmp_path)
    assert done.returncode != 0 and (tmp_path / "log").read_text() == ""


def test_a_rogue_mysql_server_gets_it_where_the_address_says_so(tmp_path: Path) -> None:
    """What docs/security.md warns of, and that the server above would have got the file."""
    wanted = tmp_path / "private"
    wanted.write_text("canary-file")
    with rogue("mysql", wanted, tmp_path / "log") as port:
        elsewhere(f"mysql://hares@{NAME}:{port}/d?plaintext=true", tmp_path)
    assert "canary-file" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("options", ["", "?sslmode=require", "?sslmode=verify-full&sslrootcert=ca.pem"])
def test_a_rogue_postgresql_server_gets_no_password(tmp_path: Path, options: str) -> None:
    with rogue("postgresql", tmp_path / "none", tmp_path / "log") as port:
        done = elsewhere(f"postgresql://hares@{NAME}:{port}/d{options}", tmp_path)
    assert done.returncode != 0 and PASSWORD not in done.stdout + done.stderr
    assert (tmp_path / "log").read_text() == ""


def test_a_rogue_postgresql_server_gets_it_where_the_address_says_so(tmp_path: Path) -> None:
    with rogue("postgresql", tmp_path / "none", tmp_path / "log") as port:
        elsewhere(f"postgresql://hares@{NAME}:{port}/d?plaintext=true", tmp_path)
    assert PASSWORD in (tmp_path / "log").read_text()


ODD = "odd' pass\\word; x sslmode=disable"


def test_ml_metadata_s_mysql_client_verifies_no_server(tmp_path: Path) -> None:
    """With verification it refuses the right one too, without it takes any: else TLS would be the rule."""
    made, strangers = make_certificates(tmp_path, NAME), tmp_path / "strangers"
    strangers.mkdir()
    other = make_certificates(strangers, NAME)
    with database_server("mariadb", PASSWORD, made) as server:
        address = f"mysql://hares@{NAME}:{server.port}/hares?plaintext=true"
        assert elsewhere(f"{address}&ssl_ca={other.ca}", tmp_path).returncode == 0
        assert elsewhere(f"{address}&ssl_ca={made.ca}", tmp_path, VERIFIED + OPENED).returncode != 0


def test_a_real_postgresql_server_takes_any_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ML Metadata writes it into libpq's connection string as it is: a password must not become an option there."""
    with database_server("postgresql", ODD) as server:
        store_address(server.address(), Path()).open()
        monkeypatch.setenv("HARES_METADATA_PASSWORD", "x sslmode=disable password=canary")
        with pytest.raises(StoreUnreachableError) as caught:
            store_address(server.address(), Path()).open()
        assert "canary" not in str(caught.value)
