"""Where a metadata store is: a SQLite file, a MySQL/MariaDB or PostgreSQL server, or ML Metadata's gRPC server.

    W/metadata.sqlite                                     the default of a workspace
    mysql://user@localhost:3306/database
    postgresql://user@localhost:5432/database
    grpc://host:8080?custom_ca=ca.pem

A server on another machine needs TLS with a verified name, or `plaintext=true` in its address. Of ML Metadata's clients
only gRPC's can verify a name: PostgreSQL's is built without TLS, and MySQL's accepts any certificate, or with
verification none. Reach their servers through a tunnel that ends on this machine. A MySQL server can read every file
that this user can: the client sends whatever file the server asks for (LOAD DATA LOCAL INFILE), and cannot be told not
to.

An address never holds a password, because `ps` shows it and a shell remembers it. The password comes from the
environment variable HARES_METADATA_PASSWORD, or from a file that `?password_file=` names, and is used only to connect.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from ml_metadata import errors
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.hosts import is_loopback
from workarounds.ml_metadata import PatchedStore

PASSWORD_VARIABLE = "HARES_METADATA_PASSWORD"
Config: TypeAlias = "pb.ConnectionConfig | pb.MetadataStoreClientConfig"

# How ML Metadata reports a lost connection: InternalError from MySQL and PostgreSQL, AbortedError from a SQLite file
# that another process keeps locked for longer than its retries take (some 15 s), the others from gRPC.
LOST = (errors.InternalError, errors.AbortedError, errors.UnavailableError, errors.DeadlineExceededError)

_MYSQL_SSL = {
    "ssl_key": "key",
    "ssl_cert": "cert",
    "ssl_ca": "ca",
    "ssl_capath": "capath",
    "ssl_cipher": "cipher",
}
_GRPC_SSL = ("client_key", "server_cert", "custom_ca")
# What ML Metadata's C++ part says, in RuntimeErrors, when two processes make the database or its tables at once.
_TABLES_BEING_MADE = (
    "concurrent connection",
    "already exists",
    "duplicate key",
    "Please retry",
    "tuple concurrently",
    "Deadlock",
)
_TABLES_WITHIN = 30.0  # seconds
_PORTS = {"mysql": 3306, "postgresql": 5432, "grpc": 8080}
# ML Metadata puts these into libpq's connection string and into SQL unquoted.
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")
_USER = re.compile(r"[^\s'\"\\`;=]*")
_DATABASE = re.compile(r"[\w.$-]*")
_AS_IT_IS = re.compile(r"[\w./:@%+~-]+", re.ASCII)


class StoreUnreachableError(ConnectionError):
    """A server does not answer, or refuses us; the message names it and never the password."""


@dataclass(frozen=True)
class StoreAddress:
    """A store that is not opened yet.

    Attributes:
        shown: the address as a person may see it; it never holds a password.
        config: what ML Metadata connects with; never printed.
        file: of a SQLite store, its path.
    """

    shown: str
    config: Config = field(repr=False, compare=False)
    file: Path | None = None

    def exists(self) -> bool:
        """Whether there is something to read: an existing SQLite file, or any server."""
        return self.file is None or self.file.is_file()

    def open(self) -> MetadataStore:
        """Opens the store; on a server its tables are made at the first use.

        Raises:
            FileNotFoundError: no such SQLite file; reading must not make an empty one.
            StoreUnreachableError: the server does not answer or refuses us.
        """
        if not self.exists():
            raise FileNotFoundError(
                f"{self.file}: no metadata store; has `hares run` been run in this workspace?"
            )
        try:
            store = _opened(self.config)
            if isinstance(self.config, pb.MetadataStoreClientConfig):
                store.get_context_types()  # a gRPC client connects at the first question
            return store
        except (errors.StatusError, RuntimeError) as error:
            remedy = (
                "Is another program at work on it?"
                if self.file
                else f"Is the server running, and is the password in {PASSWORD_VARIABLE} or in the file that "
                "password_file names?"
            )
            raise StoreUnreachableError(
                f"{self.shown}: the metadata store cannot be opened ({_safe(error, self.config)}"
                f"{self._locked(error)}). {remedy}"
            ) from None  # the cause would carry the unredacted text

    @contextmanager
    def asking(self, create: bool = False) -> Iterator[MetadataStore]:
        """The store inside the block, for several questions.

        Args:
            create: whether to make a missing SQLite file.

        Raises:
            FileNotFoundError: as `open` does.
            StoreUnreachableError: as `open` does, or the server stops answering inside the block.
        """
        if create and self.file is not None and not self.file.exists():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            PatchedStore(self.config)
        store = self.open()
        try:
            yield store
        except LOST as error:
            raise self.lost(error) from None

    def lost(self, error: Exception) -> StoreUnreachableError:
        """The error to raise when the store stops answering during a run."""
        return StoreUnreachableError(
            f"{self.shown}: the metadata store does not answer any more ({_safe(error, self.config)}"
            f"{self._locked(error)}). All that it recorded is kept: once it answers again, the same command goes on "
            "after the last step that ended"
        )

    def _locked(self, error: Exception) -> str:
        """The error to raise when ML Metadata gives up on a SQLite file."""
        locked = self.file is not None and "Concurrent writes aborted" in str(error)
        return ": another process keeps the file locked" if locked else ""


def store_address(text: str, default: Path) -> StoreAddress:
    """The store that `--metadata` names.

    Args:
        text: an address as above, a path of a SQLite file, or "" for the default.
        default: SQLite file of the workspace.

    Raises:
        ValueError: not an address, a password in it, or an unknown option; the message says what is accepted.
    """
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in ("", "sqlite"):
        path = Path(text.removeprefix("sqlite://")) if text else default
        return StoreAddress(str(path), sqlite_config(path), path)
    if scheme not in _PORTS:
        raise ValueError(
            f"--metadata: got {scheme}://...; accepted are a path, mysql://, postgresql:// and grpc:// addresses"
        )
    place, options = _parsed(scheme, text)
    shown = place.shown
    if scheme == "grpc":
        return StoreAddress(shown, _grpc(place, options))
    socket = "socket" in options
    if not place.database or not place.user or bool(place.host) == socket:
        raise ValueError(
            f"--metadata: got {shown}{'?socket=...' if socket else ''}; expected {scheme}://user@host/database, or "
            f"{scheme}://user@/database?socket=PATH"
        )
    password = _password(options)
    config = _mysql(place, options, password) if scheme == "mysql" else _postgresql(place, options, password)
    return StoreAddress(shown, config)


def sqlite_config(path: Path) -> pb.ConnectionConfig:
    """Connection to a SQLite file, which is made if it is missing."""
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config


def _opened(config: Config) -> MetadataStore:
    """Opens the store; if another process is making the tables of an empty store, waits until they exist."""
    deadline = time.monotonic() + _TABLES_WITHIN
    while True:
        try:
            return PatchedStore(config)
        except RuntimeError as error:
            being_made = any(text in str(error) for text in _TABLES_BEING_MADE)
            if not being_made or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.05, 0.5))  # apart from the others that wait


@dataclass(frozen=True)
class _Place:
    scheme: str
    host: str
    port: int
    database: str
    user: str
    shown: str

    @property
    def other_machine(self) -> bool:
        """Whether the server is on another machine; an empty host is a socket on this one."""
        return bool(self.host) and not is_loopback(self.host)


def _parsed(scheme: str, text: str) -> tuple[_Place, dict[str, str]]:
    """The parts of an address. Messages repeat no part that could be a password, even one that breaks the address."""
    expected = f"expected {scheme}://{'' if scheme == 'grpc' else 'user@'}host[:port]"
    try:
        parts = urlsplit(text)
        password, port = parts.password, parts.port if parts.password is None else 0
    except ValueError:
        raise ValueError(f"--metadata: the host or port is not valid; {expected}") from None
    if password is not None:
        raise ValueError(
            f"--metadata: there is a password in the {scheme} address, where `ps` shows it; put it into the "
            f"environment variable {PASSWORD_VARIABLE}, or into a file that ?password_file= names"
        )
    host, user, database = (
        parts.hostname or "",
        unquote(parts.username or ""),
        unquote(parts.path.lstrip("/")),
    )
    grammar = ((_HOST, host), (_USER, user), (_DATABASE, database))
    if (
        not all(pattern.fullmatch(value) for pattern, value in grammar)
        or parts.fragment
        or (scheme == "grpc" and (user or database or not host))
    ):
        raise ValueError(f"--metadata: the {scheme} address has characters that no address has; {expected}")
    options: dict[str, str] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name in options or not value:
            raise ValueError(f"--metadata: option {name} is given twice, or is empty")
        options[name] = value
    shown = f"{scheme}://{parts.netloc}{parts.path}"
    return _Place(scheme, host, port or _PORTS[scheme], database, user, shown), options


def _mysql(place: _Place, options: dict[str, str], password: str) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.mysql.host = place.host
    config.mysql.port = place.port
    config.mysql.database = place.database
    config.mysql.user = place.user
    config.mysql.password = password
    if "socket" in options:
        config.mysql.socket = options.pop("socket")
    for name, field_name in _MYSQL_SSL.items():
        if name in options:
            setattr(config.mysql.ssl_options, field_name, options.pop(name))
    _check_way(place, options, "an attacker there can read all, and also the files of this user")
    _refuse(options, (*_MYSQL_SSL, "plaintext", "socket", "password_file"))
    return config


def _postgresql(place: _Place, options: dict[str, str], password: str) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.postgresql.host = _libpq(options.pop("socket")) if "socket" in options else place.host
    config.postgresql.port = str(place.port)
    config.postgresql.dbname = place.database
    config.postgresql.user = place.user
    if password:  # with an empty one, libpq would take what follows for it
        config.postgresql.password = _libpq(password)
    _check_way(place, options, "an attacker there can read all, the password too")
    _refuse(options, ("plaintext", "socket", "password_file"))
    return config


def _check_way(place: _Place, options: dict[str, str], harm: str) -> None:
    plaintext = _truth("plaintext", options.pop("plaintext", "false"))
    if place.other_machine and not plaintext:
        raise ValueError(
            f"--metadata: {place.shown} is on another machine, and ML Metadata's client cannot verify a server of this "
            f"kind: anyone on the way can pose as it, and {harm}. Reach it through a tunnel that ends on this "
            "machine, as `ssh -L` makes one, or give plaintext=true to do without"
        )


def _libpq(value: str) -> str:
    """A value quoted for libpq's connection string, since ML Metadata does not quote it."""
    if _AS_IT_IS.fullmatch(value):
        return value
    escaped = re.sub(r"(['\\])", r"\\\1", value)
    return f"'{escaped}'"


