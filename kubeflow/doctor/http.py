"""One HTTP exchange, with an answer of any status; a password goes to the host it is meant for and no other."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

_TIMEOUT = 10.0  # seconds: the doctor answers in seconds even where nothing else does
_MOST = 8 << 20  # bytes of an answer; manifests and configurations are kilobytes


class UnreachableError(ConnectionError):
    """No HTTP answer; the message names the host and the cause."""


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
    """Sends a request and follows redirects. Raises UnreachableError where no answer comes."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    opener = urllib.request.build_opener(_Redirects)
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            return _answer(answer.status, answer.headers, answer.read(_MOST))
    except urllib.error.HTTPError as error:
        return _answer(error.code, error.headers, error.read(_MOST))
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise UnreachableError(f"{urlsplit(url).netloc}: {getattr(error, 'reason', error)}") from error


def _answer(status: int, headers: Message, body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, body)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Registries send blobs from another host, which must not see the token and would refuse it."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, code, msg, headers, newurl)
        if new is not None and urlsplit(newurl).netloc != urlsplit(req.full_url).netloc:
            new.remove_header("Authorization")
        return new
