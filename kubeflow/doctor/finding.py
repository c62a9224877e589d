"""What the doctor looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

# Where the pipeline runs: this machine, or a kind of cluster.
Platform = Literal["local", "vertex", "kubeflow"]


class Severity(str, Enum):
    """Whether a run would fail, or only go otherwise than its owner may think."""

    FATAL = "fatal"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """A fault.

    Attributes:
        check: what found it, as in "image".
        severity: whether the run would fail.
        where: the file, address or setting at fault.
        cause: what is wrong with it.
        remedy: what to do about it.
    """

    check: str
    severity: Severity
    where: str
    cause: str
    remedy: str


@dataclass(frozen=True)
class Subject:
    """A set-up to be looked at.

    Attributes:
        target: where the pipeline would run.
        workspace: the workspace on this machine.
        metadata: address of the metadata store, "" for the workspace's own.
        lock: requirements.lock, or None where there is none.
        project: the checkout that the code comes from, or None for an installed package.
        cluster: what the cluster file says, by its keys; {} without one.
        cluster_file: its name for the findings.
        compiled: the compiled pipeline's specification (a PipelineSpec); {} without one.
        compiled_file: its name for the findings.
        config: the settings of the run to be, as plain data; {} where they are not given.
        components: folder of the sources that define artifact types.
    """

    target: Platform
    workspace: Path
    metadata: str = ""
    lock: Path | None = None
    project: Path | None = None
    cluster: Mapping[str, Any] = field(default_factory=dict)
    cluster_file: str = ""
    compiled: Mapping[str, Any] = field(default_factory=dict)
    compiled_file: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    components: Path = Path(__file__).resolve().parents[2] / "components"
