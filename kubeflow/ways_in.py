"""What lets a caller in at a cluster: secrets from files and programs, and the checks of their settings.

The settings are in `kubeflow.clusters.ServiceConfig`; `kubeflow.kfp.api` and `kubeflow.vertex.api` send what they give.
No secret gets into a message, nor into the arguments of a program that we start.
"""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.settings import SettingError, refuse_secrets

if TYPE_CHECKING:
    from kubeflow.clusters import ServiceConfig

# Headers that other settings make.
_OWN_HEADERS = {"authorization": "service.token_file or token_command", "cookie": "service.cookie_file"}
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


def read_secret(setting: str, path: str) -> str:
    """What a file of the settings holds, without blanks around it.

    Raises:
        ValueError: it cannot be read, or is empty.
    """
    try:
        secret = Path(path).expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"{setting}: {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{setting}: {path} is not text; was another file named?") from error
    if not secret:
        raise ValueError(f"{setting}: {path} is empty; write into it what {setting} is for")
    return secret


def printed_token(command: Sequence[str], seconds: float) -> str:
    """The bearer token that a program prints.

    Raises:
        ValueError: it cannot be run, fails, prints nothing, or has not ended in time.
    """
    what = f"service.token_command: {command[0]}"
    try:
        # What it says on stderr is for the person in front of it.
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=seconds,
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise ValueError(f"{what} cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        # Without the cause, which holds what it printed.
        raise ValueError(f"{what} did not end within {seconds:g} s; raise service.timeout_seconds") from None
    token = done.stdout.decode("utf-8", "replace").strip()
    if done.returncode or not token:
        raise ValueError(
            f"{what} ended with {done.returncode} and printed {'no' if not token else 'a'} token; run it by itself"
        )
    return token


def check_ways_in(config: ServiceConfig) -> None:
    """Checks tokens, headers and the certificate; nothing is read but the certificate's files.

    Raises:
        ValueError: two settings that exclude each other, a secret in the file, or a certificate that cannot be used.
    """
    if config.token_file and config.token_command:
        raise ValueError("service.token_file and service.token_command: give one of them")
    try:
        refuse_secrets(config.token_command, "service.token_command")
        refuse_secrets(config.headers, "service.headers")
    except SettingError as error:
        raise ValueError(
            f"{str(error).partition(':')[0]}: there is a password or key in it; name a file that holds it"
        ) from error
    for name, value in config.headers.items():
        setting = f"service.headers.{name}"
        if not isinstance(name, str) or not _HEADER.fullmatch(name):
            raise ValueError(f"{setting}: accepted are names of headers, as X-Api-Key")
        if instead := _OWN_HEADERS.get(name.lower()):
            raise ValueError(f"{setting}: give {instead} in its place")
        if not isinstance(value, str) or not value:
            raise ValueError(f"{setting}: accepted is text, env:VARIABLE or file:PATH")
    if config.client_key and not config.client_certificate:
        raise ValueError("service.client_key: it needs service.client_certificate beside it")
    if config.client_certificate:
        _check_certificate(config.client_certificate, config.client_key)


def _check_certificate(certificate: str, key: str) -> None:
    def refused() -> str:
        raise ValueError(
            "service.client_key: it needs a password; decrypt it: `openssl pkey -in KEY -out PLAIN_KEY`"
        )

    for name, path in (("client_certificate", certificate), ("client_key", key)):
        if path and not Path(path).is_file():
            raise ValueError(f"service.{name}: there is no file {path}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key or None, refused)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(
            f"service.client_certificate: {certificate} and {key or 'the key in it'} are no "
            f"certificate and key in PEM ({getattr(error, 'reason', None) or error})"
        ) from error
