"""A workspace that was moved, renamed or copied works where it is now: its store names the present place.

| the store | of a workspace that was moved | of a copy |
|---|---|---|
| a file in the workspace | names the present place | was copied too: the same |
| a server, or a file elsewhere | names the present place | stays unchanged: it names the original's files |

A copy still finds the original's results in the cache, if it has the files (`pipeline.cache`). Only texts that name the
old place are rewritten, and the new place is recorded last: if the process stops before, the next command repeats it.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.identity import Identity, new_identity, present_identity, recorded_identity, write_identity
from pipeline.lineage.connection import StoreAddress
from pipeline.lineage.ownership import FAMILY, PLACE, WORKSPACE, WORKSPACE_TYPE, runs_of
from pipeline.workspace import Workspace, WorkspaceBusyError

T = TypeVar("T", pb.Artifact, pb.Execution, pb.Context)
_BATCH = 500
_MARK = "mark"  # on a workspace: who used it last (`Identity.marks`)


def settle(workspace: Workspace, address: StoreAddress) -> Identity:
    """Brings a workspace's identity and its records in the store up to date with where it is.

    Args:
        workspace: with a resolved folder, held by the caller.
        address: the store in which its runs are recorded; a missing SQLite file is made.

    Raises:
        IdentityError: `identity.json` cannot be read.
        StoreUnreachableError: the store does not answer.
    """
    folder = workspace.folder
    identity = present_identity(folder) or new_identity(folder)
    own = _is_own(address, folder)
    if own and address.file is not None and address.file.is_file():
        _unlink_from_copies(address.file)
    write_identity(folder, identity)
    with address.asking(create=True) as store:
        noted = _noted(store, identity.id)
        if noted and not own and not identity.knows(noted.mark):
            # Another folder with this id has used this store since: this one is an old copy of it.
            identity, noted = identity.copy(), None
        former, place = identity.id, noted.place if noted else ""
        if own and not noted:
            known = ((name, found) for name in reversed(identity.former) if (found := _noted(store, name)))
            former, place = next(((name, found.place) for name, found in known), (former, ""))
        # Written before the store: if the process stops in between, the folder knows both marks.
        identity = identity.marked(workspace.store_name(address.shown), noted.mark if noted else "")
        write_identity(folder, identity)
        if place and (former, place) != (identity.id, identity.place):
            _rewrite(store, identity, former, place, everything=own)
        note_workspace(store, identity, identity.marks[workspace.store_name(address.shown)][-1])
    return identity


def settle_if_moved(folder: Path, address: StoreAddress) -> None:
    """As `settle`, for commands that start no run, if the store disagrees with where the workspace is.

    A workspace that is in use was settled by its user; one on a read-only disk is read as it is.

    Raises:
        IdentityError, StoreUnreachableError: as `settle` does.
    """
    folder = folder.resolve()
    if not folder.is_dir() or not address.exists() or (recorded := recorded_identity(folder)) is None:
        return
    if present_identity(folder) == recorded:
        with address.asking() as store:
            noted = _noted(store, recorded.id)
            if noted and noted.place == recorded.place and recorded.knows(noted.mark):
                return
            if not noted and not any(_noted(store, name) for name in recorded.former):
                return  # a store that does not know the workspace
    workspace = Workspace(folder)
    try:
        with workspace.held():
            settle(workspace, address)
    except WorkspaceBusyError:
        pass
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise


def note_workspace(store: MetadataStore, identity: Identity, mark: str) -> None:
    """Records where a workspace is, once everything else in the store agrees with that place."""
    type_id = store.put_context_type(pb.ContextType(name=WORKSPACE_TYPE), can_add_fields=True)
    found = store.get_context_by_type_and_name(WORKSPACE_TYPE, identity.id)
    context = found or pb.Context(type_id=type_id, name=identity.id)
    values = {PLACE: identity.place, FAMILY: identity.family, "host": identity.host, _MARK: mark}
    for name, value in values.items():
        context.custom_properties[name].string_value = value
    store.put_contexts([context])


def moved_text(text: str, old: str, new: str) -> str:
    """A text with every path at or below `old` moved to `new`, also within JSON, and JSON within JSON."""
    forms = [(old, new)]
    for _ in range(2):
        forms.append((json.dumps(forms[-1][0])[1:-1], json.dumps(forms[-1][1])[1:-1]))

    def replaced(match: re.Match[str]) -> str:
        before = text[: match.start()]
        level = 2 if before.endswith('\\"') else 1 if before.endswith('"') else 0
        return forms[max(level, [form for form, _ in forms].index(match[0]))][1]

    for form in dict.fromkeys(form for form, _ in forms):
        if form in text:
            text = _whole_path(form).sub(replaced, text)
    return text


def moved(message: T, old: str, new: str) -> T | None:
    """A copy of a record whose texts name the new place; None if it does not name the old one."""
    copy = type(message)()
    copy.CopyFrom(message)
    if isinstance(copy, pb.Artifact):
        copy.uri = moved_text(copy.uri, old, new)
    for values in (copy.properties, copy.custom_properties):
        for value in values.values():
            if value.HasField("string_value"):
                value.string_value = moved_text(value.string_value, old, new)
    return copy if copy != message else None


def _rewrite(store: MetadataStore, identity: Identity, former: str, old: str, everything: bool) -> None:
    """Rewrites what the workspace `former` recorded at `old` to the present id and place.

    Args:
        store: the store.
        identity: the present one.
        former: the id under which it was recorded.
        old: the place that the store names.
        everything: whether to rewrite all that names the old place, as in a store inside the workspace; else only what
            runs of this workspace made.
    """
    mine = [run for run in runs_of(store) if _of(run, former)]
    contexts = runs_of(store) if everything else mine
    if everything:
        artifacts: Iterable[pb.Artifact] = store.get_artifacts()
        executions: Iterable[pb.Execution] = store.get_executions()
    else:
        names = {run.name for run in mine}
        artifacts = _once(
            a for run in mine for a in store.get_artifacts_by_context(run.id) if _made_by(a, names)
        )
        executions = _once(e for run in mine for e in store.get_executions_by_context(run.id))
    _put(store.put_artifacts, artifacts, old, identity.place)
    _put(store.put_executions, executions, old, identity.place)
    _put(store.put_contexts, contexts, old, identity.place)
    if former != identity.id:
        again = [run for run in runs_of(store) if _of(run, former)]
        for run in again:
            run.custom_properties[WORKSPACE].string_value = identity.id
        for batch in _batches(again):
            store.put_contexts(batch)


def _put(put: Callable[[list[T]], object], records: Iterable[T], old: str, new: str) -> None:
    changed = (copy for record in records if (copy := moved(record, old, new)) is not None)
    for batch in _batches(changed):
        put(batch)


def _batches(records: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(records)
    while batch := list(islice(iterator, _BATCH)):
        yield batch


def _once(records: Iterable[T]) -> Iterator[T]:
    return iter({record.id: record for record in records}.values())


def _of(run: pb.Context, workspace: str) -> bool:
    return bool(
        WORKSPACE in run.custom_properties and run.custom_properties[WORKSPACE].string_value == workspace
    )


def _made_by(artifact: pb.Artifact, runs: set[str]) -> bool:
    """Whether one of the runs made it, or uses it where no step made it (an imported model)."""
    return "run" not in artifact.custom_properties or artifact.custom_properties["run"].string_value in runs


@dataclass(frozen=True)
class _Noted:
    place: str
    mark: str


def _noted(store: MetadataStore, identity: str) -> _Noted | None:
    """What a store says of a workspace."""
    context = store.get_context_by_type_and_name(WORKSPACE_TYPE, identity)
    if context is None:
        return None
    properties = context.custom_properties
    return _Noted(properties[PLACE].string_value, properties[_MARK].string_value)


def _is_own(address: StoreAddress, folder: Path) -> bool:
    return address.file is not None and address.file.resolve().is_relative_to(folder)


def _unlink_from_copies(file: Path) -> None:
    """A copy made of hard links (`cp -al`) shares its store with the original, so it gets a store of its own."""
    if file.stat().st_nlink > 1:
        part = file.with_name(f"{file.name}.part")
        shutil.copy2(file, part)
        os.replace(part, file)


def _whole_path(path: str) -> re.Pattern[str]:
    """Matches a path at the start of a text, or of a string within it, that ends there or continues below."""
    return re.compile(rf"(?:(?<=://)|(?<![\w./-])){re.escape(path)}(?=/|$|[\"'\\])")
