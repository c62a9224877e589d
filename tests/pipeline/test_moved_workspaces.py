"""Workspaces that were copied, moved or renamed: they work where they are, and the original stays as it is."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.database_servers import database_server
from kits.pipeline_runs import FEW_TASKS, Finished, command, environment, project, run
from kits.three_steps import STEPS, SilentObserver, done, three_steps
from pipeline.gc import find_garbage
from pipeline.identity import IDENTITY_FILE, IdentityError, present_identity, recorded_identity
from pipeline.keeping import Keeping, other_stores
from pipeline.lineage.check import check
from pipeline.lineage.connection import StoreAddress, store_address
from pipeline.lineage.graph import upstream
from pipeline.lineage.record import RunFacts
from pipeline.local_runner import Outcome, run_locally
from pipeline.relocation import moved_text, settle, settle_if_moved
from pipeline.workspace import Workspace

pytestmark = pytest.mark.slow

PASSWORD = "canary-5eed"


@dataclass(frozen=True)
class Place:
    """A workspace and the store in which its runs are recorded; `address` is "" for its own."""

    folder: Path
    address: str

    @property
    def store(self) -> StoreAddress:
        return store_address(self.address, self.folder / "metadata.sqlite")

    def run(self) -> list[Outcome]:
        """Three small steps, as `hares run` runs its own."""
        workspace = Workspace(self.folder)
        with workspace.held():
            identity = settle(workspace, self.store)
            workspace.note_store(self.store.shown)
            facts = RunFacts({}, "demo", "local", "key", {}, identity.id)
            pipeline = three_steps(self.folder, "p")
            _, results = run_locally(pipeline, SilentObserver(), facts, self.store, identity=identity)
        return [result.outcome for result in results]

    def keeping(self) -> Keeping:
        settle_if_moved(self.folder, self.store)
        workspace = Workspace(self.folder)
        return Keeping(workspace, self.store.open(), other_stores(workspace, self.store.shown))

    def live(self) -> list[pb.Artifact]:
        """The live artifacts that name files here."""
        return [
            a for a in self.store.open().get_artifacts()
            if a.state == pb.Artifact.LIVE and Path(a.uri).is_relative_to(self.folder)
        ]  # fmt: skip

    def assert_sound(self) -> None:
        assert check(self.keeping()) == [] and find_garbage(self.keeping(), 2e9) == []

    def assert_lineage_is_here(self) -> None:
        ours = self.keeping().ownership.ours
        newest = max((a for a in self.live() if a.type == "ModelEvaluation" and ours(a)), key=lambda a: a.id)
        found = upstream(self.store.open(), [newest.id]).artifacts.values()
        assert sorted(a.type for a in found) == ["Examples", "Model", "ModelEvaluation"]
        assert all(
            Path(a.uri).is_relative_to(self.folder) and Path(a.uri, "content").is_file() for a in found
        )


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with database_server("postgresql", PASSWORD) as server:
        yield server.address()[: -len("hares")]


@pytest.fixture(params=["its own", "a file elsewhere"])
def original(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    address = {"its own": "", "a file elsewhere": str(tmp_path / "shared.sqlite")}.get(request.param)
    if address is None:
        address = (
            request.getfixturevalue("postgresql")
            + f"db{hashlib.sha256(os.fsencode(tmp_path)).hexdigest()[:12]}"
        )
    folder = tmp_path / "a folder"
    folder.mkdir()
    place = Place(folder, address)
    assert place.run() == [Outcome.RAN] * 3
    return place


ON_EVERY_STORE = pytest.mark.parametrize(
    "original", ["its own", "a file elsewhere", "postgresql"], indirect=True
)
ALL_CACHED = [Outcome.CACHED] * 3


def contents(folder: Path) -> dict[str, str]:
    """A digest of every file of a workspace but the lock, which every command takes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "run.lock"
    }


def own_rows(place: Place) -> list[bytes]:
    return [a.SerializeToString(deterministic=True) for a in place.live()]


def test_the_key_is_the_same_at_the_same_place(original: Place) -> None:
    assert original.run() == ALL_CACHED and done(original.folder) == list(STEPS)


@ON_EVERY_STORE
def test_a_copy_works_and_the_original_is_untouched(original: Place) -> None:
    before, rows = contents(original.folder), own_rows(original)
    copy = Place(original.folder.with_name("copy"), original.address)
    shutil.copytree(original.folder, copy.folder)
    copy.assert_sound()
    assert copy.run() == ALL_CACHED and done(copy.folder) == list(STEPS)
    copy.assert_sound()
    copy.assert_lineage_is_here()
    assert contents(original.folder) == before and own_rows(original) == rows
    assert recorded_identity(copy.folder).id != recorded_identity(original.folder).id
    # Neither has a say in the other's.
    original.assert_sound()
    assert original.run() == copy.run() == ALL_CACHED
    for garbage in find_garbage(copy.keeping(), 2e9, keep_runs=1):
        assert garbage.path.is_relative_to(copy.folder)
    shutil.rmtree(original.folder)
    copy.assert_sound()
    copy.assert_lineage_is_here()
    assert copy.run() == ALL_CACHED


