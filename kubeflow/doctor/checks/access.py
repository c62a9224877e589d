"""Credentials for the cluster."""

from __future__ import annotations

from collections.abc import Iterator

from kubeflow.doctor.credentials import NoCredentialsError, require_token
from kubeflow.doctor.finding import Finding, Severity, Subject


def check_credentials(subject: Subject) -> Iterator[Finding]:
    """On Vertex, the application default credentials exist and give a token."""
    if subject.target != "vertex":
        return
    try:
        require_token()
    except NoCredentialsError as error:
        yield Finding(
            "credentials", Severity.FATAL, "application default credentials", str(error),
            "run `gcloud auth application-default login`, or name a key file in GOOGLE_APPLICATION_CREDENTIALS",
        )  # fmt: skip
