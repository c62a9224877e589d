"""Bearer tokens for clusters: servers that send them on, `.netrc`, plain text, addresses with a password in them."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google.auth
import pytest
import requests
import yaml

from kits.hostile_web import Strangers, in_json, redirect, web_fixture  # noqa: F401
from kits.kfp_server import TOKEN
from kits.kfp_server import serving as serving_kubeflow
from kits.vertex_kit import settings
from kits.vertex_server import serving
from kubeflow.cluster_file import load_cluster
from kubeflow.clusters import Failure, ServiceConfig, ServiceError, open_service
from kubeflow.kfp.service import KfpService
from kubeflow.vertex.service import VertexService
from pipeline.http import Client
from pipeline.lineage.importing.recorded import ImportFailedError
from pipeline.lineage.importing.rest import GivenToken, GoogleToken, Patience, RestClient

SECRET = "canary-token"
ONCE = {"timeout_seconds": 10.0, "retries": 0, "backoff_seconds": 0.0}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARES_TEST_SECRET", SECRET)


def kubeflow_client(host: str, ca: Path) -> Callable[[], Any]:
    config = ServiceConfig(host=host, ca_file=str(ca), token_env="HARES_TEST_SECRET", **ONCE)
    return lambda: KfpService(config).runs(1)


def vertex_client(host: str, ca: Path) -> Callable[[], Any]:
    config = ServiceConfig(
        project="p",
        region="europe-west4",
        endpoint=host,
        pipeline_root="gs://b/h",
        token_env="HARES_TEST_SECRET",
        **ONCE,
    )
    return lambda: VertexService(config).runs(1)


def import_client(host: str, ca: Path) -> Callable[[], Any]:
    patience = Patience(10, 1, 0.0, 0.0)
    return lambda: RestClient(host, GivenToken(variable="HARES_TEST_SECRET"), patience).get("projects/p")


CLIENTS = pytest.mark.parametrize("client", [kubeflow_client, vertex_client, import_client])
REFUSED = (ServiceError, ImportFailedError, ValueError)


@CLIENTS
@pytest.mark.parametrize("host", ["http://kfp.example", "http://kfp.example:80/prefix", "HTTP://kfp.example"])
def test_no_token_is_sent_without_tls(web: Strangers, client: Callable[..., Any], host: str) -> None:
    with pytest.raises(REFUSED) as caught:
        client(host, web.ca)()
    assert not web.asked and SECRET not in str(caught.value)


@CLIENTS
@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "http://kfp.example/", "//evil.example/x", "https://gcr.io/apis/v2beta1/runs"],
)
@pytest.mark.parametrize("status", [302, 307])
def test_no_redirection_takes_a_token_along(
    web: Strangers, client: Callable[..., Any], target: str, status: int
) -> None:
    web.answer = lambda asked: redirect(target, status) if asked.host == "kfp.example" else in_json({})
    with pytest.raises(REFUSED):
        client("https://kfp.example", web.ca)()
    assert web.brought(SECRET) == {"https://kfp.example"} == {asked.origin for asked in web.asked}


@CLIENTS
@pytest.mark.parametrize(
    "host",
    [
        "https://user:canary@kfp.example", "https://canary@kfp.example", "ftp://user:canary@kfp.example",
        "https://kfp.example\\@evil.example/", "https:user:canary@kfp.example", "https://user:ca/nary@kfp.example",
        "https://kfp.example?token=canary", "https://kfp.example#canary",
    ],
)  # fmt: skip
def test_an_address_with_a_password_is_refused_and_not_repeated(
    web: Strangers, client: Callable[..., Any], host: str
) -> None:
    with pytest.raises(REFUSED) as caught:
        client(host, web.ca)()
    assert not web.asked and "canary" not in str(caught.value)


def test_a_redirection_is_the_answer_or_is_followed(web: Strangers) -> None:
    """As a registry sends a client to its storage, and a gateway to a login page."""
    web.answer = lambda asked: (
        redirect("https://evil.example/x") if asked.host == "kfp.example" else in_json({"a": 1})
    )
    answer = Client(10.0, str(web.ca)).send("GET", "https://kfp.example/")
    assert (answer.status, answer.headers["location"]) == (302, "https://evil.example/x")
    assert Client(10.0, str(web.ca), redirects=1).send("GET", "https://kfp.example/").json() == {"a": 1}
    with pytest.raises(requests.TooManyRedirects, match="more than 2"):
        web.answer = lambda asked: redirect("https://kfp.example/")
        Client(10.0, str(web.ca), redirects=2).send("GET", "https://kfp.example/")


@pytest.mark.parametrize(
    ("target", "group"),
    [
        ("kubeflow", {"host": "https://user:canary@kfp.example"}),
        ("kubeflow", {"host": "ftp://user:canary@kfp.example"}),
        ("kubeflow", {"host": "https://kfp.example", "pipeline_root": "s3://user:canary@bucket/hares"}),
        ("vertex", {"endpoint": "https://user:canary@kfp.example"}),
        ("vertex", {"endpoint": "http://kfp.example"}),
        ("kubeflow", {"host": "http://kfp.example", "token_file": "/run/secrets/token"}),
    ],
)
def test_a_cluster_file_is_refused_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, group: dict[str, str]
) -> None:
    monkeypatch.setenv("HARES_CLUSTER_TOKEN", SECRET)
    needed = (
        {"project": "p", "region": "europe-west4", "pipeline_root": "gs://b/h"} if target == "vertex" else {}
    )
    file = tmp_path / "cluster.yaml"
    file.write_text(yaml.safe_dump({"service": {**needed, **group}}))
    with pytest.raises(ValueError, match=r"service\.|credential") as caught:
        open_service(target, file)
    assert "canary" not in str(caught.value)


def test_a_pipeline_root_with_a_password_is_refused_at_compiling(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    root = "minio://user:canary@bucket/hares"
    file.write_text(yaml.safe_dump({"image": "h.io/x:1", "pipeline_root": root, "workspace": "/w"}))
    with pytest.raises(ValueError, match="pipeline_root") as caught:
        load_cluster(file, "kubeflow")
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("entry", ["machine 127.0.0.1", "default"])
def test_netrc_does_not_replace_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    """The servers take their own token and nothing else."""
    (tmp_path / "netrc").write_text(f"{entry} login user password netrc-password\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HARES_CLUSTER_TOKEN", TOKEN)
    with serving_kubeflow() as kubeflow:
        assert KfpService(ServiceConfig(host=kubeflow.url, **ONCE)).runs(1) == []
    with serving() as vertex:
        assert VertexService(settings(vertex, tmp_path, retries=0)).runs(1) == []


@CLIENTS
@pytest.mark.parametrize("token", [SECRET, ""])
def test_netrc_sends_no_password_of_its_own(
    web: Strangers, client: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    """Not to the host, with a token or without, nor to where it sends us on."""
    if not token and client is not kubeflow_client:
        pytest.skip("this client has always a token")
    monkeypatch.setenv("HARES_TEST_SECRET", token)
    names = "".join(f"machine {name} login user password netrc\n" for name in ("kfp.example", "evil.example"))
    (tmp_path / "netrc").write_text(names)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    web.answer = lambda asked: (
        redirect("https://evil.example/") if asked.host == "kfp.example" else in_json({})
    )
    with pytest.raises(REFUSED):
        client("https://kfp.example", web.ca)()
    assert web.asked and {asked.authorization for asked in web.asked} == {f"Bearer {token}" if token else ""}


class _GoogleCredentials(google.auth.credentials.Credentials):  # type: ignore[misc]
    """This machine's own, as google.auth would find them."""

    def __init__(self) -> None:
        super().__init__()
        self.token = SECRET

    def refresh(self, request: object) -> None:
        """Gives the same again."""