@ON_EVERY_STORE
def test_a_moved_workspace_works(original: Place) -> None:
    for number in range(2):
        moved = Place(original.folder.with_name(f"moved{number}") / "deeper", original.address)
        moved.folder.parent.mkdir()
        original.folder.rename(moved.folder)
        moved.assert_sound()
        moved.assert_lineage_is_here()
        assert moved.run() == ALL_CACHED and done(moved.folder) == list(STEPS)
        moved.assert_lineage_is_here()
        assert len(moved.live()) == 3, "the same artifacts, and no copies of them"
        original = moved


def test_moved_across_disks_it_is_no_copy(original: Place) -> None:
    """`mv` to another disk copies and removes."""
    identity = recorded_identity(original.folder)
    moved = Place(original.folder.with_name("other disk"), original.address)
    shutil.copytree(original.folder, moved.folder)
    shutil.rmtree(original.folder)
    assert moved.run() == ALL_CACHED
    assert recorded_identity(moved.folder).id == identity.id
    moved.assert_lineage_is_here()


def test_two_copies_of_what_is_gone(original: Place) -> None:
    copies = [Place(original.folder.with_name(f"copy{n}"), original.address) for n in range(2)]
    for copy in copies:
        shutil.copytree(original.folder, copy.folder)
    shutil.rmtree(original.folder)
    for copy in (*copies, *copies):
        assert copy.run() == ALL_CACHED
        copy.assert_lineage_is_here()
        copy.assert_sound()
    if original.address:
        assert len({recorded_identity(copy.folder).id for copy in copies}) == 2


def test_places_are_exchanged(original: Place) -> None:
    """Each is where the other was."""
    other = Place(original.folder.with_name("other"), original.address)
    other.folder.mkdir()
    other.run()
    aside = original.folder.with_name("aside")
    original.folder.rename(aside)
    other.folder.rename(original.folder)
    aside.rename(other.folder)
    for place in (original, other):
        place.assert_sound()
        assert place.run() == ALL_CACHED
        place.assert_lineage_is_here()


