"""Where a metadata store is: a SQLite file, a MySQL/MariaDB or PostgreSQL server, or ML Metadata's gRPC server.

    W/metadata.sqlite                                     the default of a workspace
    mysql://user@host:3306/database?ssl_ca=ca.pem
    postgresql://user@host:5432/database?sslmode=verify-full&sslrootcert=ca.pem
    grpc://host:8080

A password never stands in an address, which `ps` shows and a shell remembers: it comes from the environment variable
HARES_METADATA_PASSWORD, or from a file that `?password_file=` names. It goes into the connection and nowhere else.
"""

from __future__ import annotations

import os
import random
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

from pipeline.lineage.exact_store import ExactStore

PASSWORD_VARIABLE = "HARES_METADATA_PASSWORD"
ADDRESS_VARIABLE = "HARES_METADATA"
Config: TypeAlias = "pb.ConnectionConfig | pb.MetadataStoreClientConfig"

# What a lost connection is to ML Metadata: InternalError from MySQL and PostgreSQL, AbortedError from a SQLite file
# that another process keeps locked for longer than its retries take (some 15 s), the others from gRPC.
LOST = (errors.InternalError, errors.AbortedError, errors.UnavailableError, errors.DeadlineExceededError)

_MYSQL_SSL = {
    "ssl_key": "key",
    "ssl_cert": "cert",
    "ssl_ca": "ca",
    "ssl_capath": "capath",
    "ssl_cipher": "cipher",
}
_POSTGRESQL_SSL = ("sslmode", "sslcert", "sslkey", "sslrootcert")
_GRPC_SSL = ("client_key", "server_cert", "custom_ca")
# What ML Metadata's C++ part says, all in RuntimeErrors, where two make the database or its tables at once.
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


class StoreUnreachableError(ConnectionError):
    """A server does not answer, or refuses us; the message names it and never the password."""


@dataclass(frozen=True)
class StoreAddress:
    """A store, known but not opened.

    Attributes:
        shown: the address as a person may see it; it never holds a password.
        config: what ML Metadata connects with; kept out of any printed form.
        file: of a SQLite store, its path.
    """

    shown: str
    config: Config = field(repr=False, compare=False)
    file: Path | None = None

    def exists(self) -> bool:
        """Whether there is something to read: a SQLite file that is there, or any server."""
        return self.file is None or self.file.is_file()

    def open(self) -> MetadataStore:
        """The store; on a server its tables are made at the first use.

        Raises:
            FileNotFoundError: there is no such SQLite file: reading must not make an empty one.
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
        """The store, for questions in a row.

        Args:
            create: make a SQLite file that is not there.

        Raises:
            FileNotFoundError: as `open` does.
            StoreUnreachableError: as `open` does, and where the server stops answering in between.
        """
        if create and self.file is not None and not self.file.exists():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            ExactStore(self.config)
        store = self.open()
        try:
            yield store
        except LOST as error:
            raise self.lost(error) from None

    def lost(self, error: Exception) -> StoreUnreachableError:
        """What to raise where the store stops answering in the middle of a run."""
        return StoreUnreachableError(
            f"{self.shown}: the metadata store does not answer any more ({_safe(error, self.config)}"
            f"{self._locked(error)}). All that it recorded is kept: once it answers again, the same command goes on "
            "after the last step that ended"
        )

    def _locked(self, error: Exception) -> str:
        """What ML Metadata means where it gives up on a SQLite file."""
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
    parts = urlsplit(text)
    if parts.password is not None:
        raise ValueError(
            f"--metadata: there is a password in the {scheme} address, where `ps` shows it; put it into the "
            f"environment variable {PASSWORD_VARIABLE}, or into a file that ?password_file= names"
        )
    try:
        port = parts.port or _PORTS[scheme]
    except ValueError as error:
        raise ValueError(f"--metadata: {error}") from error
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    shown = f"{scheme}://{parts.netloc}{parts.path}"
    place = _Place(parts.hostname or "", port, unquote(parts.path.lstrip("/")), unquote(parts.username or ""))
    if scheme == "grpc":
        return StoreAddress(shown, _grpc(place, options))
    if not place.database or not place.user:
        raise ValueError(f"--metadata: got {shown}; expected {scheme}://user@host/database")
    password = _password(options)
    config = _mysql(place, options, password) if scheme == "mysql" else _postgresql(place, options, password)
    return StoreAddress(shown, config)


def sqlite_config(path: Path) -> pb.ConnectionConfig:
    """Connection to a SQLite file, which is made where there is none."""
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config


def _opened(config: Config) -> MetadataStore:
    """The store. Who comes while another makes the tables of an empty store waits until they are there."""
    deadline = time.monotonic() + _TABLES_WITHIN
    while True:
        try:
            return ExactStore(config)
        except RuntimeError as error:
            being_made = any(text in str(error) for text in _TABLES_BEING_MADE)
            if not being_made or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.05, 0.5))  # apart from the others that wait


@dataclass(frozen=True)
class _Place:
    host: str
    port: int
    database: str
    user: str


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
    if "ssl_verify" in options:
        config.mysql.ssl_options.verify_server_cert = _truth("ssl_verify", options.pop("ssl_verify"))
    _refuse(options, (*_MYSQL_SSL, "ssl_verify", "socket", "password_file"))
    return config


def _postgresql(place: _Place, options: dict[str, str], password: str) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.postgresql.host = place.host
    config.postgresql.port = str(place.port)
    config.postgresql.dbname = place.database
    config.postgresql.user = place.user
    config.postgresql.password = password
    for name in _POSTGRESQL_SSL:
        if name in options:
            setattr(config.postgresql.ssloption, name, options.pop(name))
    _refuse(options, (*_POSTGRESQL_SSL, "password_file"))
    return config


def _grpc(place: _Place, options: dict[str, str]) -> pb.MetadataStoreClientConfig:
    config = pb.MetadataStoreClientConfig(host=place.host, port=place.port)
    for name in _GRPC_SSL:
        if name in options:
            setattr(config.ssl_config, name, _file_text(name, options.pop(name)))
    _refuse(options, _GRPC_SSL)
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
    """An error's first line, without the query that met it, nor the password, should a library have put it there."""
    text = (str(error) or type(error).__name__).splitlines()[0]
    before = text.rpartition(" query:")[0]  # "Error when executing query: <why> query: UPDATE ..."
    text = before if " query:" in before else text
    kind = config.WhichOneof("config") if isinstance(config, pb.ConnectionConfig) else None
    password = getattr(getattr(config, kind), "password", "") if kind else ""
    return text.replace(password, "***") if password else text
