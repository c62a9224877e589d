"""`hares metadata check`: finds what a crash left in a store and on the disk, and mends it.

| found | mended by |
|---|---|
| a RUNNING execution, or a run that is `running`, whose process is gone | it becomes FAILED |
| a live artifact of this workspace whose files are gone | it becomes DELETED |
| files of a step that no artifact names (`pipeline.keeping`) | they are moved into the workspace's trash |

A process is known by host, number and start (`pipeline.lineage.record`). Whether a process of another host is gone, or
that of a run that recorded none, cannot be known here: it is reported and left alone, and so are its run's files. Runs
and artifacts of other workspaces that share the store are ignored.
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.properties import PUSHED
from pipeline.keeping import Keeping
from pipeline.lineage.graph import origins
from pipeline.lineage.ownership import Ownership, local_path, runs_of
from pipeline.lineage.record import COMPLETE, FAILED, GONE, LIVE, NOT_KNOWN, RUN_TYPE, recorded_of, running

_NO_ARTIFACT = "no artifact of the store names these files"


@dataclass(frozen=True)
class Leftover:
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


def check(keeping: Keeping) -> list[Leftover]:
    """Everything that crashes of this workspace's runs left.

    Args:
        keeping: the workspace, its store, and what may be removed.
    """
    store, ownership = keeping.store, keeping.ownership
    runs = [run for run in runs_of(store) if ownership.has(run)]
    states = {run.name: state for run, state in running(runs)}
    return [
        *(
            Leftover("run", name, f"it is recorded as running, its process is {state}", state == GONE)
            for name, state in states.items()
            if state != LIVE
        ),
        *(
            found
            for run in runs
            for found in _running_executions(store, run, states.get(run.name) or _of_ended(run))
        ),
        *_artifacts_without_files(keeping.live, ownership),
        *(
            Leftover("files", str(folder), "; ".join([_NO_ARTIFACT, *keeping.doubts]), not keeping.doubts)
            for folder in keeping.unnamed_folders(keeping.named())
        ),
    ]


def mend(keeping: Keeping, findings: Sequence[Leftover]) -> list[Leftover]:
    """Mends what can be mended; returns what was. Files are moved into the workspace's trash.

    Raises:
        OSError: files cannot be moved; everything before them is mended.
    """
    store, workspace = keeping.store, keeping.workspace
    trash = workspace.trash / datetime.datetime.now().strftime("%Y%m%dT%H%M%S.%f")
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
            target = trash / Path(finding.what).relative_to(workspace.folder)
            if workspace.trash.is_symlink():
                raise OSError(
                    f"{workspace.trash} is a symbolic link, and nothing is moved out of the workspace"
                )
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(finding.what, target)
    return mended


def _running_executions(store: MetadataStore, run: pb.Context, state: str) -> list[Leftover]:
    if state == LIVE or recorded_of(run).get("status") == COMPLETE:
        return []
    found = [e for e in store.get_executions_by_context(run.id) if e.last_known_state == pb.Execution.RUNNING]
    where = origins(store, found)
    return [
        Leftover(
            "execution",
            str(execution.id),
            f"step {where[execution.id].node} of run {run.name} is RUNNING, its process is {state}",
            state == GONE,
        )
        for execution in found
    ]


def _of_ended(run: pb.Context) -> str:
    """A run that is not recorded as running has ended, and its process with it."""
    return GONE if "status" in run.custom_properties else NOT_KNOWN


def _artifacts_without_files(artifacts: Sequence[pb.Artifact], ownership: Ownership) -> list[Leftover]:
    findings = []
    for artifact in artifacts:
        if artifact.state != pb.Artifact.LIVE:
            continue
        not_pushed = PUSHED in artifact.custom_properties and not artifact.custom_properties[PUSHED].int_value
        if not not_pushed and not os.path.exists(local_path(artifact.uri)) and ownership.ours(artifact):
            detail = f"{artifact.type} is live, but {artifact.uri} does not exist"
            findings.append(Leftover("artifact", str(artifact.id), detail, True))
    return findings
