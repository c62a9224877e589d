"""What the doctor examines, and what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal

# Where the pipeline runs: this machine, or a kind of cluster.
Platform = Literal["local", "vertex", "kubeflow"]


class Severity(str, Enum):
    """Whether a run would fail, or only differ from what its owner may expect."""

    FATAL = "fatal"
    WARNING = "warning"


@dataclass(frozen=True)
class Finding:
    """A fault.

    Attributes:
        check: name of the check, as "image".
        severity: whether the run would fail.
        where: the file, address or setting with the fault.
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
    """A set-up to be examined.

    Attributes:
        target: where the pipeline would run.
        workspace: the workspace on this machine.
        metadata: address of the metadata store; "" for the workspace's own.
        lock: the lock file of this Python's line; None if there is none.
        project: the checkout that the code comes from; None for an installed package.
        cluster: content of the cluster file; {} without one.
        cluster_file: its name, for the findings.
        compiled: the compiled pipeline's specification (a PipelineSpec); {} without one.
        compiled_file: its name, for the findings.
        config: settings of the planned run, as plain data; {} if they are not given.
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
