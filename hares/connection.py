"""An answer over HTTP: redirections are followed as far as they are safe, and what may pass is told from what will not.

A server may lead elsewhere, but never out of encryption, and not to another host with an address of a private network:
whoever holds a public address would else reach what only this machine can. No credential is sent, and no `.netrc` read.
"""

from __future__ import annotations

import http.client
import ipaddress
import ssl
import urllib.request
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

NETWORK_ERRORS = (OSError, http.client.HTTPException)
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_BUSY = (408, 425, 429, 500, 502, 503, 504)


class FetchError(Exception):
    """A file cannot be had: the server does not answer, refuses, or leads where it must not."""


class MissingFileError(FetchError):
    """The server has no such file."""


class CutError(Exception):
    """An attempt ended early, for a reason that may pass; `pause` is how long the server asks to wait."""

    def __init__(self, why: str, pause: float = 0.0):
        super().__init__(why)
        self.pause = pause


def refuse_address(url: str) -> str:
    """Why nothing is fetched from an address, "" where it may be."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "is no address"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "is no address that begins with http:// or https://"
    if parts.username is not None or parts.password is not None:
        return "holds a user name or password, which is sent nowhere"  # and is not repeated
    if any(not c.isprintable() or c == " " for c in url):
        return "holds a character that no address has"
    return ""


def answer_of(url: str, headers: dict[str, str], timeout: float) -> Any:
    """The answer that has the bytes, after redirections. Raises CutError and FetchError."""
    named = urlsplit(url).hostname
    at = url
    for _ in range(_MOST_REDIRECTS + 1):
        try:
            answer = _open(at, headers, timeout, may_be_private=urlsplit(at).hostname == named)
        except NETWORK_ERRORS as error:
            if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
                raise FetchError(
                    f"{at}: {said(error)}; is the clock right, or a certificate missing here?"
                ) from error
            raise CutError(f"{urlsplit(at).netloc} does not answer ({said(error)})") from error
        if answer.status in (200, 206, 416):
            return answer
        answer.close()
        if answer.status in (404, 410):
            raise MissingFileError(
                f"{at}: the server has no such file ({answer.status}); look for it on the data set's home page, or "
                "use a mirror (--mirror)"
            )
        if answer.status in _BUSY:
            wait = answer.headers.get("Retry-After", "")
            raise CutError(f"the server is busy ({answer.status})", float(wait) if wait.isdecimal() else 0.0)
        target = urljoin(at, answer.headers.get("Location", ""))
        if answer.status not in _REDIRECTS or target == at:
            raise FetchError(
                f"{at}: the server answers {answer.status} {answer.reason}; use a mirror (--mirror)"
            )
        if why := refuse_address(target):
            raise FetchError(f"{at} leads to what {why}; use a mirror (--mirror)")
        if at.startswith("https://") and not target.startswith("https://"):
            raise FetchError(
                f"{at} leads to {urlsplit(target).netloc} without encryption, and is not followed; use a mirror "
                "(--mirror)"
            )
        at = target
    raise FetchError(
        f"{url} leads from one address to the next over {_MOST_REDIRECTS} times; use a mirror (--mirror)"
    )


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Hands out every answer, redirections and errors too."""

    def http_response(self, request: Any, response: Any) -> Any:
        """The answer."""
        return response

    def https_response(self, request: Any, response: Any) -> Any:
        """The answer."""
        return response


class _Guarded:
    """A connection that is closed before anything is sent if it leads to a private address and must not."""

    sock: Any
    may_be_private = True

    def connect(self) -> None:
        """Connects. Raises FetchError."""
        super().connect()  # type: ignore[misc]
        peer = self.sock.getpeername()[0]
        if not self.may_be_private and not ipaddress.ip_address(peer.partition("%")[0]).is_global:
            self.sock.close()
            raise FetchError(
                f"a server leads to {peer}, an address of a private network, and is not followed; if you know it, name "
                "it yourself with --mirror"
            )


class _Plain(_Guarded, http.client.HTTPConnection):
    pass


class _Encrypted(_Guarded, http.client.HTTPSConnection):
    pass


class _Handler(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """Opens guarded connections. Through a proxy of the user's the proxy decides what it reaches."""

    def __init__(self, may_be_private: bool):
        super().__init__()
        self._may_be_private = may_be_private

    def _made(self, kind: Any, request: urllib.request.Request, host: str, **settings: Any) -> Any:
        connection = kind(host, **settings)
        connection.may_be_private = self._may_be_private or request.host != urlsplit(request.full_url).netloc
        return connection

    def http_open(self, req: urllib.request.Request) -> Any:
        """As urllib calls it."""
        return self.do_open(partial(self._made, _Plain, req), req)

    def https_open(self, req: urllib.request.Request) -> Any:
        """As urllib calls it."""
        return self.do_open(partial(self._made, _Encrypted, req), req)


def _open(url: str, headers: dict[str, str], timeout: float, may_be_private: bool) -> Any:
    host = urlsplit(url).hostname or ""
    handlers: list[urllib.request.BaseHandler] = [_AsItIs(), _Handler(may_be_private)]
    if host == "localhost" or host.startswith("127.") or host == "::1":
        handlers.append(urllib.request.ProxyHandler({}))  # no proxy in front of loopback
    opener = urllib.request.build_opener(*handlers)
    return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)  # noqa: S310 (refuse_address)


def said(error: Exception) -> str:
    """What an error of the network says, without the number and the class around it."""
    reason = getattr(error, "reason", error)
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)