def test_stopped_before_the_store_names_the_new_place(
    original: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Place(original.folder.with_name("moved"), original.address)
    original.folder.rename(moved.folder)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.relocation.note_workspace", stop)
        with pytest.raises(KeyboardInterrupt):
            moved.run()
        patch.setattr("pipeline.relocation._put", stop)
        with pytest.raises(KeyboardInterrupt):
            moved.run()
    assert moved.run() == ALL_CACHED
    moved.assert_lineage_is_here()


def test_a_copy_of_hard_links_gets_a_store_of_its_own(tmp_path: Path) -> None:
    original, copy = Place(tmp_path / "w", ""), Place(tmp_path / "copy", "")
    original.folder.mkdir()
    original.run()
    before = contents(original.folder)
    shutil.copytree(original.folder, copy.folder, copy_function=os.link)
    assert copy.run() == ALL_CACHED and contents(original.folder) == before
    copy.assert_lineage_is_here()


def test_a_copy_that_was_cut_short_is_not_taken_for_whole(original: Place) -> None:
    copy = Place(original.folder.with_name("copy"), original.address)
    shutil.copytree(original.folder, copy.folder)
    (written,) = (copy.folder / "artifacts" / "train" / "model").glob("*/content")
    written.write_text("tr")
    outcomes = copy.run()
    assert outcomes[0] is Outcome.CACHED
    if not original.address:
        assert outcomes[1:] == [Outcome.RAN] * 2
    newest = max((a for a in copy.store.open().get_artifacts_by_type("Model")), key=lambda a: a.id)
    assert Path(newest.uri, "content").read_text() == "train"


@pytest.mark.parametrize("original", ["a file elsewhere"], indirect=True)
def test_two_machines_with_one_path_and_one_store(original: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second machine has a workspace of its own at the path at which the first has one."""
    first = original.folder.with_name("disk of the first machine")
    original.folder.rename(first)
    original.folder.mkdir()
    monkeypatch.setattr(socket, "gethostname", lambda: "second")
    rows = original.store.open().get_artifacts()
    original.assert_sound()
    assert original.run() == [Outcome.RAN] * 3
    original.assert_sound()
    still = {a.id: a for a in original.store.open().get_artifacts()}
    assert [still[row.id] for row in rows] == rows
    original.folder.rename(first.with_name("disk of the second machine"))
    first.rename(original.folder)
    monkeypatch.undo()
    original.assert_sound()
    assert original.run() == ALL_CACHED
    original.assert_lineage_is_here()


def test_a_container_whose_host_name_changed_is_the_same_workspace(
    original: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = recorded_identity(original.folder)
    monkeypatch.setattr(socket, "gethostname", lambda: "pod-2")
    assert original.run() == ALL_CACHED
    assert recorded_identity(original.folder).id == before.id and len(original.live()) == 3


def test_an_identity_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / IDENTITY_FILE).write_text('{"id": "a"')
    with pytest.raises(IdentityError, match=IDENTITY_FILE):
        present_identity(tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/data/w", "/new"),
        ("/data/w/artifacts/x/1", "/new/artifacts/x/1"),
        ("file:///data/w/x", "file:///new/x"),
        ('{"a": "/data/w", "b": ["/data/w/x"]}', '{"a": "/new", "b": ["/new/x"]}'),
        (r'"{\"a\": \"/data/w\"}"', r'"{\"a\": \"/new\"}"'),
        ("/data/w2/x", "/data/w2/x"),
        ("/data/w 2/x", "/data/w 2/x"),
        ("/data/w.bak", "/data/w.bak"),
        ("/mnt/data/w/x", "/mnt/data/w/x"),
        ("../data/w/x", "../data/w/x"),
    ],
)
def test_only_whole_paths_are_moved(text: str, expected: str) -> None:
    assert moved_text(text, "/data/w", "/new") == expected


@pytest.mark.parametrize("old", ["/data/w", "/données/π w", '/a "b" \\c/w'])
@pytest.mark.parametrize("new", ["/new", "/nœuds/ä", '/d "e" \\f\\1'])
def test_paths_of_any_letters_are_moved_in_json_too(old: str, new: str) -> None:
    plain, in_json = f"{old}/x", json.dumps({"a": f"{old}/x"})
    assert moved_text(plain, old, new) == f"{new}/x"
    assert json.loads(moved_text(in_json, old, new)) == {"a": f"{new}/x"}
    twice = json.loads(moved_text(json.dumps({"a": json.dumps([f"{old}/x", 1])}), old, new))
    assert json.loads(twice["a"]) == [f"{new}/x", 1]


def hares(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=project(), env=environment(project()), capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip


def test_hares_run_in_a_copied_and_then_renamed_workspace(
    short_run: Finished, made_corpus: Path, tmp_path: Path
) -> None:
    """The real thing, as a user does it; the corpus is moved as well."""
    before = contents(short_run.workspace)
    copy, corpus = tmp_path / "copy", tmp_path / "corpus"
    shutil.copytree(short_run.workspace, copy)
    shutil.copytree(made_corpus, corpus, copy_function=shutil.copy2)
    for arguments in (("metadata", "check", "--mend"), ("workspace", "gc", "--yes")):
        checked = hares(*arguments, "--workspace", str(copy))
        assert checked.returncode == 0, checked.stdout + checked.stderr
    kept = {path: digest for path, digest in contents(copy).items() if path.startswith("artifacts")}
    assert kept == {path: digest for path, digest in before.items() if path.startswith("artifacts")}
    steps = len(short_run.steps("done"))
    again = run(corpus, copy, FEW_TASKS)
    assert again.code == 0 and len(again.steps("cached")) == steps, again.stdout + again.stderr
    copy.rename(renamed := tmp_path / "renamed")
    traced = hares("lineage", "trace", "birdsong", "--workspace", str(renamed), "--json")
    found = [Path(artifact["uri"]) for artifact in json.loads(traced.stdout)["artifacts"]]
    assert found and all(path.is_relative_to(renamed) and path.is_dir() for path in found)
    assert contents(short_run.workspace) == before


@pytest.mark.full
@pytest.mark.parametrize("kind", ["sqlite", "mariadb", "postgresql"])
def test_twelve_tasks_in_a_copied_a_renamed_and_a_moved_workspace(
    kind: str, made_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 31 steps come from the cache at each new place, whatever the store."""
    monkeypatch.setenv("HARES_METADATA_PASSWORD", PASSWORD)
    with contextlib.ExitStack() as stack:
        at = []
        if kind != "sqlite":
            at = ["--metadata", stack.enter_context(database_server(kind, PASSWORD)).address("twelve")]

        def succeeds(*arguments: str) -> str:
            done = hares(*arguments, *at)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        original = tmp_path / "original"
        done = succeeds(*command(made_corpus, original)[3:])
        assert len(Finished(0, done, "", original).steps("done")) == 31
        before = contents(original)

        copy, renamed, moved = tmp_path / "copy", tmp_path / "renamed", tmp_path / "other" / "moved"
        moved.parent.mkdir()
        for place in (copy, renamed, moved):
            if place == copy:
                shutil.copytree(original, place)
            else:
                (copy if place == renamed else renamed).rename(place)
            artifacts = {p: d for p, d in contents(place).items() if p.startswith("artifacts")}
            workspace = ("--workspace", str(place))
            for arguments in (("check",), ("check", "--mend")):
                succeeds("metadata", *arguments, *workspace)
            succeeds("workspace", "gc", "--yes", *workspace)
            assert {p: d for p, d in contents(place).items() if p.startswith("artifacts")} == artifacts
            again = Finished(0, succeeds(*command(made_corpus, place)[3:]), "", place)
            assert len(again.steps("cached")) == 31
            traced = json.loads(succeeds("lineage", "trace", "hares", *workspace, "--json"))["artifacts"]
            here = [Path(artifact["uri"]).is_relative_to(place) for artifact in traced]
            print(f"{kind}, {place.name}: 31 cached; {sum(here)} of {len(here)} artifacts of the trace here")
            assert len(here) > 31 and all(here)
            assert all(Path(artifact["uri"]).exists() for artifact in traced)
        assert contents(original) == before
