"""Kubeflow's API server: whether it answers at the address of the cluster file, and what its release does not do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kubeflow.clusters import Failure, ServiceConfig, ServiceError, checked_service
from kubeflow.doctor.finding import Finding, Severity, Subject
from kubeflow.kfp.api import KfpApi

# The first release that passes retries on to Argo (kubeflow/pipelines 9950, in 2.4.1).
_RETRIES_SINCE = (2, 4, 1)


def check_kubeflow_server(subject: Subject) -> Iterator[Finding]:
    """The server answers, takes our credentials, and does what the compiled steps rely on."""
    group = subject.cluster.get("service")
    if subject.target != "kubeflow" or not group:
        return
    try:
        service = checked_service(group, "kubeflow")
        said = KfpApi(replace(service, retries=0)).read("/healthz")
    except ValueError as error:
        yield Finding("server", Severity.FATAL, f"{subject.cluster_file}: service", str(error), "correct it")
        return
    except ServiceError as error:
        yield Finding("server", Severity.FATAL, service.host, str(error), _remedy(service, error))
        return
    release = re.match(r"(\d+)\.(\d+)\.(\d+)", str(said.get("tag_name", "")))
    if release and tuple(map(int, release.groups())) < _RETRIES_SINCE and _retried(subject.compiled):
        yield Finding(
            "server", Severity.WARNING, service.host,
            f"its release is {release[0]}, which retries no step, whatever the file says",
            "update Kubeflow Pipelines to 2.4.1 or later, or expect to submit again after a failure",
        )  # fmt: skip


def _remedy(service: ServiceConfig, error: ServiceError) -> str:
    """What to do; a gateway without the path /pipeline answers for Kubeflow's other pages."""
    if error.failure in (Failure.TIMEOUT, Failure.UNREACHABLE):
        return "see that service.host is right and can be reached from this machine"
    if service.host.rstrip("/").endswith("/pipeline"):
        return "see that its credentials are still good"
    return "on full Kubeflow, service.host ends in /pipeline; else see that its credentials are still good"


def _retried(compiled: Mapping[str, Any]) -> bool:
    tasks = compiled.get("root", {}).get("dag", {}).get("tasks", {})
    return any(task.get("retryPolicy", {}).get("maxRetryCount") for task in tasks.values())
