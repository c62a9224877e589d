"""`hares workspace gc`: what nothing in a workspace refers to, and removing it.

| goes | when |
|---|---|
| `artifacts/<node>/<output>/<execution>` | no artifact of the store stands for it: its step was killed or failed |
| the same, and its artifacts become DELETED | with `keep_runs`: only older runs made or used it |
| `artifacts/<node>/.system/<kind>/<name>` | it holds files: what TFX's executors of a step leave when they are killed |
| `checkpoints/<digest>` | the training has ended and its model is there, or the records it read are gone |
| temporary files | their writer is gone: it would hold the workspace, or have finished within the hour |

The caller holds the workspace (`Workspace.held`), so no run is at work in it. What is not listed stays: logs, pushed
models, studies, imported files, weights of warm starts, and every file that is not where a run would have put it.

Symbolic links are never followed. An artifact is marked DELETED before its files go, and no other artifact is touched:
TFX's cache knows inputs by their whole record, and a newer time in it would spoil the cache. Being stopped between two
removals, or within one, leaves less to do for the next call.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import errors
from ml_metadata.metadata_store import ListOptions, MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.graph import upstream
from pipeline.lineage.record import RUN_TYPE
from pipeline.lineage.store import BLESSING_TYPE
from pipeline.workspace import CHECKPOINT_DATA, Workspace

_SYSTEM = ".system"  # where TFX keeps what is no artifact
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
        kind: "files" (of no artifact), "artifact", "scratch", "checkpoints" or "temporary".
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


def find_garbage(
    workspace: Workspace, store: MetadataStore, now: float, keep_runs: int | None = None
) -> list[Garbage]:
    """Everything that may go, in the order in which `remove` takes it.

    Args:
        workspace: with a resolved folder, held by the caller.
        store: the store in which all runs of the workspace are recorded.
        now: the time, in seconds since the epoch; what a command writes without holding the workspace counts as
            left behind an hour after its last change.
        keep_runs: how many runs to keep, the newest that have artifacts here, beside those whose model is blessed or
            pushed; None keeps all.

    Raises:
        ValueError: `keep_runs` is below 1.
    """
    if keep_runs is not None and keep_runs < 1:
        raise ValueError(f"--keep-runs: got {keep_runs}; at least one run is kept")
    live = [a for a in store.get_artifacts() if a.state != pb.Artifact.DELETED]
    old = _superseded(store, live, workspace.root, keep_runs) if keep_runs is not None else set()
    named = _Named(artifact.uri for artifact in live if artifact.id not in old)
    by_path = defaultdict(list)
    for artifact in live:
        if artifact.id in old:
            by_path[_folder_of(artifact.uri, workspace.root)].append(artifact.id)
    found = [
        *_artifact_folders(workspace.root, named, by_path),
        *_checkpoints(workspace.checkpoints, named, _finished(live)),
    ]
    gone = {item.path for item in found}
    for name in ("checkpoints", "imported", *_UNHELD):
        changed_before = now - _UNHELD_SECONDS if name in _UNHELD else float("inf")
        for path in _temporary(workspace.folder / name, gone, changed_before):
            found.append(Garbage("temporary", path, "its writer is gone", 0))
    return _measured(found)


def remove(store: MetadataStore, found: Iterable[Garbage]) -> Iterator[Garbage]:
    """Removes one thing after the other, and gives each when it is gone.

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


class _Named:
    """The paths that artifacts name, asked whether a path is one of them, above one or below one."""

    def __init__(self, uris: Iterable[str]) -> None:
        self._paths: set[str] = set()
        self._above: set[str] = set()
        self._ends: set[tuple[str, ...]] = set()
        for uri in uris:
            if not _is_local(uri):
                continue
            for path in {_path(uri), os.path.realpath(_path(uri))}:
                self._paths.add(path)
                self._above.update(map(str, Path(path).parents))
            # A workspace that was moved or copied: its store names the old place.
            self._ends.add(Path(_path(uri)).parts[-3:])

    def covers(self, path: str) -> bool:
        """Whether `path` is one of them or below one."""
        return path in self._paths or any(str(parent) in self._paths for parent in Path(path).parents)

    def touches(self, path: str) -> bool:
        """Whether anything named would be lost with `path`."""
        return self.covers(path) or path in self._above or Path(path).parts[-3:] in self._ends


