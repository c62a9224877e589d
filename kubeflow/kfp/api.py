"""Calls to the Kubeflow Pipelines API v2beta1 over HTTP: one clear error for each failure, and careful retries.

A call that is safe to repeat (GET, stop, pause, delete) is repeated after 429, 503, 500, a timeout or a cut connection.
A call that creates something is sent once. If its answer is lost, `LostAnswerError` tells the caller to look whether it
was carried out.

How a call is let in: by a bearer token, a session's cookies, further headers, a client certificate, or several of them
(`kubeflow.clusters.ServiceConfig`). All but the certificate are read again for every call, because a run is watched for
longer than they last.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from kfp_server_api import ApiClient
from urllib3.exceptions import NewConnectionError

from kubeflow.clusters import Failure, ServiceConfig, ServiceError
from kubeflow.ways_in import read_secret
from pipeline.hosts import CredentialRefusedError, service_address
from pipeline.http import Answer, Client, Credential

_KINDS = {
    400: (Failure.INVALID, "the request is refused; compile the file again with this release"),
    401: (Failure.UNAUTHENTICATED, "the token or session is missing or has expired; renew it"),
    403: (Failure.FORBIDDEN, "this account may not do that; ask for the role in this namespace"),
    404: (Failure.NOT_FOUND, "it does not exist; check the id, host and namespace"),
    409: (Failure.CONFLICT, "something with this name exists already; choose another name"),
    429: (Failure.BUSY, "the service gets too many requests; try again later"),
    503: (Failure.BUSY, "the service is not available; try again later"),
}
_REFUSED_UNSEEN = (429, 503)


class LostAnswerError(ServiceError):
    """A call may have been carried out: its answer was lost, or was a server error."""


class KfpApi:
    """Sends calls to one host."""

    def __init__(self, config: ServiceConfig):
        """Sends nothing yet. Raises ValueError if the host is no address, or has a user or password in it."""
        self._config = config
        self._host = service_address(config.host, "service.host")
        self._base = f"{self._host}/apis/v2beta1"
        certificate = (config.client_certificate, config.client_key or config.client_certificate)
        self._client = Client(
            config.timeout_seconds, config.ca_file, certificate=certificate if certificate[0] else None
        )

    def read(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """GET. Raises ServiceError."""
        return self.repeat("GET", path, query)

    def repeat(self, method: str, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A call that is safe to repeat. Raises ServiceError."""
        for attempt in range(self._config.retries + 1):
            try:
                return self._send(method, path, query, None)
            except ServiceError as error:
                passing = isinstance(error, LostAnswerError) or error.failure in (
                    Failure.BUSY,
                    Failure.UNREACHABLE,
                )
                if not passing or attempt == self._config.retries:
                    raise
            self.wait(attempt)
        raise AssertionError("the last attempt returns or raises")

    def create(self, path: str, body: Any) -> dict[str, Any]:
        """Posts a message of kfp_server_api, once.

        Raises:
            LostAnswerError: the call may have been carried out.
            ServiceError: it was not carried out.
        """
        return self._send("POST", path, None, ApiClient().sanitize_for_serialization(body))

    def wait(self, attempt: int) -> None:
        """Waits before retry number `attempt`, counted from 0."""
        time.sleep(self._config.backoff_seconds * 2**attempt)

    def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        what = f"{method} {self._base}{path}"
        credential = self._credential()
        try:
            # Redirections are not followed: a login page means refusal, and a POST must not become a GET.
            answer = self._client.send(method, self._base + path, credential, params=query, json=body)
        except requests.exceptions.SSLError as error:
            raise self._tls(what, error) from error
        except requests.exceptions.ConnectTimeout as error:
            raise ServiceError(Failure.TIMEOUT, f"{what}: no connection within {self._limit}") from error
        except requests.exceptions.Timeout as error:
            raise LostAnswerError(
                Failure.TIMEOUT, f"{what}: no answer within {self._limit}; raise service.timeout_seconds"
            ) from error
        except requests.exceptions.ConnectionError as error:
            if isinstance(getattr(error.args[0] if error.args else None, "reason", None), NewConnectionError):
                raise ServiceError(
                    Failure.UNREACHABLE,
                    f"{what}: no server answers there; check service.host and the network",
                ) from error
            if "ALERT_CERTIFICATE_REQUIRED" in str(error):
                raise self._tls(what, error) from error
            raise LostAnswerError(
                Failure.UNREACHABLE, f"{what}: the connection was cut before the answer came; try again"
            ) from error
        except requests.exceptions.RequestException as error:
            raise LostAnswerError(Failure.UNREACHABLE, f"{what}: {_cause(error)}; try again") from error
        return self._judged(what, answer)

    def _judged(self, what: str, answer: Answer) -> dict[str, Any]:
        try:
            content = answer.json() if answer.body else {}
        except ValueError:
            content = None
        if 300 <= answer.status < 400:
            raise self._login(what, answer.headers.get("Location", ""))
        if answer.status < 300:
            if isinstance(content, dict):
                return content
            raise LostAnswerError(
                Failure.SERVER,
                f"{what}: the answer does not come from the Kubeflow Pipelines API; check service.host",
            )
        said = content.get("message") or content.get("error") if isinstance(content, dict) else None
        detail = f"{what}: {answer.status} {said or answer.reason}"
        failure, remedy = _KINDS.get(
            answer.status,
            (Failure.SERVER, "the service failed; see its log")
            if answer.status >= 500
            else (Failure.INVALID, "the request is refused"),
        )
        # After any other 5xx the server may have carried out the call.
        lost = answer.status >= 500 and answer.status not in _REFUSED_UNSEEN
        raise (LostAnswerError if lost else ServiceError)(failure, f"{detail}; {remedy}")

    def _credential(self) -> Credential:
        """What the next call brings. Raises ServiceError: a file, variable or program does not give it."""
        try:
            others = {name: _header(name, value) for name, value in self._config.headers.items()}
            if self._config.cookie_file:
                written = read_secret("service.cookie_file", self._config.cookie_file)
                others["Cookie"] = _cookies(written, self._config.cookie_file, self._base)
            return Credential.bearer(self._config.token(), self._host, others)
        except CredentialRefusedError as error:
            raise ServiceError(Failure.INVALID, f"service.host: {error}") from error
        except ValueError as error:
            raise ServiceError(Failure.UNAUTHENTICATED, str(error)) from error

    def _login(self, what: str, target: str) -> ServiceError:
        """A redirection, which Dex and other gateways answer to whom they do not know."""
        parts = urlsplit(target)  # without its query, which holds the state of the login
        page = f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else parts.path
        if self._config.cookie_file:
            remedy = (
                f"the session in service.cookie_file ({self._config.cookie_file}) has ended or belongs to another "
                "host; log in again in a browser, and write its cookie into the file"
            )
        elif self._config.brings_token:
            remedy = (
                "the gateway does not take the bearer token: renew it with the audience that the gateway asks for, or "
                "give the cookie of a session in service.cookie_file"
            )
        else:
            remedy = "log in: give a bearer token (service.token_command) or a session's cookie (service.cookie_file)"
        return ServiceError(Failure.UNAUTHENTICATED, f"{what}: redirected to the login page {page}; {remedy}")

    def _tls(self, what: str, error: BaseException) -> ServiceError:
        found = re.search(r"\[SSL[^]]*\][^('\"]*|EOF occurred[^('\"]*", str(error))
        said = found[0].strip() if found else _cause(error)
        if "CERTIFICATE_VERIFY_FAILED" in said:
            cause, remedy = "the host's certificate is not trusted", "set service.ca_file"
        elif "ALERT" in said.upper() or "EOF" in said:
            # It refuses ours; in TLS 1.3 only after we have sent the request, and then its word may get lost.
            cause = (
                "the host ended the connection, as one does that wants a client certificate that it trusts"
            )
            remedy = "set service.client_certificate and client_key, or renew them"
        else:
            cause, remedy = "TLS failed", "check service.host and service.ca_file"
        kind = LostAnswerError if "EOF" in said else ServiceError
        return kind(Failure.UNREACHABLE, f"{what}: {cause} ({said}); {remedy}")

    @property
    def _limit(self) -> str:
        return f"{self._config.timeout_seconds:g} s"


