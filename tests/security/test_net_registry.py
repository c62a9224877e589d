"""Registries of strangers, and Google's that send us elsewhere: where Google's token arrives."""

from __future__ import annotations

import contextlib
import hashlib
import json

import pytest

from kits.hostile_web import Answer, Asked, Strangers, in_json, redirect, web_fixture  # noqa: F401
from kubeflow.doctor import image_registry
from kubeflow.doctor.image_registry import labels_of, parse_image

TOKEN = "canary-google"  # in base64, since it goes as a password
GOOGLE = "europe-docker.pkg.dev"


@pytest.fixture(autouse=True)
def google_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_registry, "access_token", lambda: TOKEN)


def arrived(web: Strangers) -> set[str]:
    """Where Google's token arrived, plain or as the password of `oauth2accesstoken`."""
    import base64

    basic = base64.b64encode(f"oauth2accesstoken:{TOKEN}".encode()).decode()
    return web.brought(TOKEN) | web.brought(basic)


def asks_for_a_token(realm: str) -> Answer:
    return 401, {"WWW-Authenticate": f'Bearer realm="{realm}",service="s",scope="pull"'}, b""


def ask(image: str) -> None:
    """As the doctor does; what comes of it does not matter here."""
    with contextlib.suppress(ValueError, LookupError, OSError):
        labels_of(parse_image(image))


@pytest.mark.parametrize(
    "host",
    ["evilgcr.io", "evil.example", "gcr.io.evil.example", "pkg.dev", "xpkg.dev", "pkg.dev.evil.example"],
)
@pytest.mark.parametrize("scheme", ["Bearer", "Basic"])
def test_a_stranger_s_registry_gets_no_token(web: Strangers, host: str, scheme: str) -> None:
    web.answer = lambda asked: (401, {"WWW-Authenticate": f'{scheme} realm="https://{host}/token"'}, b"")
    ask(f"{host}/hares/pipeline:1")
    assert web.asked and not arrived(web)


@pytest.mark.parametrize(
    "name",
    [
        "evil.example?.gcr.io/hares/pipeline:1", "evil.example#.pkg.dev/pipeline:1",
        "evil.example:443?.gcr.io/hares/pipeline:1", "evil.example\\.gcr.io/pipeline:1",
        "user:canary@gcr.io/hares/pipeline:1", "evil.example%2f.gcr.io/pipeline:1", "gcr.io/../pipeline:1",
        "gcr.io/hares/pipeline:1\n",
    ],
)  # fmt: skip
def test_a_name_that_parsers_read_differently_is_none(web: Strangers, name: str) -> None:
    with pytest.raises(ValueError, match="expected REGISTRY/NAME") as caught:
        labels_of(parse_image(name))
    assert not web.asked and "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "realm",
    [
        "https://evil.example/token", "http://gcr.io/token", f"http://{GOOGLE}/token", "https://evilgcr.io/token",
        "https://gcr.io.evil.example/token", "https://gcr.io@evil.example/token", "//evil.example/token",
        "https://evil.example#gcr.io/token", "https://evil.example/?.gcr.io",
    ],
)  # fmt: skip
def test_google_s_registry_cannot_pass_the_token_on(web: Strangers, realm: str) -> None:
    web.answer = lambda asked: asks_for_a_token(realm)
    ask(f"{GOOGLE}/hares/pipeline:1")
    assert web.asked and arrived(web) <= {f"https://{GOOGLE}"}


def test_google_s_own_realm_gets_it(web: Strangers) -> None:
    config = json.dumps({"config": {"Labels": {"a": "b"}}}).encode()
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"

    def answer(asked: Asked) -> Answer:
        if asked.path.startswith("/token?"):
            return in_json({"token": "registry-token"})
        if asked.authorization != "Bearer registry-token":
            return asks_for_a_token(f"https://{asked.host}/token")
        return (200, {}, config) if "/blobs/" in asked.path else in_json({"config": {"digest": digest}})

    web.answer = answer
    assert labels_of(parse_image("gcr.io/hares/pipeline:1")) == {"a": "b"}
    assert arrived(web) == {"https://gcr.io"} == web.brought("registry-token")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/x",
        "http://gcr.io/x",
        "https://eu.gcr.io/x",
        "//evil.example/x",
        "http://evil.example/x",
    ],
)
@pytest.mark.parametrize("status", [302, 307])
def test_a_redirection_takes_no_token_along(web: Strangers, target: str, status: int) -> None:
    """Neither to another host nor to the same without TLS, for Google's token and for the registry's own."""

    def answer(asked: Asked) -> Answer:
        if asked.origin != "https://gcr.io":
            return 404, {}, b""
        if asked.path.startswith("/token?"):
            return in_json({"token": "registry-token"})
        return redirect(target, status) if asked.authorization else asks_for_a_token("https://gcr.io/token")

    web.answer = answer
    ask("gcr.io/hares/pipeline:1")
    assert arrived(web) | web.brought("registry-token") == {"https://gcr.io"}
    assert not [asked for asked in web.asked if not asked.encrypted], "TLS is not left"


def test_a_token_service_cannot_pass_it_on(web: Strangers) -> None:
    web.answer = lambda asked: (
        redirect("https://evil.example/token")
        if asked.path.startswith("/token")
        else asks_for_a_token("https://gcr.io/token")
    )
    ask("gcr.io/hares/pipeline:1")
    assert arrived(web) == {"https://gcr.io"}


def test_a_manifest_that_was_asked_for_by_digest_is_compared_with_it(web: Strangers) -> None:
    web.answer = lambda asked: in_json({"config": {"digest": "sha256:" + "0" * 64}})
    with pytest.raises(ConnectionError, match="another digest"):
        labels_of(parse_image("evil.example/hares/pipeline@sha256:" + "1" * 64))
