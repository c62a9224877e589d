"""Access tokens from the credentials that Google's client libraries find on this machine."""

from __future__ import annotations

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests

from pipeline.http import careful

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


class NoCredentialsError(PermissionError):
    """There are no credentials, or they are refused; the message is Google's."""


def access_token() -> str:
    """An access token of the application default credentials, or "" if there are none or they are refused."""
    try:
        return require_token()
    except NoCredentialsError:
        return ""


def require_token() -> str:
    """An access token of the application default credentials. Raises NoCredentialsError."""
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
        credentials.refresh(google.auth.transport.requests.Request(careful(requests.Session())))
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
        raise NoCredentialsError(str(error).splitlines()[0]) from error
    return str(credentials.token)
