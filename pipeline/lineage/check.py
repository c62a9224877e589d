"""`hares metadata check`: what a crash left in a store and on the disk, and mending it.

| found | mended by |
|---|---|
| a RUNNING execution, or a run that is `running`, whose process is gone | it becomes FAILED |
| a live artifact of this workspace whose files are gone | it becomes DELETED |
| files of a step that no artifact of the store stands for | they are deleted |

A process is known by host, number and start (`pipeline.lineage.record`). One of another host, or of a run that
recorded none, cannot be told to be gone from here: it is reported and left alone, and so are files of its run. So are
files of a workspace whose runs are recorded in another store as well: that one may stand for them.
Artifacts that lie elsewhere, as those of another machine that shares the store, are none of this workspace's business.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import errors
from ml_metadata.metadata_store import ListOptions, MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.graph import places
from pipeline.lineage.record import FAILED, RUN_TYPE, RUNNING, process_start

LIVE, GONE, UNKNOWN = "live", "gone", "unknown"
_SYSTEM_FOLDER = ".system"  # where TFX keeps what is no artifact


@dataclass(frozen=True)
class Finding:
    """Something a crash left.

    Attributes:
        kind: "run", "execution", "artifact" or "files".
        what: its id or path.
        detail: one sentence for a person.
        can_mend: whether it is certain enough to be mended.
    """

    kind: str
    what: str
    detail: str
    can_mend: bool


def check(store: MetadataStore, root: Path, other_stores: Sequence[str] = ()) -> list[Finding]:
    """Everything a crash left.

    Args:
        store: the store.
        root: the workspace's pipeline root, for artifacts without files and files without artifacts.
        other_stores: where runs of the workspace are recorded besides.
    """
    states = _run_states(store)
    doubts = ["a run may still be writing them"] if {LIVE, UNKNOWN} & set(states.values()) else []
    doubts += [f"{name} may, in which runs of this workspace are recorded too" for name in other_stores]
    executions = _running_executions(store, states)
    return [
        *(
            Finding("run", name, f"it is recorded as running, its process is {state}", state == GONE)
            for name, state in states.items()
            if state != LIVE
        ),
        *executions,
        *_artifacts_without_files(store, root),
        *_files_without_artifacts(store, root, doubts),
    ]


def mend(store: MetadataStore, findings: list[Finding]) -> list[Finding]:
    """Mends what can be mended; returns what was."""
    mended = [finding for finding in findings if finding.can_mend]
    for finding in mended:
        if finding.kind == "run":
            context = store.get_context_by_type_and_name(RUN_TYPE, finding.what)
            context.custom_properties["status"].string_value = FAILED
            store.put_contexts([context])
        elif finding.kind == "execution":
            (execution,) = store.get_executions_by_id([int(finding.what)])
            execution.last_known_state = pb.Execution.FAILED
            store.put_executions([execution])
        elif finding.kind == "artifact":
            (artifact,) = store.get_artifacts_by_id([int(finding.what)])
            artifact.state = pb.Artifact.DELETED
            store.put_artifacts([artifact])
        else:
            shutil.rmtree(finding.what)
    return mended


def process_state(text: str) -> str:
    """Whether the process that a run recorded is "live", "gone", or "unknown" from here."""
    words = text.split(" ")
    if len(words) != 3 or words[0] != socket.gethostname() or not words[1].isdecimal():
        return UNKNOWN
    pid, start = int(words[1]), words[2]
    if start:
        return LIVE if process_start(pid) == start else GONE
    try:  # a system that does not tell when a process started
        os.kill(pid, 0)
    except ProcessLookupError:
        return GONE
    except PermissionError:
        return LIVE
    return LIVE


def _run_states(store: MetadataStore) -> dict[str, str]:
    """State of the process of every run that is recorded as running."""
    query = f"type = '{RUN_TYPE}' AND custom_properties.status.string_value = '{RUNNING}'"
    try:
        found = store.get_contexts(ListOptions(filter_query=query))
    except errors.NotFoundError:
        return {}
    return {run.name: process_state(run.custom_properties["process"].string_value) for run in found}


def _running_executions(store: MetadataStore, states: dict[str, str]) -> list[Finding]:
    found = store.get_executions(ListOptions(filter_query="last_known_state = RUNNING"))
    where = places(store, [execution.id for execution in found])
    findings = []
    for execution in found:
        runs = where[execution.id].runs
        # A run that is not recorded as running has ended, so that none of its steps can be.
        state = (
            UNKNOWN if not runs else max((states.get(run) or _ended(store, run) for run in runs), key=_doubt)
        )
        if state != LIVE:
            detail = (
                f"step {where[execution.id].node} of run {' '.join(runs)} is RUNNING, its process is {state}"
            )
            findings.append(Finding("execution", str(execution.id), detail, state == GONE))
    return findings


def _ended(store: MetadataStore, run: str) -> str:
    context = store.get_context_by_type_and_name(RUN_TYPE, run)
    return GONE if context is not None and "status" in context.custom_properties else UNKNOWN


def _doubt(state: str) -> int:
    return (GONE, UNKNOWN, LIVE).index(state)


def _artifacts_without_files(store: MetadataStore, root: Path) -> list[Finding]:
    findings = []
    for artifact in store.get_artifacts(ListOptions(filter_query="state = LIVE")):
        not_pushed = (
            "pushed" in artifact.custom_properties and not artifact.custom_properties["pushed"].int_value
        )
        ours = Path(artifact.uri).is_relative_to(root)
        if ours and not not_pushed and not os.path.exists(artifact.uri):
            detail = f"{artifact.type} is live, and {artifact.uri} is not there"
            findings.append(Finding("artifact", str(artifact.id), detail, True))
    return findings


def _files_without_artifacts(store: MetadataStore, root: Path, doubts: Sequence[str]) -> list[Finding]:
    """Folders `<root>/<node>/<output>/<execution>` that the store knows nothing of; `doubts` keep them."""
    findings = []
    for folder in sorted(root.glob("*/*/*")):
        if folder.parent.parent.name == _SYSTEM_FOLDER or folder.parent.name == _SYSTEM_FOLDER:
            continue
        if folder.is_dir() and folder.name.isdecimal() and not store.get_artifacts_by_uri(str(folder)):
            detail = "; ".join(["no artifact of the store stands for these files", *doubts])
            findings.append(Finding("files", str(folder), detail, not doubts))
    return findings