@pytest.mark.parametrize(
    "host", ["https://evil.example", "https://evilgoogleapis.com", "https://googleapis.com.evil.example"]
)
def test_this_machine_s_google_credentials_go_to_google_alone(
    web: Strangers, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """A cluster file of a stranger may name any endpoint."""
    monkeypatch.setattr(google.auth, "default", lambda scopes=None: (_GoogleCredentials(), "p"))
    config = ServiceConfig(project="p", region="europe-west4", endpoint=host, token_env="", **ONCE)
    with pytest.raises(ServiceError) as caught:
        VertexService(config).runs(1)
    with pytest.raises(ImportFailedError):
        RestClient(host, GoogleToken(), Patience(10, 1, 0.0, 0.0)).get("projects/p")
    assert not web.asked and caught.value.failure is Failure.UNAUTHENTICATED


def test_google_s_own_endpoint_gets_them(web: Strangers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(google.auth, "default", lambda scopes=None: (_GoogleCredentials(), "p"))
    web.answer = lambda asked: in_json({})
    config = ServiceConfig(project="p", region="europe-west4", token_env="", **ONCE)
    assert VertexService(config).runs(1) == []
    endpoint = "https://europe-west4-aiplatform.googleapis.com"
    RestClient(endpoint, GoogleToken(), Patience(10, 1, 0.0, 0.0)).get("projects/p")
    assert web.brought(SECRET) == {endpoint} and len(web.asked) == 2


@pytest.mark.parametrize(
    "content", ["-----BEGIN PRIVATE KEY-----\ncanary\n", "user canary", "x\r\nX-Other: canary", "canary€"]
)
def test_a_file_that_holds_no_token_is_not_sent(web: Strangers, tmp_path: Path, content: str) -> None:
    (tmp_path / "file").write_text(content)
    config = ServiceConfig(
        host="https://kfp.example",
        ca_file=str(web.ca),
        token_env="",
        token_file=str(tmp_path / "file"),
        **ONCE,
    )
    with pytest.raises(ServiceError) as caught:
        KfpService(config).runs(1)
    assert not web.asked and "canary" not in str(caught.value)


def test_an_answer_without_an_end_is_ended() -> None:
    """Before it fills the memory: the limit is what a client says, or 256 MiB."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n")
            with contextlib.suppress(OSError):
                while True:
                    self.request.sendall(b"x" * 65536)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(requests.RequestException, match="bytes"):
            Client(10.0, most=1 << 20).send("GET", f"http://127.0.0.1:{server.server_address[1]}/")
        server.shutdown()