def _unquoted(value: str) -> str:
    """The inverse of `_libpq`."""
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value[:1] == "'" else value


def _grpc(place: _Place, options: dict[str, str]) -> pb.MetadataStoreClientConfig:
    config = pb.MetadataStoreClientConfig(host=place.host, port=place.port)
    config.channel_arguments.max_receive_message_length = (
        -1
    )  # gRPC's 4 MiB are 2,000 runs; the service sends any
    for name in _GRPC_SSL:
        if name in options:
            setattr(config.ssl_config, name, _file_text(name, options.pop(name)))
    plaintext = _truth("plaintext", options.pop("plaintext", "false"))
    if place.other_machine and not plaintext:
        config.ssl_config.SetInParent()  # TLS, with the system's authorities where no other is given
    _refuse(options, (*_GRPC_SSL, "plaintext"))
    return config


def _password(options: dict[str, str]) -> str:
    path = options.pop("password_file", "")
    if path:
        return _file_text("password_file", path).rstrip("\r\n")
    return os.environ.get(PASSWORD_VARIABLE, "")


def _file_text(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"--metadata: {name} {path} cannot be read ({error.strerror})") from error


def _truth(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"--metadata: {name} is {text!r}; accepted are true and false")
    return text == "true"


def _refuse(options: dict[str, str], accepted: tuple[str, ...]) -> None:
    if options:
        raise ValueError(
            f"--metadata: unknown option {', '.join(options)}; accepted are {', '.join(accepted)}"
        )


def _safe(error: Exception, config: Config) -> str:
    """An error's first line, without its query, and without the password if a library put it there."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    before = text.rpartition(" query:")[0]  # "Error when executing query: <why> query: UPDATE ..."
    text = before if " query:" in before else text
    kind = config.WhichOneof("config") if isinstance(config, pb.ConnectionConfig) else None
    password = getattr(getattr(config, kind), "password", "") if kind else ""
    for secret in (password, _unquoted(password)):
        text = text.replace(secret, "***") if secret else text
    return text
