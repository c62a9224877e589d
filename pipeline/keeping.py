"""Decides what may be removed from a workspace, for `hares workspace gc` and `hares metadata check --mend`.

A folder `artifacts/<node>/<output>/<execution>` is kept while a live artifact names it, or names something inside or
around it. The artifact may be in any store in which runs of the workspace are recorded (`stores.txt`), and may name the
workspace's present place or an earlier one. A store that cannot be read may name everything, and a run that may be at
work may be about to: then no such folder goes.

Symbolic links are never followed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.identity import recorded_identity
from pipeline.lineage.connection import StoreUnreachableError, store_address
from pipeline.lineage.ownership import Ownership, is_local, local_path, runs_of
from pipeline.lineage.record import GONE, running
from pipeline.workspace import Workspace
from workarounds.ml_metadata import nodes

SYSTEM = ".system"  # where TFX keeps files that are no artifacts


@dataclass(frozen=True)
class OtherStores:
    """The workspace's stores besides the one in use.

    Attributes:
        live: their live artifacts.
        unread: those that cannot be read, each with the reason.
    """

    live: tuple[pb.Artifact, ...] = ()
    unread: tuple[str, ...] = ()


def other_stores(workspace: Workspace, shown: str) -> OtherStores:
    """Reads every store in which runs of the workspace are recorded.

    Args:
        workspace: with a resolved folder.
        shown: address of the store in use, which is left out, as it is shown.
    """
    live: list[pb.Artifact] = []
    unread = []
    for name in workspace.other_stores(shown):
        try:
            address = store_address(name if "://" in name else str(workspace.folder / name), workspace.store)
            with address.asking() as store:
                live += live_artifacts(store)
        except (StoreUnreachableError, OSError, ValueError) as error:
            unread.append(
                f"{name}, in which runs of this workspace are recorded too, cannot be read: {error}"
            )
    return OtherStores(tuple(live), tuple(unread))


class Keeping:
    """What the stores of a workspace name, at the moment this is created.

    Args:
        workspace: with a resolved folder.
        store: the store in use.
        others: the workspace's other stores.

    Attributes:
        live: live artifacts of the store.
        ownership: tells which of them are this workspace's.
        doubts: reasons, for a person, why no folder of artifacts may go at all; empty if there are none.

    Raises:
        IdentityError: the workspace's identity cannot be read.
    """

    def __init__(self, workspace: Workspace, store: MetadataStore, others: OtherStores = OtherStores()):
        self.workspace = workspace
        self.store = store
        self.live = live_artifacts(store)
        self.ownership = Ownership(store, workspace.root, recorded_identity(workspace.folder))
        self.doubts = [
            *others.unread,
            *(
                f"run {run.name} may be at work: its process is {state}"
                for run, state in running(runs_of(store))
                if state != GONE and self.ownership.has(run)
            ),
        ]
        self._others = others

    def named(self, but: Collection[int] = ()) -> Named:
        """The paths that live artifacts name.

        Args:
            but: ids of this workspace's artifacts that are to go with their files. They are not kept because another
                workspace, as the original of this copy, has the same files at its own place.
        """
        kept = [artifact for artifact in self.live if artifact.id not in but]
        elsewhere = [artifact for artifact in kept if but and self.ownership.of_another(artifact)]
        here = [artifact for artifact in kept if not (but and self.ownership.of_another(artifact))]
        return Named(
            [artifact.uri for artifact in (*here, *self._others.live)],
            [artifact.uri for artifact in elsewhere],
            self.workspace.root,
        )

    def unnamed_folders(self, named: Named) -> Iterator[Path]:
        """Folders `artifacts/<node>/<output>/<execution>` that no artifact names."""
        for node in folders(self.workspace.root):
            for output in folders(node):
                if SYSTEM in (node.name, output.name):
                    continue
                for folder in folders(output):
                    if folder.name.isdecimal() and not named.touches(str(folder)):
                        yield folder


class Named:
    """The paths that artifacts name: tells whether a path equals, contains or lies inside one.

    Args:
        uris: of artifacts that may be of this workspace, recorded when it was at another place.
        elsewhere: of another workspace's artifacts, which name nothing but their own path.
        root: the workspace's pipeline root, resolved.
    """

    def __init__(self, uris: Iterable[str], elsewhere: Iterable[str], root: Path):
        self._paths: set[str] = set()
        self._above: set[str] = set()
        for uri in uris:
            for place in _places(uri):
                self._add(place)
                for here in places_in(root, place):
                    self._add(here)
        for uri in elsewhere:
            for place in _places(uri):
                self._add(place)

    def covers(self, path: str) -> bool:
        """Whether `path` is one of them or lies inside one."""
        return path in self._paths or any(str(parent) in self._paths for parent in Path(path).parents)

    def touches(self, path: str) -> bool:
        """Whether anything named would be lost with `path`."""
        return self.covers(path) or path in self._above

    def _add(self, path: str) -> None:
        self._paths.add(path)
        self._above.update(map(str, Path(path).parents))


def _places(uri: str) -> set[str]:
    """The path of a local URI, as written and with links resolved."""
    return {local_path(uri), os.path.realpath(local_path(uri))} if is_local(uri) else set()


def places_in(root: Path, path: str) -> Iterator[str]:
    """Where a path would lie here, if it names this workspace at a place it was moved or copied from."""
    parts = Path(path).parts
    for number, part in enumerate(parts):
        if part == root.name:
            yield str(root.joinpath(*parts[number + 1 :]))


def live_artifacts(store: MetadataStore) -> list[pb.Artifact]:
    """Every artifact of a store that is not DELETED."""
    return [artifact for artifact in nodes(store, "artifact") if artifact.state != pb.Artifact.DELETED]


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, links left out."""
    return [Path(entry.path) for entry in entries(folder) if entry.is_dir(follow_symlinks=False)]


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """The entries of a folder, sorted; none if it is no folder, or a symbolic link."""
    if not folder.is_dir() or folder.is_symlink():
        return []
    with os.scandir(folder) as listing:
        return sorted(listing, key=lambda entry: os.fsencode(entry.name))
