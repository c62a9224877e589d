"""Every way in to Kubeflow, each against a server that lets nobody in by another."""

from __future__ import annotations

import logging
import ssl
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kits.certificates import Certificates, make_certificates
from kits.kfp_server import KfpServer, kfp, serving
from kubeflow.clusters import Failure, PipelineService, ServiceError, open_service
from kubeflow.vertex.service import VertexService

__all__ = ["kfp"]
CANARY = "canary-of-the-session"
LOGIN = "https://dex.example/dex/auth?client_id=kubeflow&state=canary-of-the-state"


@pytest.fixture(autouse=True)
def no_token(
    kfp: KfpServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """No token but what a test gives; and no secret in a log, however much is logged."""
    monkeypatch.delenv("HARES_CLUSTER_TOKEN")
    caplog.set_level(logging.DEBUG)
    yield
    assert "canary" not in caplog.text


def service(folder: Path, host: str, **settings: Any) -> PipelineService:
    """As the commands open it, from a cluster file."""
    file = folder / "cluster.yaml"
    file.write_text(yaml.safe_dump({"service": {"host": host, "retries": 0, **settings}}))
    return open_service("kubeflow", file)


def program(path: Path, code: str) -> str:
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def refused(opened: PipelineService, failure: Failure, *words: str) -> None:
    with pytest.raises(ServiceError) as caught:
        opened.runs(1)
    assert caught.value.failure is failure
    assert all(word in str(caught.value) for word in words), caught.value
    assert "canary" not in str(caught.value)


def dex(headers: Any) -> tuple[int, dict[str, str]] | None:
    """As a gateway with Dex: who brings no good cookie is sent to its login page, whatever else he brings."""
    known = f"oauth2_proxy_kubeflow={CANARY}" in (headers.get("Cookie") or "").split("; ")
    return None if known else (302, {"Location": LOGIN})


def test_a_program_prints_a_token_for_every_call(kfp: KfpServer, tmp_path: Path) -> None:
    """A token that is good for one call, as those of an hour are for a run of days."""
    code = (
        "import pathlib; p = pathlib.Path(__file__ + '.n'); n = int(p.read_text()) if p.exists() else 0\n"
        "p.write_text(str(n + 1)); print(f'token-{n}')"
    )
    used: set[str] = set()

    def once(headers: Any) -> tuple[int, dict[str, str]] | None:
        token = headers.get("Authorization", "")
        known = token.startswith("Bearer token-") and token not in used
        used.add(token)
        return None if known else (401, {})

    kfp.gate = once
    opened = service(tmp_path, kfp.url, token_command=[program(tmp_path / "login", code)])
    for _ in range(3):
        assert opened.runs(1) == []
    assert len(used) == 3


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(3)", "ended with 3 and printed no token"),
        ("print('canary'); raise SystemExit(1)", "ended with 1 and printed a token"),
        ("", "printed no token"),
        ("import time; print('canary', flush=True); time.sleep(60)", "did not end within 2 s"),
        ("print('a canary')", "characters that no token has"),
    ],
)
def test_a_program_that_gives_no_token(kfp: KfpServer, tmp_path: Path, code: str, words: str) -> None:
    command = [program(tmp_path / "login", code)]
    opened = service(tmp_path, kfp.url, token_command=command, timeout_seconds=2)
    with pytest.raises(ServiceError, match=words) as caught:
        opened.runs(1)
    assert "canary" not in str(caught.value) and not kfp.got


def test_a_program_that_does_not_exist(kfp: KfpServer, tmp_path: Path) -> None:
    refused(
        service(tmp_path, kfp.url, token_command=[str(tmp_path / "none")]),
        Failure.UNAUTHENTICATED, "service.token_command", "none cannot be run: No such file",
    )  # fmt: skip


