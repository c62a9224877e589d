"""Every HTTP request of ours is sent here; Google's own clients get the session that is made here.

A credential goes only where `pipeline/hosts.py` allows, also after a redirection. `.netrc` is not read: requests would
send its password instead of a token, and also where no credential was given.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urljoin

import requests

from pipeline.hosts import CredentialRefusedError, host_of, is_loopback, may_receive, meant_for

_MOST = 256 << 20  # bytes of an answer; the largest are pages of a run's lineage, of megabytes
_BLOCK = 1 << 16
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:|-]+")
_HEADER_VALUE = re.compile(r"[!-~]([ !-~]*[!-~])?")

S = TypeVar("S", bound=requests.Session)


class Credential(requests.auth.AuthBase):
    """Puts headers on requests to the service that they are meant for, and on no other."""

    def __init__(self, headers: Mapping[str, str], meant: str):
        """Raises CredentialRefusedError: the service may get none, or a value cannot stand in a header."""
        self._headers, self._meant = dict(headers), meant_for(meant) if headers else ""
        for name, value in headers.items():
            if not _HEADER_VALUE.fullmatch(value):
                raise CredentialRefusedError(
                    f"the value of the header {name} has characters that no header has; was another file named?"
                )

    @classmethod
    def bearer(cls, token: str, meant: str, others: Mapping[str, str] | None = None) -> Credential:
        """A bearer token, or none where it is "", and other headers beside it.

        Raises:
            CredentialRefusedError: the service may get none, or the text is not a token, as of a wrong file.
        """
        if token and not _TOKEN.fullmatch(token):
            raise CredentialRefusedError(
                "the bearer token has characters that no token has; was another file named?"
            )
        return cls({**(others or {}), **({"Authorization": f"Bearer {token}"} if token else {})}, meant)

    @classmethod
    def basic(cls, user: str, password: str, meant: str) -> Credential:
        """A user and password. Raises CredentialRefusedError."""
        encoded = base64.b64encode(f"{user}:{password}".encode()).decode()
        return cls({"Authorization": f"Basic {encoded}"}, meant)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """As requests calls it, once for each request."""
        if self._headers and may_receive(str(request.url), self._meant):
            request.headers.update(self._headers)
        return request


NO_CREDENTIAL = Credential({}, "")


@dataclass(frozen=True)
class Answer:
    """Status, reason, headers (names in any case) and body of an answer."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ValueError."""
        return json.loads(self.body)


class _OwnRedirections(requests.Session):
    """A session that looks at no redirection: requests would raise at the first, followed or not."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Nowhere."""


class Client:
    """Sends requests and keeps connections open between them."""

    def __init__(
        self,
        timeout: float,
        ca_file: str = "",
        redirects: int = 0,
        most: int = _MOST,
        certificate: tuple[str, str] | None = None,
    ):
        """Opens nothing yet.

        Args:
            timeout: seconds for a connection, and for each part of an answer.
            ca_file: certificates that sign the hosts' own; the system's where empty.
            redirects: how many of a GET are followed; where none are, the redirection itself is the answer.
            most: bytes of an answer.
            certificate: files of our own certificate and its key, for hosts that ask for one. Every host that a
                redirection leads to may see them.
        """
        self._timeout, self._ca_file, self._redirects, self._most = timeout, ca_file, redirects, most
        self._session = careful(_OwnRedirections())
        self._session.cert = certificate

    def send(self, method: str, url: str, credential: Credential = NO_CREDENTIAL, **sent: Any) -> Answer:
        """Sends a request and returns the answer, whatever its status.

        Args:
            method: of HTTP.
            url: with scheme and host.
            credential: goes to the service that it is meant for, whatever `url` and redirections say.
            sent: `params`, `json`, `data` and `headers` as requests takes them.

        Raises:
            requests.RequestException: no answer, one that is too long, or a redirection that leaves
                encryption or goes on for too long.
        """
        for _ in range(self._redirects + 1):
            self._session.trust_env = not is_loopback(host_of(url))  # no proxy in front of loopback
            with self._session.request(
                method, url, auth=credential, timeout=self._timeout, verify=self._ca_file or True,
                allow_redirects=False, stream=True, **sent,
            ) as answer:  # fmt: skip
                if not (self._redirects and method == "GET" and answer.is_redirect):
                    return Answer(answer.status_code, answer.reason or "", answer.headers, self._body(answer))
                target = urljoin(url, answer.headers["Location"])
            if not target.startswith("https://") and not (
                is_loopback(host_of(url)) and is_loopback(host_of(target))
            ):
                raise requests.exceptions.InvalidURL(
                    f"{host_of(url)} redirects to an address that is not encrypted"
                )
            url, sent = target, {name: sent[name] for name in ("headers",) if name in sent}
        raise requests.TooManyRedirects(f"{host_of(url)}: more than {self._redirects} redirections")

    def _body(self, answer: requests.Response) -> bytes:
        body = bytearray()
        for block in answer.iter_content(_BLOCK):
            body += block
            if len(body) > self._most:
                raise requests.exceptions.ContentDecodingError(f"an answer of more than {self._most} bytes")
        return bytes(body)


def careful(session: S) -> S:
    """A session of requests that reads no `.netrc` and follows no redirection."""
    session.auth = NO_CREDENTIAL
    session.max_redirects = 0
    return session
