"""Which workspace a folder is, also after it was moved, renamed or copied: `identity.json` in it.

| the folder that the file names | then this folder |
|---|---|
| is this one | has not moved |
| no longer holds this workspace | was moved or renamed: it keeps its id and records its new place |
| still holds it, or is on another machine | is a copy: a workspace of its own, with a new id |

A folder that was renamed on another machine, or in a container whose host name has changed, is recognised by its inode.
If the original is gone there may be several copies, or an old copy in its place. The stores know which one was used
last: each use writes a random mark into the file and the store (`pipeline.relocation`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hares.atomic_files import write_atomically

IDENTITY_FILE = "identity.json"


class IdentityError(ValueError):
    """A workspace's `identity.json` cannot be read; the message names it and says what can be done."""


@dataclass(frozen=True)
class Identity:
    """A workspace's identity.

    Attributes:
        id: of this workspace alone.
        family: id of the first of the workspaces that this one is a copy of; its own where it is none.
        host: the machine.
        inode: of the folder.
        places: every folder where it has been under this id; the last is the present one.
        former: ids of the workspaces that it was a copy of, the latest last.
        marks: by store, the mark in it; two if it is uncertain whether the second was written there.
    """

    id: str
    family: str
    host: str
    inode: int
    places: tuple[str, ...]
    former: tuple[str, ...] = ()
    marks: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        """The folder, absolute."""
        return self.places[-1]

    def copy(self) -> Identity:
        """A workspace of its own, at the same place."""
        fresh, former = uuid.uuid4().hex, (*self.former, self.id)
        return dataclasses.replace(self, id=fresh, places=(self.place,), former=former, marks={})

    def knows(self, mark: str) -> bool:
        """Whether a store's mark is one that this folder wrote, and no copy of it later."""
        return any(mark in written for written in self.marks.values())

    def marked(self, store: str, before: str) -> Identity:
        """With a new mark for a store.

        Args:
            store: its name.
            before: the mark that is in it, "" for none.
        """
        return dataclasses.replace(self, marks={**self.marks, store: [before, uuid.uuid4().hex]})


def recorded_identity(folder: Path) -> Identity | None:
    """What `identity.json` says; None if there is no such file.

    Raises:
        IdentityError: the file cannot be read as an identity; the message names it.
    """
    path = folder / IDENTITY_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        identity = Identity(
            **{**content, "places": tuple(content["places"]), "former": tuple(content["former"])}
        )
        if not all(isinstance(text, str) for text in (identity.id, identity.family, identity.place)):
            raise ValueError("its id, family and places must be texts")
        return identity
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise IdentityError(
            f"{path}: not the identity of a workspace ({error}). Take it from a backup; without the file the folder "
            "counts as a new workspace, and its runs make their artifacts anew"
        ) from error


def present_identity(folder: Path) -> Identity | None:
    """The folder's identity by the table above, without writing it; None if no run was ever started in it.

    Args:
        folder: the workspace's, resolved.

    Raises:
        IdentityError: as `recorded_identity` does.
    """
    recorded = recorded_identity(folder)
    if recorded is None:
        return None
    here, host, inode = str(folder), socket.gethostname(), folder.stat().st_ino
    if (recorded.place, recorded.host, recorded.inode) == (here, host, inode):
        return recorded
    old = Path(recorded.place)
    if recorded.host == host:
        is_copy = recorded.place != here and _holds(old, recorded.id) and not _same(old, folder)
    else:
        is_copy = recorded.inode != inode
    places = recorded.places if recorded.place == here else (*recorded.places, here)
    present = dataclasses.replace(recorded, host=host, inode=inode, places=places)
    return present.copy() if is_copy else present


def new_identity(folder: Path) -> Identity:
    """The identity of a folder that is no copy of any other."""
    fresh = uuid.uuid4().hex
    return Identity(fresh, fresh, socket.gethostname(), folder.stat().st_ino, (str(folder),))


def write_identity(folder: Path, identity: Identity) -> None:
    """Writes `identity.json` atomically; the caller holds the workspace."""
    text = json.dumps(dataclasses.asdict(identity), indent=1) + "\n"
    write_atomically(folder / IDENTITY_FILE, text.encode())


def _holds(folder: Path, identity: str) -> bool:
    """Whether a folder is the workspace with that id; also true if its identity cannot be read."""
    try:
        found = recorded_identity(folder)
    except IdentityError:
        return True
    return found is not None and found.id == identity


def _same(old: Path, folder: Path) -> bool:
    """Whether two paths lead to the same folder, through a link or a mount."""
    try:
        return os.path.samefile(old, folder)
    except OSError:
        return False
