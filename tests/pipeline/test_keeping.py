"""Random lives of workspaces that share stores: run, copied, moved, killed, lost, collected and mended in any order.

Runs write files and publish artifacts as TFX does; everything else is the real code. Each file holds a text that no
other has, and its artifact says which, so that a file that is lost or belongs to another shows.
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.lineage_stores import CACHED, RUNNING, StoreWriter
from pipeline.gc import find_garbage, remove
from pipeline.identity import recorded_identity
from pipeline.keeping import Keeping, OtherStores, other_stores
from pipeline.lineage.check import check, mend
from pipeline.lineage.connection import StoreAddress, sqlite_config, store_address
from pipeline.relocation import settle, settle_if_moved
from pipeline.workspace import Workspace

GONE_PROCESS = f"{socket.gethostname()} 999999999 1"
NODES = ("ingest", "trainer")
FAR_FUTURE = 4e9


@dataclass
class World:
    """Some workspaces in a folder, each with a store of its own, and one store that all may use."""

    folder: Path
    empty: Path
    names: Iterator[int] = field(default_factory=itertools.count)
    killed: set[str] = field(default_factory=set)
    lost: int = 0

    def __post_init__(self) -> None:
        shutil.copy(self.empty, self.folder / "shared.sqlite")
        self.workspace(new=True)

    def workspaces(self) -> list[Path]:
        return sorted(path for path in self.folder.iterdir() if path.is_dir())

    def workspace(self, number: int = 0, new: bool = False) -> Path:
        there = self.workspaces()
        if not new and there:
            return there[number % len(there)]
        folder = self.folder / f"w{next(self.names)}"
        folder.mkdir()
        shutil.copy(self.empty, folder / "metadata.sqlite")
        return folder

    def address(self, folder: Path, shared: bool) -> StoreAddress:
        return store_address("", (self.folder / "shared.sqlite") if shared else folder / "metadata.sqlite")

    def stores(self) -> list[MetadataStore]:
        files = [self.folder / "shared.sqlite", *(f / "metadata.sqlite" for f in self.workspaces())]
        return [store_address("", file).open() for file in files]

    # What happens to workspaces

    def run(self, folder: Path, shared: bool, node: str, killed: bool, borrowed: int) -> None:
        """A run of one step: it may use the newest artifact there is, die before it publishes, or be cached."""
        workspace, address = Workspace(folder), self.address(folder, shared)
        with workspace.held():
            identity = settle(workspace, address)
            workspace.note_store(address.shown)
            writer = StoreWriter(address.open())
            name = f"run{next(self.names)}"
            writer.context(
                "pipeline_run", name, workspace=identity.id, process=GONE_PROCESS,
                status="running" if killed else "complete",
            )  # fmt: skip
            live = [a for a in writer.store.get_artifacts() if a.state == pb.Artifact.LIVE]
            inputs = [("in", live[borrowed % len(live)].id)] if live and borrowed else []
            if borrowed == 1 and inputs:  # from the cache, whosever it is
                writer.step(name, node, [], [("out", inputs[0][1])], CACHED)
                return
            step = writer.step(name, node, inputs, [], RUNNING)
            path = workspace.root / node / "out" / str(step)
            if path.exists():  # of another store: `local_runner` refuses to write there
                return
            path.mkdir(parents=True)
            (path / "content").write_text(name)
            if killed:
                self.killed.add(name)
                return
            (execution,) = writer.store.get_executions_by_id([step])
            execution.last_known_state = pb.Execution.COMPLETE
            artifact = pb.Artifact(
                type_id=writer.artifact_type("Model"), uri=str(path), state=pb.Artifact.LIVE
            )
            for key, value in (("run", name), ("node", node), ("report", f"{folder}/artifacts/x")):
                artifact.custom_properties[key].string_value = value
            event = pb.Event(type=pb.Event.OUTPUT)
            event.path.steps.add().key = "out"
            context = writer.store.get_context_by_type_and_name("pipeline_run", name)
            writer.store.put_execution(execution, [(artifact, event)], [context])

    def copy(self, folder: Path, links: bool) -> None:
        copied = self.folder / f"w{next(self.names)}"
        shutil.copytree(folder, copied, copy_function=os.link if links else shutil.copy2, symlinks=True)

    def move(self, folder: Path) -> None:
        folder.rename(self.folder / f"w{next(self.names)}")

    def take_place(self, folder: Path, other: Path) -> None:
        """Moved to where another workspace was, which is moved as well."""
        if folder != other:
            self.move(other)
            folder.rename(other)

    def clean(self, folder: Path, shared: bool, how: str, stop: int) -> None:
        """`hares workspace gc` or `hares metadata check --mend`, perhaps killed after some removals."""
        workspace, address = Workspace(folder), self.address(folder, shared)
        settle_if_moved(folder, address)
        before, rows = tree(self.folder), self.rows_of_others(folder)
        with workspace.held():
            keeping = Keeping(workspace, address.open(), other_stores(workspace, address.shown))
            if how == "mend":
                for finding in check(keeping)[: stop or None]:
                    mend(keeping, [finding])
            else:
                found = find_garbage(keeping, FAR_FUTURE, 1 if how == "keep 1" else None)
                for _ in zip(range(stop or len(found)), remove(keeping.store, found), strict=False):
                    pass
        inside = f"{folder.name}/"
        changed = before.items() ^ tree(self.folder).items()
        assert all(path.startswith(inside) for path, _ in changed), "another workspace's files were touched"
        assert self.rows_of_others(folder) == rows, "another workspace's artifacts were touched"
        gone = before.keys() - tree(self.folder).keys()
        named = {
            str(path) for path in gone if path.startswith(f"{inside}artifacts") and path.endswith("/content")
        }
        deleted = self.tokens(pb.Artifact.DELETED) if how == "keep 1" else set()
        assert {before[path] for path in named} <= self.killed | deleted | self.unpublished(before)

    def unpublished(self, before: dict[str, str]) -> set[str]:
        """Texts of files that no artifact of any store ever stood for."""
        known = self.tokens(pb.Artifact.LIVE) | self.tokens(pb.Artifact.DELETED)
        return {text for path, text in before.items() if path.endswith("/content") and text not in known}

    def tokens(self, state: int) -> set[str]:
        return {
            a.custom_properties["run"].string_value
            for store in self.stores()
            for a in store.get_artifacts()
            if a.state == state
        }

    def rows_of_others(self, folder: Path) -> list[bytes]:
        """Artifacts in the shared store that lie in other workspaces, and the other workspaces' own stores."""
        return sorted(
            a.SerializeToString(deterministic=True)
            for store in self.stores()
            for a in store.get_artifacts()
            if not Path(a.uri).is_relative_to(folder)
        )

    def assert_all_is_there(self) -> None:
        """Every live artifact's file is where its workspace finds it, and is that file."""
        for folder in self.workspaces():
            identity = recorded_identity(folder)
            if identity is None:
                continue
            for shared in (False, True):
                address = self.address(folder, shared)
                settle_if_moved(folder, address)
                workspace = Workspace(folder)
                keeping = Keeping(workspace, address.open(), OtherStores())
                for artifact in keeping.live:
                    if keeping.ownership.ours(artifact):
                        found = Path(artifact.uri, "content")
                        assert found.read_text() == artifact.custom_properties["run"].string_value


