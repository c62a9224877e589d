"""How a cluster's API is reached: the group `service:` of the file that `--cluster` names.

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

The file's other groups belong to `hares compile` and are left alone here.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from kubeflow.service import check_shown_name
from pipeline.hosts import meant_for, service_address

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # of Kubernetes
TARGETS = ("kubeflow", "vertex")
_ONLY = {
    "kubeflow": {"host", "namespace", "experiment", "ca_file"},
    "vertex": {"project", "region", "endpoint"},
}
_NEEDED = {"kubeflow": ("host",), "vertex": ("project", "region", "pipeline_root")}


@dataclass(frozen=True)
class ServiceConfig:
    """Settings of a connection. Times in seconds.

    Attributes:
        host: address of Kubeflow Pipelines' API, e.g. `https://pipelines.example.org`; a path before
            `/apis/v2beta1` is kept.
        namespace: profile whose runs are meant, on a multi-user Kubeflow; "" on a single-user one.
        experiment: group of runs in Kubeflow's pages; made where it is not there.
        ca_file: certificates that sign the host's own; the system's where empty.
        project: Google Cloud project.
        region: Vertex AI's region.
        endpoint: address in place of `https://{region}-aiplatform.googleapis.com`: a private endpoint, or a
            server on loopback.
        service_account: account that the steps run as; the cluster's default where empty.
        pipeline_root: URI under which the steps write; Kubeflow's default where empty.
        token_env: environment variable with the bearer token; it is used where it is set.
        token_file: file with the bearer token, read again for every call since clusters rotate them.
        timeout_seconds: longest wait for an answer.
        retries: how often a call that may be sent again is sent again.
        backoff_seconds: wait before the first retry; each further one doubles it.
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
    timeout_seconds: float = 30.0
    retries: int = 4
    backoff_seconds: float = 1.0

    def token(self) -> str:
        """The bearer token, or "" where neither the variable nor the file is set.

        Raises:
            ValueError: `token_file` cannot be read, or is empty.
        """
        from_environment = os.environ.get(self.token_env, "").strip() if self.token_env else ""
        if from_environment or not self.token_file:
            return from_environment
        try:
            token = Path(self.token_file).expanduser().read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ValueError(
                f"service.token_file: {self.token_file} cannot be read: {error.strerror}"
            ) from error
        if not token:
            raise ValueError(
                f"service.token_file: {self.token_file} is empty; write the bearer token into it"
            )
        return token


def load_service(path: Path, target: str) -> ServiceConfig:
    """The group `service:` of a cluster file, checked for the target.

    Args:
        path: YAML file.
        target: one of `TARGETS`.

    Raises:
        ValueError: not YAML, no group `service`, an unknown setting, one of the other target's, one of the
            wrong type, or one missing.
    """
    if target not in TARGETS:
        raise ValueError(f"target {target!r} is unknown; there are {', '.join(TARGETS)}")
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    group = document.get("service") if isinstance(document, dict) else None
    if not isinstance(group, dict):
        raise ValueError(f"{path} has no group 'service:'; it says how {target} is reached")
    fields = {field.name: field for field in dataclasses.fields(ServiceConfig)}
    others = set().union(*(names for name, names in _ONLY.items() if name != target))
    for name, value in group.items():
        if name not in fields:
            raise ValueError(f"{path}: service.{name} is unknown; there are {', '.join(sorted(fields))}")
        if name in others:
            raise ValueError(
                f"{path}: service.{name} means nothing to {target}; remove it, or change --target"
            )
        _check_type(f"{path}: service.{name}", value, type(fields[name].default))
    config = ServiceConfig(**{name: _cast(value, fields[name].default) for name, value in group.items()})
    for name in _NEEDED[target]:
        if not getattr(config, name):
            raise ValueError(f"{path}: service.{name} is not set; {target} cannot be reached without it")
    try:
        check_shown_name("service.experiment", config.experiment)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if config.namespace and not _NAMESPACE.fullmatch(config.namespace):
        raise ValueError(
            f"{path}: service.namespace: got {config.namespace!r}; accepted are up to 63 of a-z, 0-9 and -, with a "
            "letter or digit at either end"
        )
    if config.timeout_seconds <= 0 or config.retries < 0 or config.backoff_seconds < 0:
        raise ValueError(
            f"{path}: service.timeout_seconds must be above 0, retries and backoff_seconds not below"
        )
    if "@" in urlsplit(config.pipeline_root).netloc:
        raise ValueError(
            f"{path}: service.pipeline_root: a user or password stands in it, which every log would show"
        )
    for name in ("host", "endpoint"):
        if address := getattr(config, name):
            service_address(address, f"{path}: service.{name}")
            if config.token_file or os.environ.get(config.token_env):
                _check_meant(address, f"{path}: service.{name}")
    return config


def _check_meant(address: str, where: str) -> None:
    try:
        meant_for(address)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _check_type(where: str, value: Any, kind: type) -> None:
    good = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
    if not good:
        raise ValueError(f"{where} is {value!r}; it takes {kind.__name__}")


def _cast(value: Any, default: Any) -> Any:
    return float(value) if isinstance(default, float) else value
