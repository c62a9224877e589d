"""What `hares submit`, `schedule` and `runs` ask of a cluster, and how its API is reached.

`PipelineService` is the interface; `kubeflow.vertex.service` and `kubeflow.kfp.service` implement it, each for one API,
and turn its answers into the dataclasses here and its errors into `ServiceError`. The connection is the group
`service:` of the file that `--cluster` names:

    service:
      host: https://pipelines.example.org     # Kubeflow
      namespace: audio
      token_file: /run/secrets/kfp-token

or, for Vertex AI,

    service:
      project: my-project
      region: europe-west4
      service_account: trainer@my-project.iam.gserviceaccount.com
      pipeline_root: gs://my-bucket/hares

The file's other groups are for `hares compile` (`kubeflow.cluster_file`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import yaml

from kubeflow.ways_in import check_ways_in, printed_token, read_secret
from pipeline.hosts import meant_for, service_address, without_user
from pipeline.settings import override

ClusterKind = Literal["kubeflow", "vertex"]
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # Kubernetes' rule
_ONLY_FOR = {
    "kubeflow": {
        "host",
        "namespace",
        "experiment",
        "ca_file",
        "cookie_file",
        "headers",
        "client_certificate",
        "client_key",
        "metadata_store",
        "kubeconfig",
    },
    "vertex": {"project", "region", "endpoint"},
}
_NEEDED = {"kubeflow": ("host",), "vertex": ("project", "region", "pipeline_root")}


def check_shown_name(what: str, name: str) -> None:
    """Raises ValueError if a cluster would refuse this name of a run, schedule or experiment."""
    if not 1 <= len(name) <= 128 or not name.isprintable() or name != name.strip():
        raise ValueError(
            f"{what}: got {name!r}; accepted are 1 to 128 printable characters without a blank at either end"
        )


class State(str, Enum):
    """The state of a run or step, in one vocabulary for all clusters."""

    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"

    @property
    def ended(self) -> bool:
        """Whether the run or step is over."""
        return self not in (State.PENDING, State.RUNNING)


class Failure(str, Enum):
    """Kinds of failure; each has a remedy of its own."""

    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INVALID = "invalid"
    BUSY = "busy"
    SERVER = "server"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"


class ServiceError(RuntimeError):
    """A cluster refused or did not answer; the message names the address, the cause and the remedy."""

    def __init__(self, failure: Failure, message: str):
        super().__init__(message)
        self.failure = failure


@dataclass(frozen=True)
class StepState:
    """A step of a run: its name in the compiled file, its state, and the cluster's message if it failed."""

    name: str
    state: State
    message: str = ""


@dataclass(frozen=True)
class ClusterRun:
    """A run as the cluster knows it. `created` is ISO 8601 in UTC; `url` is its page in a browser, or ""."""

    run_id: str
    name: str
    state: State
    created: str
    steps: tuple[StepState, ...] = ()
    url: str = ""
    message: str = ""


@dataclass(frozen=True)
class Schedule:
    """A schedule as the cluster knows it; `cron` as it was given."""

    schedule_id: str
    name: str
    cron: str
    enabled: bool
    max_concurrent: int


class PipelineService(Protocol):
    """A cluster that runs compiled pipelines. Every method raises ServiceError."""

    def submit(self, compiled: Path, name: str, key: str, parameters: Mapping[str, Any]) -> ClusterRun:
        """Starts a run.

        Args:
            compiled: file that `hares compile` wrote for this kind of cluster.
            name: shown beside the run.
            key: idempotency key: a second submission with the same key returns the first one's run and starts none.
            parameters: values of the pipeline's parameters.
        """

    def run(self, run_id: str) -> ClusterRun:
        """A run with its steps."""

    def runs(self, limit: int) -> list[ClusterRun]:
        """The newest runs, newest first, without steps."""

    def cancel(self, run_id: str) -> None:
        """Asks the cluster to stop a run; does nothing if it has ended."""

    def create_schedule(
        self, compiled: Path, name: str, cron: str, max_concurrent: int, parameters: Mapping[str, Any]
    ) -> Schedule:
        """Starts runs by the clock. If the schedule exists with the same content, it is returned."""

    def schedules(self) -> list[Schedule]:
        """All schedules."""

    def set_enabled(self, schedule_id: str, enabled: bool) -> None:
        """Pauses or resumes a schedule."""

    def delete_schedule(self, schedule_id: str) -> None:
        """Removes a schedule; its runs stay."""


