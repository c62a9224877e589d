"""Asks a registry about an image: the Docker Registry HTTP API v2, as OCI's distribution specification has it.

Registries on loopback are spoken to without TLS, as container engines do. Google's take the caller's own credentials.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from kubeflow.doctor.credentials import access_token
from kubeflow.doctor.http import Answer, UnreachableError, ask

_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_REFERENCE = re.compile(
    r"^(?P<host>[^/]+)/(?P<name>[a-z0-9._/-]+?)(?::(?P<tag>[\w.-]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)
_GOOGLE = (".pkg.dev", ".gcr.io", "gcr.io")


class ImageMissingError(LookupError):
    """The registry has no such image."""


class ImageRefusedError(PermissionError):
    """The registry wants other credentials."""


@dataclass(frozen=True)
class Image:
    """Where an image is: registry, repository, and tag or digest."""

    host: str
    name: str
    reference: str


def parse_image(text: str) -> Image:
    """An image's full name.

    Raises:
        ValueError: it names no registry, so that every machine would look for it somewhere else.
    """
    match = _REFERENCE.match(text)
    if match is None or not ("." in match["host"] or ":" in match["host"] or match["host"] == "localhost"):
        raise ValueError(f"{text}: expected REGISTRY/NAME:TAG, with the registry's host")
    return Image(match["host"], match["name"], match["digest"] or match["tag"] or "latest")


def labels_of(image: Image) -> dict[str, str]:
    """An image's labels; of one for several platforms, those of linux/amd64.

    Raises:
        ImageMissingError: no such image, or not for linux/amd64.
        ImageRefusedError: it may be there, and we may not see it.
        UnreachableError: the registry does not answer, or not as a registry does.
    """
    session = _Session(image)
    manifest = session.json(f"manifests/{image.reference}", ", ".join(_MANIFESTS))
    if "manifests" in manifest:
        platforms = {
            (m.get("platform", {}).get("os"), m.get("platform", {}).get("architecture")): m["digest"]
            for m in manifest["manifests"]
        }
        if ("linux", "amd64") not in platforms:
            raise ImageMissingError("it is there, and not for linux/amd64")
        manifest = session.json(f"manifests/{platforms['linux', 'amd64']}", ", ".join(_MANIFESTS))
    try:
        digest = str(manifest["config"]["digest"])
    except (KeyError, TypeError) as error:
        raise UnreachableError(f"{image.host}: its manifest has no config") from error
    config = session.json(f"blobs/{digest}", "*/*", digest)
    labels: dict[str, str] = (config.get("config") or {}).get("Labels") or {}
    return labels


class _Session:
    def __init__(self, image: Image):
        self.image = image
        local = image.host.split(":")[0] in ("localhost", "127.0.0.1")
        self.base = f"{'http' if local else 'https'}://{image.host}/v2/{image.name}/"
        self.headers: dict[str, str] = {}

    def json(self, path: str, accept: str, digest: str = "") -> dict[str, Any]:
        answer = ask("GET", self.base + path, {**self.headers, "Accept": accept})
        if answer.status == 401 and not self.headers:
            self.headers = self._authorised(answer)
            answer = ask("GET", self.base + path, {**self.headers, "Accept": accept})
        if answer.status in (401, 403):
            raise ImageRefusedError(f"{self.image.host} answers {answer.status}")
        if answer.status == 404:
            raise ImageMissingError(f"{self.image.host} has no {self.image.name} {self.image.reference}")
        if answer.status != 200:
            raise UnreachableError(f"{self.image.host} answers {answer.status}")
        if digest and f"sha256:{hashlib.sha256(answer.body).hexdigest()}" != digest:
            raise UnreachableError(f"{self.image.host}: what it sent for {digest} has another digest")
        try:
            content = json.loads(answer.body)
        except ValueError as error:
            raise UnreachableError(f"{self.image.host}: its answer is not JSON") from error
        if not isinstance(content, dict):
            raise UnreachableError(f"{self.image.host}: its answer is no JSON object")
        return content

    def _authorised(self, refusal: Answer) -> dict[str, str]:
        """What the next request carries: a token from where the registry says, or nothing."""
        scheme, _, rest = refusal.headers.get("www-authenticate", "").partition(" ")
        said = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        own = access_token() if self.image.host.endswith(_GOOGLE) else ""
        basic = base64.b64encode(f"oauth2accesstoken:{own}".encode()).decode()
        credentials: Mapping[str, str] = {"Authorization": f"Basic {basic}"} if own else {}
        if scheme.lower() != "bearer" or "realm" not in said:
            return dict(credentials)
        query = {name: said[name] for name in ("service", "scope") if name in said}
        answer = ask("GET", f"{said['realm']}?{urlencode(query)}", credentials)
        try:
            given = json.loads(answer.body) if answer.status == 200 else {}
        except ValueError:
            given = {}
        token = given.get("token") or given.get("access_token")
        return {"Authorization": f"Bearer {token}"} if token else {}
