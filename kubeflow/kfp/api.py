"""Calls to the Kubeflow Pipelines API v2beta1 over HTTP: one clear error for each failure, and careful retries.

A call that is safe to repeat (GET, stop, pause, delete) is repeated after 429, 503, 500, a timeout or a cut connection.
A call that creates something is sent once. If its answer is lost, `LostAnswerError` tells the caller to look whether it
was carried out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import requests
from kfp_server_api import ApiClient
from urllib3.exceptions import NewConnectionError

from kubeflow.clusters import Failure, ServiceConfig, ServiceError
from pipeline.hosts import CredentialRefusedError, service_address
from pipeline.http import Answer, Client, Credential

_KINDS = {
    400: (Failure.INVALID, "the request is refused; compile the file again with this release"),
    401: (Failure.UNAUTHENTICATED, "the token is missing or has expired; renew it"),
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
        self._client = Client(config.timeout_seconds, config.ca_file)

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
        try:
            credential = Credential.bearer(self._config.token(), self._host)
        except CredentialRefusedError as error:
            raise ServiceError(Failure.INVALID, f"service.host: {error}") from error
        except ValueError as error:
            raise ServiceError(Failure.UNAUTHENTICATED, str(error)) from error
        try:
            # Redirections are not followed: a login page means refusal, and a POST must not become a GET.
            answer = self._client.send(method, self._base + path, credential, params=query, json=body)
        except requests.exceptions.SSLError as error:
            raise ServiceError(
                Failure.UNREACHABLE,
                f"{what}: the certificate is not trusted ({_cause(error)}); set service.ca_file",
            ) from error
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
            raise ServiceError(
                Failure.UNAUTHENTICATED, f"{what}: redirected to a login page; set a bearer token"
            )
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

    @property
    def _limit(self) -> str:
        return f"{self._config.timeout_seconds:g} s"


def _cause(error: BaseException) -> str:
    return str(error).splitlines()[0][:200]
