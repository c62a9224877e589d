"""`hares workspace gc`: finds what nothing in a workspace refers to, and removes it.

| goes | when |
|---|---|
| `artifacts/<node>/<output>/<execution>` | no artifact names it (`pipeline.keeping`): a step was killed |
| the same, and its artifacts become DELETED | with `keep_runs`: only older runs made or used it |
| `artifacts/<node>/.system/<kind>/<name>` | it holds files, which TFX's executors leave when they are killed |
| `checkpoints/<digest>` | the training has ended and its model is there, or the records it read are gone |
| `trash/<time>` | `hares metadata check --mend` moved it there |
| temporary files | their writer is gone: it would hold the workspace, or have finished within the hour |

The caller holds the workspace (`Workspace.held`), so no run is at work in it. Everything else stays: logs, pushed
models, studies, imported files, weights of warm starts, and every file that is not where a run would have put it.

Symbolic links are never followed. An artifact is marked DELETED before its files go, and no other artifact is touched.
A call that is interrupted leaves the rest to the next one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.keeping import SYSTEM, Keeping, Named, entries, folders, places_in
from pipeline.lineage.graph import upstream
from pipeline.lineage.ownership import is_local, local_path, runs_of
from pipeline.lineage.record import BLESSING_TYPE
from pipeline.workspace import CHECKPOINT_DATA, Workspace

_SUMMARY = "summary.json"  # of a ModelRun artifact; names the training's checkpoints
# `*.part` and mkstemp's names are ours, the others TensorFlow's while it writes a checkpoint.
_TEMPORARY = re.compile(r".+\.part|\..+\.[a-z0-9_]{8}|.+\.tempstate\d+")
_TEMPORARY_FOLDER = re.compile(r".+_temp")
_UNHELD = ("study", "warm_starts")  # written by commands that do not hold the workspace while they do
_UNHELD_SECONDS = 3600.0


@dataclass(frozen=True)
class Garbage:
    """Something that nothing refers to.

    Attributes:
        kind: "files" (of no artifact), "artifact", "scratch", "checkpoints", "trash" or "temporary".
        path: the folder or file.
        reason: why it may go, for a person.
        bytes: what its removal frees; a file with links that stay frees nothing.
        artifacts: ids of the artifacts that become DELETED with it.
    """

    kind: str
    path: Path
    reason: str
    bytes: int
    artifacts: tuple[int, ...] = ()


def find_garbage(keeping: Keeping, now: float, keep_runs: int | None = None) -> list[Garbage]:
    """Everything that may go, in the order in which `remove` takes it.

    Args:
        keeping: what the stores stand for; the caller holds the workspace. Where it has doubts, only temporary files
            may go.
        now: the time, in seconds since the epoch; what a command writes without holding the workspace counts as
            left behind an hour after its last change.
        keep_runs: how many runs to keep, the newest that have artifacts here, beside those whose model is blessed or
            pushed and those of other workspaces; None keeps all.

    Raises:
        ValueError: `keep_runs` is below 1.
    """
    if keep_runs is not None and keep_runs < 1:
        raise ValueError(f"--keep-runs: got {keep_runs}; at least one run is kept")
    workspace = keeping.workspace
    found: list[Garbage] = []
    if not keeping.doubts:
        old = _superseded(keeping, keep_runs) if keep_runs is not None else {}
        named = keeping.named()
        found += _artifact_folders(keeping, named, old)
        found += _scratch(workspace.root, named)
        found += _checkpoints(workspace, named, _finished(keeping))
        found += [
            Garbage("trash", path, "it was taken out by --mend", 0) for path in folders(workspace.trash)
        ]
    gone = {item.path for item in found}
    for name in ("checkpoints", "imported", *_UNHELD):
        unheld = name in _UNHELD or keeping.doubts
        changed_before = now - _UNHELD_SECONDS if unheld else float("inf")
        for path in _temporary(workspace.folder / name, gone, changed_before):
            found.append(Garbage("temporary", path, "its writer is gone", 0))
    return _measured(found)


def remove(store: MetadataStore, found: Iterable[Garbage]) -> Iterator[Garbage]:
    """Removes one thing after the other, and yields each once it is removed.

    Raises:
        OSError: something cannot be removed; all before it is.
    """
    for item in found:
        if item.artifacts:
            artifacts = store.get_artifacts_by_id(item.artifacts)
            for artifact in artifacts:
                artifact.state = pb.Artifact.DELETED
            store.put_artifacts(artifacts)
        if item.path.is_dir() and not item.path.is_symlink():
            shutil.rmtree(item.path)
        else:
            item.path.unlink()
        yield item


def _artifact_folders(keeping: Keeping, named: Named, old: Mapping[int, str]) -> Iterator[Garbage]:
    by_path = defaultdict(list)
    for artifact_id, path in old.items():
        by_path[path].append(artifact_id)
    of_nobody = set(keeping.unnamed_folders(named))
    for folder in keeping.unnamed_folders(keeping.named(old)):
        if ids := by_path.get(str(folder)):
            reason = "only runs older than those kept made or used it"
            yield Garbage("artifact", folder, reason, 0, tuple(sorted(ids)))
        elif folder in of_nobody:
            yield Garbage("files", folder, "no artifact of the store names it", 0)


def _scratch(root: Path, named: Named) -> Iterator[Garbage]:
    for node in folders(root):
        for kind in folders(node / SYSTEM):
            for folder in folders(kind):
                if not named.touches(str(folder)) and any(True for _ in _files(folder)):
                    yield Garbage("scratch", folder, "its executor has ended", 0)


def _checkpoints(workspace: Workspace, named: Named, finished: Collection[str]) -> Iterator[Garbage]:
    for folder in folders(workspace.checkpoints):
        if folder.name in finished:
            yield Garbage("checkpoints", folder, "the training has ended, its model is an artifact", 0)
            continue
        data = _text(folder / CHECKPOINT_DATA)
        # Without the file nobody can say whose they are; a training that was only stopped goes on from them.
        if data and is_local(data) and not _is_there(data, workspace, named):
            yield Garbage("checkpoints", folder, f"the records it was trained on are gone ({data})", 0)


def _is_there(data: str, workspace: Workspace, named: Named) -> bool:
    """Whether records exist, at the recorded path or at the same place in this workspace."""
    noted = local_path(str(workspace.folder / data.removeprefix("file://")))
    return any(
        named.covers(path) and os.path.isdir(path) for path in (noted, *places_in(workspace.root, noted))
    )


def _finished(keeping: Keeping) -> set[str]:
    """Names of the checkpoint folders of trainings whose model is an artifact."""
    found = set()
    for artifact in keeping.live:
        if artifact.type != "ModelRun" or not keeping.ownership.ours(artifact):
            continue
        try:
            found.add(json.loads(_text(Path(local_path(artifact.uri)) / _SUMMARY))["checkpoints"])
        except (ValueError, KeyError, TypeError):  # not there, cut short, or of an earlier version
            continue
    return found


def _temporary(root: Path, gone: Collection[Path], changed_before: float) -> Iterator[Path]:
    for entry in entries(root):
        path = Path(entry.path)
        if path in gone:
            continue
        folder = entry.is_dir(follow_symlinks=False)
        pattern = _TEMPORARY_FOLDER if folder else _TEMPORARY
        if pattern.fullmatch(entry.name):
            if entry.stat(follow_symlinks=False).st_mtime < changed_before:
                yield path
        elif folder:
            yield from _temporary(path, gone, changed_before)


def _superseded(keeping: Keeping, keep_runs: int) -> dict[int, str]:
    """The workspace's artifacts that no kept run made or used: folders by id."""
    store, root = keeping.store, keeping.workspace.root
    here = {a.id: a for a in keeping.live if _folder_of(a.uri, root) and keeping.ownership.ours(a)}
    runs = {run.id: run for run in runs_of(store)}
    by_run = {run: {a.id for a in store.get_artifacts_by_context(run)} & set(here) for run in runs}
    with_artifacts = [run for run, ids in sorted(by_run.items()) if ids]
    own = [run for run in with_artifacts if keeping.ownership.has(runs[run])]
    approved = {i for i, artifact in here.items() if _approved(artifact)}
    kept = {
        run for run in with_artifacts if run not in own or run in own[-keep_runs:] or by_run[run] & approved
    }
    # An artifact of no run at all, as an import leaves, is no run's to lose.
    of_no_run = set(here).difference(*by_run.values())
    starts = of_no_run.union(*(by_run[run] for run in kept))
    lost = set(here) - set(upstream(store, starts).artifacts)
    return {artifact_id: _folder_of(here[artifact_id].uri, root) for artifact_id in lost}


