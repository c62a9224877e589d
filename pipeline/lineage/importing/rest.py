"""GET requests to a Google service: bearer tokens, timeouts, retries, and errors that say what to do.

A token is sent only in the Authorization header, never over an unencrypted connection to another machine, and never to
the address of a redirection.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import requests

from pipeline.hosts import host_of, is_google, meant_for, service_address
from pipeline.http import Answer, Client, Credential, careful
from pipeline.lineage.importing.recorded import ImportFailedError

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TRY_AGAIN = {408, 429, 500, 502, 503, 504}
_REMEDIES = {
    401: "the token is not accepted or has expired; give another by --token-file or --token-env, or log in with "
    "`gcloud auth application-default login`",
    403: "the account may not read it; it needs the role roles/aiplatform.viewer in this project",
    404: "it does not exist; check project, region, metadata store and run",
    429: "the quota is used up; try again later, what was imported is kept",
}


class PreconditionError(ImportFailedError):
    """The service refuses this query, for example because the answer would be too large."""


class TokenSource(Protocol):
    """Where tokens come from. Both raise ImportFailedError."""

    def token(self) -> str:
        """A token for the next request."""

    def renew(self) -> bool:
        """Called when a token was refused: whether there is another one."""


@dataclass(frozen=True)
class Patience:
    """How long to wait.

    Attributes:
        timeout: seconds for a connection, and for each part of an answer.
        attempts: of one request; only temporary failures (429, 5xx, a broken connection) are tried again.
        first_wait: seconds before the second attempt; each wait is twice the one before, and at least as long as the
            server asks for.
        longest_wait: seconds.
    """

    timeout: float = 60.0
    attempts: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0


class ReadToken:
    """A token that is read again when it is refused."""

    def __init__(self, read: Callable[[], str]):
        self._read = read
        self._token = read()

    def token(self) -> str:
        """The token."""
        return self._token

    def renew(self) -> bool:
        """Reads it again: whether it is another one by now."""
        old, self._token = self._token, self._read()
        return self._token != old


class GivenToken(ReadToken):
    """A token from a file, or from an environment variable."""

    def __init__(self, file: Path | None = None, variable: str = ""):
        self._file, self._variable = file, variable
        super().__init__(self._read_given)

    def _read_given(self) -> str:
        if self._file is None:
            token = os.environ.get(self._variable, "").strip()
            where = f"--token-env {self._variable}: the environment variable is not set"
        else:
            where = f"--token-file {self._file}: the file is empty"
            try:
                token = self._file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = error.strerror if isinstance(error, OSError) else "it is no text"
                raise ImportFailedError(f"--token-file {self._file}: {reason}") from None
        if not token:
            raise ImportFailedError(f"{where}; `gcloud auth print-access-token` prints a token")
        return token


class GoogleToken:
    """Google's application default credentials: a login, a service account's key, or the machine's own account."""

    def __init__(self) -> None:
        import google.auth
        from google.auth.exceptions import DefaultCredentialsError

        try:
            self._credentials, _ = google.auth.default(scopes=[_SCOPE])
        except DefaultCredentialsError:
            raise ImportFailedError(
                "there are no Google credentials on this machine; log in with `gcloud auth application-default login`, "
                "or give a token by --token-file or --token-env"
            ) from None

    def token(self) -> str:
        """The token; a new one if the last has expired."""
        if not self._credentials.valid:
            self.renew()
        return str(self._credentials.token)

    def renew(self) -> bool:
        """Asks for another token."""
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        try:
            self._credentials.refresh(Request(careful(requests.Session())))
        except GoogleAuthError as error:
            raise ImportFailedError(
                f"Google gives no token ({type(error).__name__}); log in with `gcloud auth application-default login`",
                refused=True,
            ) from None
        return True


class RestClient:
    """Reads JSON from one service."""

    def __init__(self, endpoint: str, tokens: TokenSource, patience: Patience):
        """Opens nothing yet.

        Args:
            endpoint: scheme and host, as in "https://europe-west4-aiplatform.googleapis.com".
            tokens: where tokens come from.
            patience: how long to wait.

        Raises:
            ImportFailedError: not an address, or one to which a token may not be sent.
        """
        try:
            self._endpoint = meant_for(service_address(endpoint, "--endpoint"))
        except ValueError as error:
            raise ImportFailedError(str(error)) from None
        if isinstance(tokens, GoogleToken) and not is_google(host_of(self._endpoint)):
            raise ImportFailedError(
                f"--endpoint {self._endpoint}: this machine's Google credentials go to *.googleapis.com alone; for "
                "another host give a token by --token-file or --token-env"
            )
        self._tokens, self._patience = tokens, patience
        self._client = Client(patience.timeout)

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> bytes:
        """Sends a GET and returns the answer.

        Raises:
            PreconditionError: the service refuses this query.
            ImportFailedError: any other refusal, or no answer in all attempts.
        """
        url, renewed = f"{self._endpoint}/v1/{path}", False
        attempt, problem, asked = 0, "", ""
        while attempt < self._patience.attempts:
            if attempt:
                time.sleep(self._wait(attempt, asked))
            attempt, asked = attempt + 1, ""
            try:
                credential = Credential.bearer(self._tokens.token(), self._endpoint)
            except ValueError as error:
                raise ImportFailedError(f"{self._endpoint}: {error}", refused=True) from None
            try:
                answer = self._client.send("GET", url, credential, params=dict(query or {}))
            except (
                requests.ConnectionError,
                requests.Timeout,
                requests.exceptions.ChunkedEncodingError,
            ) as error:
                problem = (
                    "no answer in time" if isinstance(error, requests.Timeout) else "the connection broke"
                )
                continue
            except requests.RequestException as error:
                raise ImportFailedError(f"{url}: {str(error).splitlines()[0][:200]}", refused=True) from None
            if answer.status == 200:
                return answer.body
            if answer.status == 401 and not renewed and self._tokens.renew():
                renewed, attempt = True, attempt - 1
                continue
            status, text = _error_of(answer)
            problem = f"{answer.status} {status}".strip()
            if answer.status == 400 and status == "FAILED_PRECONDITION":
                raise PreconditionError(f"{url}: {text}")
            if answer.status not in _TRY_AGAIN:
                remedy = _REMEDIES.get(answer.status, text or "the service does not take this request")
                raise ImportFailedError(f"{url}: {problem}: {remedy}", refused=answer.status != 404)
            asked = answer.headers.get("Retry-After", "")
            if answer.status == 429:
                problem += f": {_REMEDIES[429]}"
        raise ImportFailedError(
            f"{url}: {problem} ({self._patience.attempts} attempts); the next import goes on where this one stopped",
            refused=True,
        )

    def _wait(self, attempt: int, asked: str) -> float:
        wait = self._patience.first_wait * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
        return min(max(wait, float(asked) if asked.isdecimal() else 0.0), self._patience.longest_wait)


def _error_of(answer: Answer) -> tuple[str, str]:
    """Status and first line of the message of Google's error body; empty if there is none."""
    try:
        error = answer.json()["error"]
        return str(error.get("status", "")), str(error.get("message", "")).partition("\n")[0]
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", ""
