"""Real MariaDB and PostgreSQL servers on loopback, each with a temporary data folder of its own.

A server here can be killed as a crash kills it, and started again on the data that it left. Where one is not installed
(Debian: mariadb-server, postgresql), the test that asks for it is skipped with the reason.
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from kits.certificates import Certificates
from pipeline.lineage.connection import PASSWORD_VARIABLE, StoreUnreachableError, store_address

KINDS = ("mariadb", "postgresql")
SCHEMES = {"mariadb": "mysql", "postgresql": "postgresql"}
ANSWERS_WITHIN = 120  # seconds, on a machine that others keep busy


@dataclass
class DatabaseServer:
    """A server with the user `hares`, who may make databases and whose password tests hand over in the environment."""

    kind: str
    command: list[str]
    user: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def address(self, database: str = "hares") -> str:
        """As `--metadata` takes it."""
        return f"{SCHEMES[self.kind]}://hares@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it answers; the password must be in the environment."""
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                self.command, user=self.user, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
            )
        deadline = time.monotonic() + ANSWERS_WITHIN
        while True:
            try:
                store_address(self.address(), Path()).open()
                return
            except StoreUnreachableError as error:
                assert self.process.poll() is None, (self.folder / "log").read_text(errors="replace")[-2000:]
                assert time.monotonic() < deadline, f"the server does not answer: {error}"
                time.sleep(0.2)

    def kill(self) -> None:
        """Kill -9 of the server with all its processes."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """Stops it without waiting for its clients."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if self.kind == "postgresql" else signal.SIGTERM)
            self.process.wait(timeout=60)


@contextmanager
def database_server(kind: str, password: str, tls: Certificates | None = None) -> Iterator[DatabaseServer]:
    """A server of that kind that answers, with HARES_METADATA_PASSWORD set; stopped and removed afterwards.

    With certificates it can be spoken to with TLS too.
    """
    user = _server_user()
    folder = Path(
        tempfile.mkdtemp(prefix="hares-db-")
    )  # short: a socket's path has a hundred letters at most
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD_VARIABLE, password)
        try:
            if os.geteuid() == 0:
                shutil.chown(folder, user)
            install = _mariadb if kind == "mariadb" else _postgresql
            port = free_port()
            command = [*install(folder, user, port, password), *_tls(kind, folder, user, tls)]
            server = DatabaseServer(kind, command, user, port, folder)
            try:
                server.start()
                yield server
            finally:
                server.stop()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _tls(kind: str, folder: Path, user: str, tls: Certificates | None) -> list[str]:
    """The server's flags; it wants a key that nobody else can read."""
    if tls is None:
        return []
    for source in (tls.key, tls.certificate):
        place = folder / source.name
        shutil.copy(source, place)
        place.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(place, user)
    key, certificate = folder / tls.key.name, folder / tls.certificate.name
    if kind == "mariadb":
        return [f"--ssl-key={key}", f"--ssl-cert={certificate}"]
    return ["-c", "ssl=on", "-c", f"ssl_key_file={key}", "-c", f"ssl_cert_file={certificate}"]


def _mariadb(folder: Path, user: str, port: int, password: str) -> list[str]:
    server, install = _program("mariadbd", "usr/sbin"), _program("mariadb-install-db", "usr/bin")
    base = str(Path(server).parents[1])
    common = ["--no-defaults", f"--basedir={base}", f"--datadir={folder / 'data'}"]
    subprocess.run(
        [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
        check=True, capture_output=True, user=user, cwd=folder,
    )  # fmt: skip
    start = folder / "init.sql"
    quoted = password.replace("\\", "\\\\").replace("'", "\\'")
    who = "hares@'127.0.0.1'"
    start.write_text(
        f"CREATE USER IF NOT EXISTS {who} IDENTIFIED BY '{quoted}';\nGRANT ALL ON *.* TO {who};\n"
    )
    place = ["--bind-address=127.0.0.1", f"--port={port}", f"--socket={folder / 's'}", f"--init-file={start}"]
    return [server, *common, *place]


def _postgresql(folder: Path, user: str, port: int, password: str) -> list[str]:
    binaries = "usr/lib/postgresql/*/bin"
    server, install = _program("postgres", binaries), _program("initdb", binaries)
    (folder / "password").write_text(password)
    (folder / "password").chmod(0o644)
    subprocess.run(
        [install, "-D", str(folder / "data"), "-U", "hares", f"--pwfile={folder / 'password'}", "-A",
         "scram-sha-256", "--no-sync"],
        check=True, capture_output=True, user=user, cwd=folder,
    )  # fmt: skip
    return [server, "-D", str(folder / "data"), "-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]


def _program(name: str, folder: str) -> str:
    places = map(str, sorted(Path("/").glob(folder)))
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *places]))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def _server_user() -> str:
    """Servers refuse to run as root."""
    if os.geteuid() != 0:
        return getpass.getuser()
    try:
        return pwd.getpwnam("nobody").pw_name
    except KeyError:
        pytest.skip("servers do not run as root, and there is no user 'nobody'")