def _approved(artifact: pb.Artifact) -> bool:
    name = {BLESSING_TYPE: "blessed", "PushedModel": "pushed"}.get(artifact.type)
    return name is not None and artifact.custom_properties[name].int_value == 1


def _measured(found: list[Garbage]) -> list[Garbage]:
    """Adds what each frees; a file with several links counts with the last of them."""
    seen: dict[tuple[int, int], int] = defaultdict(int)
    measured = []
    for item in found:
        freed = 0
        for stat in _stats(item.path):
            seen[stat.st_dev, stat.st_ino] += 1
            if seen[stat.st_dev, stat.st_ino] == stat.st_nlink:
                freed += stat.st_size
        measured.append(Garbage(item.kind, item.path, item.reason, freed, item.artifacts))
    return measured


def _stats(path: Path) -> Iterator[os.stat_result]:
    if path.is_dir() and not path.is_symlink():
        for entry in _files(path):
            yield entry.stat(follow_symlinks=False)
    else:
        yield path.lstat()


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            yield entry


def _folder_of(uri: str, root: Path) -> str:
    """The folder `<root>/<node>/<output>/<execution>` that a URI is or lies in; "" if it lies in none."""
    path = Path(local_path(uri))
    if not is_local(uri) or not path.is_relative_to(root):
        return ""
    parts = path.relative_to(root).parts[:3]
    return str(root.joinpath(*parts)) if len(parts) == 3 else ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
