"""A loopback server, and a good set-up for each target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from hares.version_lines import this_lock, version_lines
from kits.doctor_setups import BASE, Loopback, Setup, git, serving

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    with serving() as held:
        yield held


@pytest.fixture(scope="session")
def key_text() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(params=["kubeflow", "vertex"])
def setup(request: pytest.FixtureRequest, vertex_or_kubeflow: dict[str, Setup]) -> Setup:
    return vertex_or_kubeflow[request.param]


@pytest.fixture
def vertex_or_kubeflow(
    tmp_path: Path, loopback: Loopback, key_text: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Setup]:
    """A good set-up for each target; credentials and storage are the loopback server's."""
    key = {
        "type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": key_text,
        "client_email": "hares@p.example.org", "token_uri": f"http://{loopback.address}/token",
    }  # fmt: skip
    (tmp_path / "key.json").write_text(json.dumps(key))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://{loopback.address}")
    monkeypatch.delenv("HARES_METADATA", raising=False)
    for name in ("project", "workspace", "components"):
        (tmp_path / name).mkdir()
    project = tmp_path / "project"
    for line in version_lines():
        (project / line.lock).write_bytes((PROJECT / line.lock).read_bytes())
    git(project, "init", "--quiet")
    git(project, "add", "-A")
    git(project, "commit", "--quiet", "-m", "all")
    labels = {
        "hares.lock.sha256": hashlib.sha256((project / this_lock()).read_bytes()).hexdigest(),
        "org.opencontainers.image.revision": git(project, "rev-parse", "HEAD"),
        "org.opencontainers.image.base.digest": BASE,
        "hares.accelerator": "GPU",
    }
    loopback.push("hares/pipeline:1", labels)
    setups = {target: Setup(target, tmp_path, loopback) for target in ("kubeflow", "vertex")}
    return setups