def _cause(error: BaseException) -> str:
    return str(error).splitlines()[0][:200]


def _header(name: str, value: str) -> str:
    """The value of a header: the text itself, a variable's, or a file's. Raises ValueError."""
    setting = f"service.headers.{name}"
    kind, _, place = value.partition(":")
    if kind == "file":
        return read_secret(setting, place)
    if kind != "env":
        return value
    found = os.environ.get(place, "").strip()
    if not found:
        raise ValueError(f"{setting}: the environment variable {place} is not set")
    return found


def _cookies(written: str, path: str, url: str) -> str:
    """The header `Cookie` for a call, from a line of cookies, or from a cookie jar in Netscape's format.

    Raises:
        ValueError: the jar has no cookie for the host, or they have expired.
    """
    if "\t" not in written:
        return written.removeprefix("Cookie:").strip()
    target = urlsplit(url)
    host, now = target.hostname or "", time.time()
    pairs, expired = [], 0
    for line in written.splitlines():
        fields = line.removeprefix("#HttpOnly_").split("\t")
        if len(fields) != 7 or fields[0].startswith("#"):
            continue
        domain, below, folder, secure, expires, name, value = fields
        domain = domain.removeprefix(".")
        if host != domain and not (below == "TRUE" and host.endswith(f".{domain}")):
            continue
        if not target.path.startswith(folder) or (secure == "TRUE" and target.scheme != "https"):
            continue
        if expires.isdecimal() and 0 < int(expires) < now:  # 0 is a cookie of the session
            expired += 1
        else:
            pairs.append(f"{name}={value.strip()}")
    if not pairs:
        cause = f"its cookies for {host} have expired" if expired else f"it has no cookie for {host}"
        raise ValueError(
            f"service.cookie_file: {path}: {cause}; log in again, and write the new cookies into it"
        )
    return "; ".join(pairs)
