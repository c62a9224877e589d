"""Whether `hares compile` would accept the cluster file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from kubeflow.cluster_file import load_cluster
from kubeflow.doctor.finding import Finding, Severity, Subject
from pipeline.settings import SettingError


def check_cluster_file(subject: Subject) -> Iterator[Finding]:
    """Its settings are known, complete and of the right types."""
    if subject.target == "local" or not subject.cluster_file:
        return
    try:
        load_cluster(Path(subject.cluster_file), subject.target)
    except SettingError as error:
        yield Finding(
            "cluster_file", Severity.FATAL, subject.cluster_file,
            str(error).removeprefix(f"--cluster {subject.cluster_file}: "),
            "correct it; docs/vertex.md and docs/kubeflow.md show complete files",
        )  # fmt: skip
