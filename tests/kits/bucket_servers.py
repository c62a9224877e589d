"""Servers of buckets on loopback, as they are: MinIO speaks S3, fake-gcs-server Google Cloud Storage's JSON API.

Both are built from their Go modules, whose go.mod here pins every part; Go's cache makes a second build a matter of
seconds. `tests/hares/buckets/conftest.py` has them as fixtures.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
MODULES = {"minio": TESTS / "cluster/minio", "fake-gcs-server": TESTS / "kits/servers/fake_gcs_server"}
BUCKET = "audio"
_START_SECONDS = 60.0


def missing() -> str:
    """Why the servers cannot be built here, or nothing."""
    return "" if shutil.which("go") else "the servers of buckets are built by Go, which is not installed"


def built(program: str) -> Path:
    """A server's program."""
    into = TESTS.parent / "build/servers"
    into.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(into), "tool"],
        cwd=MODULES[program], env={**os.environ, "CGO_ENABLED": "0"}, check=True,
    )  # fmt: skip
    return into / program


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Server:
    """A server of one bucket, `audio`.

    Attributes:
        scheme: "s3" or "gs".
        port: on 127.0.0.1.
        environment: what a client needs to find it.
    """

    scheme: str
    port: int
    command: list[str]
    ready: str
    own: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _client: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def address(self, folder: str = "") -> str:
        return f"{self.scheme}://{BUCKET}/{folder}".rstrip("/")

    def start(self) -> None:
        self._process = subprocess.Popen(
            self.command, env={**os.environ, **self.own}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"{self.url}{self.ready}", timeout=5):
                    return
            except (OSError, urllib.error.URLError):
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self) -> Any:
        """The vendor's client, straight to the server, to write what the tests read."""
        self._client = self._client or self._made()
        return self._client

    def _made(self) -> Any:
        if self.scheme == "s3":
            import botocore.session

            return botocore.session.get_session().create_client(
                "s3", endpoint_url=self.url, aws_access_key_id=self.own["MINIO_ROOT_USER"],
                aws_secret_access_key=self.own["MINIO_ROOT_PASSWORD"], region_name="us-east-1",
            )  # fmt: skip
        from google.auth.credentials import AnonymousCredentials
        from google.cloud.storage import Client

        return Client("none", AnonymousCredentials(), client_options={"api_endpoint": self.url})

    def make_bucket(self) -> None:
        client = self.client()
        if self.scheme == "s3":
            client.create_bucket(Bucket=BUCKET)
        else:
            client.create_bucket(BUCKET)

    def put(self, key: str, content: bytes) -> None:
        client = self.client()
        if self.scheme == "s3":
            client.put_object(Bucket=BUCKET, Key=key, Body=content)
        else:
            client.bucket(BUCKET).blob(key).upload_from_string(content)

    def delete(self, key: str) -> None:
        client = self.client()
        if self.scheme == "s3":
            client.delete_object(Bucket=BUCKET, Key=key)
        else:
            client.bucket(BUCKET).blob(key).delete()

    def upload(self, folder: Path, to: str) -> int:
        """Puts a folder's files below a prefix; returns their number."""
        from concurrent.futures import ThreadPoolExecutor

        files = [path for path in folder.rglob("*") if path.is_file()]
        client = self.client()

        def one(path: Path) -> None:
            key = f"{to}/{path.relative_to(folder).as_posix()}"
            if self.scheme == "s3":
                client.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())
            else:
                client.bucket(BUCKET).blob(key).upload_from_filename(str(path))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, files))
        return len(files)


def minio(folder: Path) -> Server:
    port, user, password = free_port(), "hares-test", secrets.token_hex(16)
    command = [str(built("minio")), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(folder)]
    # Without a browser, updates and the check of free room, on a disk that tests share.
    own = {
        "MINIO_ROOT_USER": user, "MINIO_ROOT_PASSWORD": password, "MINIO_BROWSER": "off", "MINIO_UPDATE": "off",
        "MINIO_CI_CD": "1",
    }  # fmt: skip
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": user,
        "AWS_SECRET_ACCESS_KEY": password, "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
    }  # fmt: skip
    return Server("s3", port, command, "/minio/health/live", own, environment)


def fake_gcs(folder: Path) -> Server:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        str(built("fake-gcs-server")), "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend",
        "filesystem", "-filesystem-root", str(folder), "-external-url", url, "-public-host", f"127.0.0.1:{port}",
        "-log-level", "error",
    ]  # fmt: skip
    return Server("gs", port, command, "/storage/v1/b", environment={"STORAGE_EMULATOR_HOST": url})


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server for the time of the block, with its bucket."""
    try:
        server.start()
        server.make_bucket()
        yield server
    finally:
        server.kill()
