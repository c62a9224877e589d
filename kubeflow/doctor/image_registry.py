"""Looks up an image in its registry, by the Docker Registry HTTP API v2 (OCI's distribution specification).

Registries on loopback are called without TLS, as container engines do. Google's get the caller's own credentials, but
only if the server that hands out tokens for them is Google's too.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import requests

from kubeflow.doctor.credentials import access_token
from pipeline.hosts import host_of, is_google_registry, is_loopback, without_user
from pipeline.http import NO_CREDENTIAL, Answer, Client, Credential

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REFERENCE = re.compile(
    r"(?P<host>[A-Za-z0-9.-]+(?::[0-9]+)?)/(?P<name>[a-z0-9_-][a-z0-9._-]*(?:/[a-z0-9_-][a-z0-9._-]*)*)"
    r"(?::(?P<tag>[A-Za-z0-9_.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_TIMEOUT = 10.0  # seconds: the doctor is quick even if a registry does not answer
_MOST = 8 << 20  # bytes of an answer; manifests and configurations are kilobytes
_REDIRECTS = 5  # registries send blobs from another host


class ImageMissingError(LookupError):
    """The registry has no such image."""


class ImageRefusedError(PermissionError):
    """The registry requires other credentials."""


class UnreachableError(ConnectionError):
    """No answer, or not that of a registry; the message names the host and the cause."""


@dataclass(frozen=True)
class Image:
    """An image's registry, repository, and tag or digest."""

    host: str
    name: str
    reference: str


def parse_image(text: str) -> Image:
    """Splits an image's full name.

    Raises:
        ValueError: it names no registry, so each machine would look in another one.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or not ("." in match["host"] or ":" in match["host"] or match["host"] == "localhost"):
        raise ValueError(f"{without_user(text)}: expected REGISTRY/NAME:TAG, with the registry's host")
    return Image(match["host"], match["name"], match["digest"] or match["tag"] or "latest")


def labels_of(image: Image) -> dict[str, str]:
    """An image's labels; if it is for several platforms, those for linux/amd64.

    Raises:
        ImageMissingError: there is no such image, or none for linux/amd64.
        ImageRefusedError: the image may exist, but these credentials may not see it.
        UnreachableError: the registry does not answer, or not as a registry does.
    """
    session = _Session(image)
    manifest = session.manifest(image.reference)
    if "manifests" in manifest:
        platforms = {
            (m.get("platform", {}).get("os"), m.get("platform", {}).get("architecture")): m["digest"]
            for m in manifest["manifests"]
        }
        if ("linux", "amd64") not in platforms:
            raise ImageMissingError("it exists, but not for linux/amd64")
        manifest = session.manifest(str(platforms["linux", "amd64"]))
    try:
        digest = str(manifest["config"]["digest"])
    except (KeyError, TypeError) as error:
        raise UnreachableError(f"{image.host}: the manifest has no config") from error
    config = session.json(f"blobs/{digest}", "*/*", digest)
    labels: dict[str, str] = (config.get("config") or {}).get("Labels") or {}
    return labels


class _Session:
    def __init__(self, image: Image):
        self.image = image
        self.local = is_loopback(image.host.split(":")[0])
        self.base = f"{'http' if self.local else 'https'}://{image.host}/v2/{image.name}/"
        self.client = Client(_TIMEOUT, redirects=_REDIRECTS, most=_MOST)
        self.credential = NO_CREDENTIAL

    def manifest(self, reference: str) -> dict[str, Any]:
        digest = reference if reference.startswith("sha256:") else ""
        return self.json(f"manifests/{reference}", ", ".join(_MANIFESTS), digest)

    def json(self, path: str, accept: str, digest: str = "") -> dict[str, Any]:
        answer = self.ask(self.base + path, self.credential, headers={"Accept": accept})
        if answer.status == 401 and self.credential is NO_CREDENTIAL:
            self.credential = self._authorised(answer)
            answer = self.ask(self.base + path, self.credential, headers={"Accept": accept})
        if answer.status in (401, 403):
            raise ImageRefusedError(f"{self.image.host} answers {answer.status}")
        if answer.status == 404:
            raise ImageMissingError(f"{self.image.host} has no {self.image.name} {self.image.reference}")
        if answer.status != 200:
            raise UnreachableError(f"{self.image.host} answers {answer.status}")
        if digest and f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
            raise UnreachableError(f"{self.image.host}: the content sent for {digest} has another digest")
        try:
            content = answer.json()
        except ValueError as error:
            raise UnreachableError(f"{self.image.host}: its answer is not JSON") from error
        if not isinstance(content, dict):
            raise UnreachableError(f"{self.image.host}: its answer is not a JSON object")
        return content

    def ask(self, url: str, credential: Credential, **sent: Any) -> Answer:
        try:
            return self.client.send("GET", url, credential, **sent)
        except requests.RequestException as error:
            raise UnreachableError(f"{host_of(url)}: {str(error).splitlines()[0][:200]}") from error

    def _authorised(self, refusal: Answer) -> Credential:
        """The credential for the next request: a token from the server that the registry names, or none."""
        scheme, _, rest = refusal.headers.get("www-authenticate", "").partition(" ")
        said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = said.get("realm", "")
        if scheme.lower() != "bearer" or not realm:
            return self._own(self.base)
        if not realm.startswith("https://") and not (self.local and is_loopback(host_of(realm))):
            raise UnreachableError(f"{self.image.host}: it names an address without https:// for tokens")
        query = {name: said[name] for name in ("service", "scope") if name in said}
        answer = self.ask(realm, self._own(realm), params=query)
        try:
            given = answer.json() if answer.status == 200 else {}
            token = str(given.get("token") or given.get("access_token") or "")
        except (ValueError, AttributeError) as error:
            raise UnreachableError(f"{host_of(realm)}: its answer has no token") from error
        return Credential.bearer(token, self.base)

    def _own(self, url: str) -> Credential:
        """This machine's Google credentials, if both the registry and the host that asks for them are Google's."""
        if not is_google_registry(self.image.host.split(":")[0]) or not is_google_registry(host_of(url)):
            return NO_CREDENTIAL
        token = access_token()
        return Credential.basic("oauth2accesstoken", token, url) if token else NO_CREDENTIAL