def tree(folder: Path) -> dict[str, str]:
    """Text of every artifact's file and trash, by path."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.glob("*/*/**/content")
        if path.is_file()
    }


CLEANING = st.sampled_from(["gc", "keep 1", "mend"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(
            st.just("run"), st.integers(0, 3), st.booleans(), st.sampled_from(NODES), st.booleans(), st.integers(0, 4)
        ),
        st.tuples(st.just("new"), st.integers(0, 0)),
        st.tuples(st.just("copy"), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("move"), st.integers(0, 3)),
        st.tuples(st.just("exchange"), st.integers(0, 3), st.integers(0, 3)),
        st.tuples(st.just("lose"), st.integers(0, 3)),
        st.tuples(st.just("clean"), st.integers(0, 3), st.booleans(), CLEANING, st.integers(0, 2)),
    ),
    min_size=3,
    max_size=14,
)  # fmt: skip


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without anything, which takes longer to make than to copy."""
    path = tmp_path_factory.mktemp("store") / "empty.sqlite"
    MetadataStore(sqlite_config(path)).get_artifacts()
    return path


def live_through(operations: list[tuple], empty: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        world = World(Path(name).resolve(), empty)
        for what, number, *rest in operations:
            folder = world.workspace(number)
            if what == "run":
                world.run(folder, *rest)
            elif what == "new":
                world.workspace(new=True)
            elif what == "copy" and len(world.workspaces()) < 4:
                world.copy(folder, *rest)
            elif what == "move":
                world.move(folder)
            elif what == "exchange":
                world.take_place(folder, world.workspace(rest[0]))
            elif what == "lose" and len(world.workspaces()) > 1:
                shutil.rmtree(folder)
            elif what == "clean":
                world.clean(folder, *rest)
        world.assert_all_is_there()


COMMON = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck),
          "phases": (Phase.explicit, Phase.generate, Phase.target)}  # fmt: skip


