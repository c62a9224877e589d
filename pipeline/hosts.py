"""Decides which host gets a credential, for every client of ours.

A credential is meant for one service: a scheme, host and port. It is sent nowhere else, and over an unencrypted
connection only to this machine.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

# Of an address everything that two parsers could read differently is refused: users, backslashes, spaces, fragments.
_ADDRESS = re.compile(
    r"https?://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~%/-]*)?"
)
# To the last @ of an address, since a password may hold a slash; of an image's name, before its digest, to the first.
_USER = re.compile(r"(?<=//).*@|^[^/]*@", re.DOTALL)
_PORTS = {"http": 80, "https": 443}


class CredentialRefusedError(ValueError):
    """A credential may not go there; the message names the host and never the credential."""


def is_loopback(host: str) -> bool:
    """Whether a host name or IP address is surely this machine's own; a name that only resolves to it is not."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def without_user(text: str) -> str:
    """An address, or an image's name, without the user and password in front of its host."""
    return _USER.sub("", text)


def service_address(text: str, what: str) -> str:
    """The address of a service as settings give it, without a slash at its end.

    Args:
        text: scheme and host, with a port and a path where needed.
        what: names the setting in messages.

    Raises:
        ValueError: it is something else, or a user or password stands in it, which every log would show.
    """
    if not _ADDRESS.fullmatch(text):
        shown = re.split("[?#]", without_user(text))[0]
        raise ValueError(
            f"{what}: got {shown!r}; expected https://HOST[:PORT][/PATH], http:// on this machine, and no user or "
            "password in it"
        )
    try:
        _origin(text)
    except ValueError as error:
        raise ValueError(f"{what}: got {text!r}: {error}") from error
    return text.rstrip("/")


def meant_for(address: str) -> str:
    """The address, if a credential may go there at all.

    Raises:
        CredentialRefusedError: it is not encrypted and not this machine's.
    """
    scheme, host, _ = _origin(address)
    if scheme != "https" and not (scheme == "http" and is_loopback(host)):
        raise CredentialRefusedError(
            f"{host}: a credential is not sent unencrypted to another machine; use https://"
        )
    return address


def may_receive(url: str, meant: str) -> bool:
    """Whether a credential that is meant for the service at `meant` may go to `url`."""
    try:
        return _origin(url) == _origin(meant_for(meant))
    except ValueError:
        return False


def is_google(host: str) -> bool:
    """Whether Google's own credentials may go to a host: Google's APIs, and this machine, where emulators listen."""
    return is_loopback(host) or host.endswith(".googleapis.com")


def is_google_registry(host: str) -> bool:
    """Whether a host is a container registry of Google's."""
    return host == "gcr.io" or host.endswith((".gcr.io", ".pkg.dev"))


def host_of(url: str) -> str:
    """The host, in lower case; "" where there is none."""
    return urlsplit(url).hostname or ""


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