def _artifact_folders(root: Path, named: _Named, old: dict[str, list[int]]) -> Iterator[Garbage]:
    for node in _folders(root):
        for output in _folders(node):
            if output.name == _SYSTEM:
                yield from _scratch(output, named)
                continue
            for folder in _folders(output):
                path = str(folder)
                if not folder.name.isdecimal() or named.touches(path):
                    continue
                if path in old:
                    reason = "only runs older than those kept made or used it"
                    yield Garbage("artifact", folder, reason, 0, tuple(sorted(old[path])))
                else:
                    yield Garbage("files", folder, "no artifact of the store stands for it", 0)


def _scratch(system: Path, named: _Named) -> Iterator[Garbage]:
    for kind in _folders(system):
        for folder in _folders(kind):
            if not named.touches(str(folder)) and any(True for _ in _files(folder)):
                yield Garbage("scratch", folder, "its executor has ended", 0)


def _checkpoints(root: Path, named: _Named, finished: Collection[str]) -> Iterator[Garbage]:
    for folder in _folders(root):
        if folder.name in finished:
            yield Garbage("checkpoints", folder, "the training has ended, its model is an artifact", 0)
            continue
        data = _text(folder / CHECKPOINT_DATA)
        # Without the file nobody can say whose they are; a training that was only stopped goes on from them.
        if data and _is_local(data) and not (named.covers(_path(data)) and os.path.isdir(data)):
            yield Garbage("checkpoints", folder, f"the records it was trained on are gone ({data})", 0)


def _finished(live: Sequence[pb.Artifact]) -> set[str]:
    """Names of the checkpoint folders of trainings whose model is an artifact."""
    found = set()
    for artifact in live:
        text = _text(Path(_path(artifact.uri)) / _SUMMARY) if artifact.type == "ModelRun" else ""
        try:
            found.add(json.loads(text)["checkpoints"])
        except (ValueError, KeyError, TypeError):  # not there, cut short, or of an earlier version
            continue
    return found


def _temporary(root: Path, gone: Collection[Path], changed_before: float) -> Iterator[Path]:
    for entry in _entries(root):
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


def _superseded(store: MetadataStore, live: Sequence[pb.Artifact], root: Path, keep_runs: int) -> set[int]:
    """Ids of the artifacts below `root` that only runs made or used which are not kept."""
    here = {a.id: a for a in live if _folder_of(a.uri, root)}
    by_run = {
        run.id: {a.id for a in store.get_artifacts_by_context(run.id)} & set(here) for run in _runs(store)
    }
    with_artifacts = [run for run, ids in sorted(by_run.items()) if ids]
    approved = {i for i, artifact in here.items() if _approved(artifact)}
    kept = {run for run in with_artifacts if run in with_artifacts[-keep_runs:] or by_run[run] & approved}
    # An artifact of no run at all, as an import leaves, is no run's to lose.
    of_no_run = set(here).difference(*by_run.values())
    starts = of_no_run.union(*(by_run[run] for run in kept))
    return set(here) - set(upstream(store, starts).artifacts)


def _runs(store: MetadataStore) -> list[pb.Context]:
    try:
        return list(store.get_contexts(ListOptions(filter_query=f"type = '{RUN_TYPE}'")))
    except errors.NotFoundError:  # no run was ever recorded
        return []


def _approved(artifact: pb.Artifact) -> bool:
    name = {BLESSING_TYPE: "blessed", "PushedModel": "pushed"}.get(artifact.type)
    return name is not None and artifact.custom_properties[name].int_value == 1


def _measured(found: list[Garbage]) -> list[Garbage]:
    """With what each frees: a file of several links counts where the last of them goes."""
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
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        else:
            yield entry


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir(follow_symlinks=False)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, sorted; nothing where it is no folder, or a symbolic link."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    with os.scandir(folder) as listing:
        return sorted(listing, key=lambda entry: os.fsencode(entry.name))


def _folder_of(uri: str, root: Path) -> str:
    """The folder `<root>/<node>/<output>/<execution>` that a URI is, or is in; "" where it is in none."""
    path = Path(_path(uri))
    if not _is_local(uri) or not path.is_relative_to(root):
        return ""
    parts = path.relative_to(root).parts[:3]
    return str(root.joinpath(*parts)) if len(parts) == 3 else ""


def _is_local(uri: str) -> bool:
    return bool(uri) and ("://" not in uri or uri.startswith("file://"))


def _path(uri: str) -> str:
    return os.path.abspath(uri.removeprefix("file://"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