@pytest.mark.parametrize("jar", [False, True])
def test_the_cookie_of_a_session(kfp: KfpServer, tmp_path: Path, jar: bool) -> None:
    """As a browser shows it, or as curl keeps it; among cookies of others, which are not sent."""
    kfp.gate = dex
    line = f"oauth2_proxy_kubeflow={CANARY}; other=1\n"
    kept = (
        "# Netscape HTTP Cookie File\n\n"
        f"#HttpOnly_127.0.0.1\tFALSE\t/\tFALSE\t0\toauth2_proxy_kubeflow\t{CANARY}\n"
        f"127.0.0.1\tFALSE\t/\tFALSE\t{int(time.time()) + 60}\tother\t1\n"
        "evil.example\tFALSE\t/\tFALSE\t0\tstranger\tx\n"
        "127.0.0.1\tFALSE\t/\tTRUE\t0\tfor_tls_alone\tx\n"
    )
    (tmp_path / "cookies").write_text(kept if jar else line)
    seen: list[str] = []
    kfp.gate = lambda headers: seen.append(headers["Cookie"]) or dex(headers)
    assert service(tmp_path, kfp.url, cookie_file=str(tmp_path / "cookies")).runs(1) == []
    assert seen == [f"oauth2_proxy_kubeflow={CANARY}; other=1"]


def test_a_session_that_has_ended_is_said_so_and_the_next_one_is_taken_up(
    kfp: KfpServer, tmp_path: Path
) -> None:
    kfp.gate = dex
    cookies = tmp_path / "cookies"
    cookies.write_text("oauth2_proxy_kubeflow=canary-of-yesterday")
    opened = service(tmp_path, kfp.url, cookie_file=str(cookies))
    page = "redirected to the login page https://dex.example/dex/auth;"
    refused(opened, Failure.UNAUTHENTICATED, page, "has ended", "service.cookie_file", "log in again")
    cookies.write_text(f"oauth2_proxy_kubeflow={CANARY}")
    assert opened.runs(1) == []


def test_a_login_page_says_what_else_there_is(
    kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kfp.gate = dex
    refused(
        service(tmp_path, kfp.url), Failure.UNAUTHENTICATED, "service.token_command", "service.cookie_file"
    )
    monkeypatch.setenv("HARES_CLUSTER_TOKEN", "canary")
    refused(service(tmp_path, kfp.url), Failure.UNAUTHENTICATED, "audience", "service.cookie_file")


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ("127.0.0.1\tFALSE\t/\tFALSE\t1700000000\ta\tcanary\n", "its cookies for 127.0.0.1 have expired"),
        ("evil.example\tTRUE\t/\tFALSE\t0\ta\tcanary\n", "it has no cookie for 127.0.0.1"),
        ("", "is empty"),
    ],
)
def test_a_jar_without_a_cookie_for_the_host(kfp: KfpServer, tmp_path: Path, kept: str, words: str) -> None:
    (tmp_path / "jar").write_text(kept)
    refused(service(tmp_path, kfp.url, cookie_file=str(tmp_path / "jar")), Failure.UNAUTHENTICATED, words)
    assert not kfp.got