@settings(max_examples=60, **COMMON)
@given(OPERATIONS)
def test_no_file_of_a_live_artifact_is_ever_removed(empty_store: Path, operations: list[tuple]) -> None:
    live_through(operations, empty_store)


@pytest.mark.full
@settings(max_examples=2000, **COMMON)
@given(OPERATIONS)
def test_no_file_of_a_live_artifact_is_ever_removed_at_length(
    empty_store: Path, operations: list[tuple]
) -> None:
    live_through(operations, empty_store)


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside, place = tmp_path / "outside", Workspace(tmp_path / "w")
    for folder in (
        outside / "model" / "7",
        outside / "7",
        place.root / "trainer" / "out",
        place.root / "evaluator",
    ):
        folder.mkdir(parents=True)
    (outside / "7" / "precious").write_text("not ours")
    (place.root / "behind").symlink_to(outside, target_is_directory=True)
    (place.root / "evaluator" / "model").symlink_to(outside / "model", target_is_directory=True)
    (place.root / "trainer" / "out" / "7").symlink_to(outside / "7", target_is_directory=True)
    orphan = place.root / "trainer" / "out" / "8"
    orphan.mkdir()
    keeping = Keeping(place, StoreWriter().store)
    assert [item.path for item in find_garbage(keeping, FAR_FUTURE)] == [orphan]
    (found,) = check(keeping)
    place.trash.symlink_to(outside, target_is_directory=True)
    with pytest.raises(OSError, match="symbolic link"):
        mend(keeping, [found])
    assert orphan.is_dir() and (outside / "7" / "precious").is_file() and (outside / "model" / "7").is_dir()
    assert find_garbage(keeping, FAR_FUTURE)[0].path == orphan, "what the trash leads to is none"


def test_what_another_store_stands_for_is_kept_and_one_that_is_gone_may_stand_for_all(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "w")
    theirs, orphan = place.root / "trainer" / "out" / "1", place.root / "trainer" / "out" / "2"
    for folder in (theirs, orphan):
        folder.mkdir(parents=True)
    other = tmp_path / "other.sqlite"
    StoreWriter(MetadataStore(sqlite_config(other))).artifact(
        "Model", "/where/it/was/artifacts/trainer/out/1/deep"
    )
    for shown in (str(other), str(place.store)):
        place.note_store(shown)
    store = StoreWriter().store
    keeping = Keeping(place, store, other_stores(place, str(place.store)))
    assert keeping.doubts == [] and [item.path for item in find_garbage(keeping, FAR_FUTURE)] == [orphan]
    assert [(found.what, found.can_mend) for found in check(keeping)] == [(str(orphan), True)]
    other.unlink()
    keeping = Keeping(place, store, other_stores(place, str(place.store)))
    assert find_garbage(keeping, FAR_FUTURE) == [] and str(other) in keeping.doubts[0]
    assert [found.can_mend for found in check(keeping)] == [False, False]