@dataclass(frozen=True)
class ServiceConfig:
    """Settings of a connection. Times in seconds.

    Attributes:
        host: address of Kubeflow Pipelines' API, e.g. `https://pipelines.example.org`; a path before
            `/apis/v2beta1` is kept.
        namespace: profile that the runs belong to, on a multi-user Kubeflow; "" on a single-user one.
        experiment: group of runs in Kubeflow's pages; created if it does not exist.
        ca_file: certificates of the authority that signed the host's; "" for the system's.
        project: Google Cloud project.
        region: Vertex AI's region.
        endpoint: address in place of `https://{region}-aiplatform.googleapis.com`: a private endpoint, or a
            server on loopback.
        service_account: account that the steps run as; "" for the cluster's default.
        pipeline_root: URI under which the steps write; "" for Kubeflow's default.
        token_env: environment variable with the bearer token; it goes before `token_file` and `token_command`.
        token_file: file with the bearer token, read again for every call because clusters rotate tokens.
        token_command: program and arguments that print the bearer token, run again for every call because tokens
            expire; no shell.
        cookie_file: file with the cookies of a session, read again for every call: a line `NAME=VALUE; NAME=VALUE`, or
            a cookie jar as `curl --cookie-jar` writes it.
        headers: further headers of every call. A value is the text itself, `env:VARIABLE`, or `file:PATH`, which is
            read again for every call.
        client_certificate: file of our certificate for a host that asks for one; may hold the key too.
        client_key: file of its key; "" if it is in `client_certificate`.
        metadata_store: address of Kubeflow's ML Metadata, as in grpc://127.0.0.1:8080; "" if it is not read.
        kubeconfig: file by which `hares doctor` asks Kubernetes itself, as kubectl does; "" if it is not asked.
        timeout_seconds: longest wait for an answer.
        retries: how often a failed call is repeated, if repeating it is safe.
        backoff_seconds: wait before the first retry; doubled for each further one.
    """

    host: str = ""
    namespace: str = ""
    experiment: str = "hares"
    ca_file: str = ""
    project: str = ""
    region: str = ""
    endpoint: str = ""
    service_account: str = ""
    pipeline_root: str = ""
    token_env: str = "HARES_CLUSTER_TOKEN"
    token_file: str = ""
    token_command: tuple[str, ...] = ()
    cookie_file: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    client_certificate: str = ""
    client_key: str = ""
    metadata_store: str = ""
    kubeconfig: str = ""
    timeout_seconds: float = 30.0
    retries: int = 4
    backoff_seconds: float = 1.0

    def token(self) -> str:
        """The bearer token, or "" if no setting gives one.

        Raises:
            ValueError: `token_file` cannot be read or is empty, or `token_command` fails or prints nothing.
        """
        from_environment = os.environ.get(self.token_env, "").strip() if self.token_env else ""
        if from_environment:
            return from_environment
        if self.token_command:
            return printed_token(self.token_command, self.timeout_seconds)
        return read_secret("service.token_file", self.token_file) if self.token_file else ""

    @property
    def brings_token(self) -> bool:
        """Whether a setting gives a bearer token."""
        from_environment = bool(self.token_env and os.environ.get(self.token_env, "").strip())
        return from_environment or bool(self.token_file or self.token_command)

    @property
    def brings_secrets(self) -> bool:
        """Whether calls carry something that nobody else may see."""
        return self.brings_token or bool(self.cookie_file or self.headers)

    def without_own_files(self) -> ServiceConfig:
        """For a step, which lacks the submitter's files and programs."""
        return replace(self, token_file="", ca_file="", token_command=(), kubeconfig="")


def open_service(target: str, cluster: Path) -> PipelineService:
    """The service that a cluster file describes; nothing is sent to it yet.

    Only its own client is imported: each takes seconds. Raises ValueError, as `read_service`.
    """
    config, _ = read_service(target, cluster)
    if target == "vertex":
        from kubeflow.vertex.service import VertexService

        return VertexService(config)
    from kubeflow.kfp.service import KfpService

    return KfpService(config)


def read_service(target: str, cluster: Path) -> tuple[ServiceConfig, str]:
    """The connection that a cluster file describes, and its `workspace`, which is "" if it has none.

    Args:
        target: "kubeflow" or "vertex".
        cluster: YAML file with the group `service:`.

    Raises:
        ValueError: the file cannot be read, or `checked_service` refuses the group.
    """
    try:
        document = yaml.safe_load(cluster.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{cluster} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{cluster} is not YAML: {' '.join(str(error).split())}") from error
    content = document if isinstance(document, dict) else {}
    try:
        return checked_service(content.get("service"), target), str(content.get("workspace") or "")
    except ValueError as error:
        raise ValueError(f"{cluster}: {error}") from error


def checked_service(group: Any, target: str) -> ServiceConfig:
    """The settings of the group `service:`, checked for the target.

    Raises:
        ValueError: it is no group, or a setting is unknown, missing, invalid, or meant for the other target.
    """
    if not isinstance(group, Mapping):
        raise ValueError(f"it has no group 'service:', which says how {target} is reached")
    config = override(ServiceConfig(), group, "service.")
    for kind, names in _ONLY_FOR.items():
        if kind != target and (others := sorted(names & set(group))):
            raise ValueError(f"service.{others[0]} means nothing to {target}; remove it, or change --target")
    for name in _NEEDED[target]:
        if not getattr(config, name):
            raise ValueError(f"service.{name} is not set; {target} cannot be reached without it")
    check_shown_name("service.experiment", config.experiment)
    if config.namespace and not _NAMESPACE.fullmatch(config.namespace):
        raise ValueError(
            f"service.namespace: got {config.namespace!r}; accepted are up to 63 of a-z, 0-9 and -, with a letter or "
            "digit at either end"
        )
    if config.timeout_seconds <= 0 or config.retries < 0 or config.backoff_seconds < 0:
        raise ValueError("service.timeout_seconds must be above 0, retries and backoff_seconds 0 or more")
    if "@" in urlsplit(config.pipeline_root).netloc:
        raise ValueError(
            "service.pipeline_root contains a user or password, which every log would show; remove it"
        )
    check_ways_in(config)
    if config.metadata_store and not config.metadata_store.startswith("grpc://"):
        raise ValueError(
            f"service.metadata_store: got {without_user(config.metadata_store)!r}; accepted is grpc://HOST:PORT"
        )
    for name in ("host", "endpoint"):
        if address := getattr(config, name):
            service_address(address, f"service.{name}")
            if config.brings_secrets:
                try:
                    meant_for(address)
                except ValueError as error:
                    raise ValueError(f"service.{name}: {error}") from error
    return config