def test_further_headers(kfp: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of Google's Identity-Aware Proxy, and of a gateway that trusts a name from inside the mesh."""
    wanted = {
        "Proxy-Authorization": "Bearer canary-iap",
        "X-Api-Key": "canary-key",
        "kubeflow-userid": "me@example.org",
    }
    kfp.gate = lambda headers: None if wanted.items() <= dict(headers).items() else (403, {})
    key = tmp_path / "key"
    key.write_text("canary-key\n")
    given = {
        "Proxy-Authorization": "env:IAP",
        "X-Api-Key": f"file:{key}",
        "kubeflow-userid": "me@example.org",
    }
    opened = service(tmp_path, kfp.url, headers=given)
    refused(opened, Failure.UNAUTHENTICATED, "service.headers.Proxy-Authorization", "IAP is not set")
    monkeypatch.setenv("IAP", "Bearer canary-iap")
    assert opened.runs(1) == []
    key.write_text("another canary\nof two lines")
    refused(opened, Failure.INVALID, "X-Api-Key", "characters that no header has")
    key.unlink()
    refused(opened, Failure.UNAUTHENTICATED, "service.headers.X-Api-Key", "cannot be read")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ours"))


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
def mutual(
    request: pytest.FixtureRequest, ours: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KfpServer]:
    """A server that wants a certificate of its authority, in either version of TLS, and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ours.certificate, ours.key)
    context.load_verify_locations(ours.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    context.minimum_version = context.maximum_version = request.param
    with serving(context) as server:
        server.gate = lambda headers: None
        yield server


def test_a_client_certificate(mutual: KfpServer, ours: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(ours.certificate.read_bytes() + ours.key.read_bytes())
    ca = {"ca_file": str(ours.ca)}
    pair = {"client_certificate": str(ours.certificate), "client_key": str(ours.key)}
    assert service(tmp_path, mutual.url, **ca, **pair).runs(1) == []
    assert service(tmp_path, mutual.url, **ca, client_certificate=str(both)).runs(1) == []


def test_no_client_certificate_or_a_strange_one(
    mutual: KfpServer, ours: Certificates, tmp_path: Path
) -> None:
    (tmp_path / "others").mkdir()
    others = make_certificates(tmp_path / "others")
    pair = {"client_certificate": str(others.certificate), "client_key": str(others.key)}
    wanted = ("wants a client certificate that it trusts", "service.client_certificate")
    refused(service(tmp_path, mutual.url, ca_file=str(ours.ca)), Failure.UNREACHABLE, *wanted)
    refused(service(tmp_path, mutual.url, ca_file=str(ours.ca), **pair), Failure.UNREACHABLE, *wanted)
    refused(service(tmp_path, mutual.url), Failure.UNREACHABLE, "is not trusted", "service.ca_file")
    assert not mutual.things["experiments"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"token_file": "t", "token_command": ["x"]}, "give one of them"),
        ({"token_command": ["login", "--password=canary"]}, r"service\.token_command: there is a password"),
        ({"headers": {"X": "token=canary"}}, r"service\.headers.*there is a password or key in it"),
        (
            {"headers": {"Authorization": "Bearer canary"}},
            r"service\.headers\.Authorization: give service\.token",
        ),
        ({"headers": {"cookie": "a=canary"}}, "give service.cookie_file"),
        ({"headers": {"a b": "c"}}, "names of headers"),
        ({"headers": {"X-Key": 7}}, "accepted is text"),
        ({"client_key": "k"}, "service.client_certificate beside it"),
        ({"client_certificate": "/none.pem"}, "client_certificate: there is no file /none.pem"),
        ({"host": "http://kfp.example", "cookie_file": "c"}, "not sent unencrypted"),
        ({"host": "http://kfp.example", "headers": {"X-Key": "env:K"}}, "not sent unencrypted"),
        ({"host": "http://kfp.example", "token_command": ["login"]}, "not sent unencrypted"),
    ],
)
def test_settings_are_refused_before_anything_is_sent(
    kfp: KfpServer, tmp_path: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        service(tmp_path, **{"host": kfp.url, **settings})
    assert "canary" not in str(caught.value) and not kfp.got


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_key_that_fits_not_or_has_a_password(tmp_path: Path, ours: Certificates, encrypted: bool) -> None:
    from cryptography.hazmat.primitives import serialization

    (tmp_path / "others").mkdir()
    key = make_certificates(tmp_path / "others").key
    if encrypted:
        plain = serialization.load_pem_private_key(ours.key.read_bytes(), None)
        hidden = serialization.BestAvailableEncryption(b"canary")
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden)
        key.write_bytes(plain.private_bytes(*form))
    words = "needs a password" if encrypted else "certificate and key in PEM"
    with pytest.raises(ValueError, match=words):
        service(
            tmp_path, "https://kfp.example", client_certificate=str(ours.certificate), client_key=str(key)
        )


def test_vertex_takes_a_token_from_a_program_too(tmp_path: Path) -> None:
    from kits.vertex_kit import settings
    from kits.vertex_server import serving as serving_vertex

    with serving_vertex() as vertex:
        given = settings(vertex, tmp_path, token_command=(program(tmp_path / "login", "print('secret')"),))
        (tmp_path / "token").unlink()
        object.__setattr__(given, "token_file", "")
        assert VertexService(given).runs(1) == []
        step = given.without_own_files()
        assert (step.token_command, step.project) == ((), "hares-test")
