"""Links and locks that someone else put where a run, an evaluation or a watch writes: nothing elsewhere is changed."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.errors import CommandError
from cli.main import hares
from cli.options import metadata_address
from cli.quiet import logging_to
from hares.atomic_files import no_link, refuse_links, write_atomically
from hares.lock import BusyError, held
from hares.synthesis import make_corpus
from kubeflow.compiled.file import read_compiled
from kubeflow.compiled.local_run import run_compiled
from kubeflow.watch import Watch
from pipeline.workspace import Workspace, WorkspaceBusyError

pytestmark = pytest.mark.slow

KEPT = "what the user would miss"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make another user's files")
STRANGER = 54399


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text(KEPT)
    return path


def plant(kind: str, place: Path, victim: Path) -> None:
    """A link of three kinds: to the file by its whole path, by a path from the link, and a second name of the file."""
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == "hard":
        os.link(victim, place)
    else:
        place.symlink_to(victim if kind == "absolute" else os.path.relpath(victim, place.parent))


every_kind = pytest.mark.parametrize("kind", ["absolute", "relative", "hard"])


def the_lock(place: Path) -> None:
    with held(place / "run.lock"):
        pass


def of_a_workspace(place: Path) -> None:
    with Workspace(place).held():
        pass


def of_a_watch(place: Path) -> None:
    with Watch(str(place / "span-{SPAN}"), "_SUCCESS", place, ["true", "{OUTPUT}"]).locked():
        pass


LOCKS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "run.lock": ("run.lock", the_lock),
    "workspace": ("run.lock", of_a_workspace),
    "watch": ("watch/lock", of_a_watch),
}


@every_kind
@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_that_is_a_link_changes_no_file(name: str, kind: str, victim: Path, tmp_path: Path) -> None:
    file, lock = LOCKS[name]
    plant(kind, tmp_path / "w" / file, victim)
    # A second name of the victim is exchanged for a file of the lock's own, the others are refused.
    with nullcontext() if kind == "hard" else pytest.raises(OSError):
        lock(tmp_path / "w")
    assert victim.read_text() == KEPT


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_that_is_a_link_to_nothing_makes_no_file(name: str, tmp_path: Path) -> None:
    file, lock = LOCKS[name]
    plant("absolute", tmp_path / "w" / file, tmp_path / "made")
    with pytest.raises(OSError) as caught:
        lock(tmp_path / "w")
    assert caught.value.errno == errno.ELOOP and not (tmp_path / "made").exists()


def test_a_lock_that_is_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "run.lock")
    with pytest.raises(OSError, match="lock"):
        of_a_workspace(tmp_path)


@pytest.mark.parametrize("before", [None, 0o644, 0o666])
def test_who_may_only_read_the_workspace_cannot_hold_its_lock(before: int | None, tmp_path: Path) -> None:
    lock = tmp_path / "run.lock"
    if before is not None:
        lock.touch()
        lock.chmod(before)
    of_a_workspace(tmp_path)
    assert stat.S_IMODE(lock.stat().st_mode) == 0o600


def test_the_holder_is_named_and_its_line_is_not_lost(tmp_path: Path) -> None:
    with Workspace(tmp_path).held():
        with pytest.raises(WorkspaceBusyError, match=f"process {os.getpid()}"):
            of_a_workspace(tmp_path)
        with pytest.raises(BusyError, match=f"process {os.getpid()}"):
            the_lock(tmp_path)
        descriptor = os.open(tmp_path / "run.lock", os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(descriptor)


@pytest.mark.parametrize("kind", ["absolute", "relative"])
@pytest.mark.parametrize(
    "name", ["metadata.sqlite", "metadata.sqlite-journal", "metadata.sqlite-wal", "stores.txt", "run.lock"]
)
def test_a_link_in_a_workspace_where_a_file_belongs(
    name: str, kind: str, victim: Path, tmp_path: Path
) -> None:
    victim.write_bytes(b"")  # SQLite makes a store of an empty file
    plant(kind, tmp_path / "w" / name, victim)
    with pytest.raises(OSError):
        of_a_workspace(tmp_path / "w")
    with pytest.raises(CommandError, match=name):
        metadata_address("", tmp_path / "w")
    assert victim.read_bytes() == b""


def test_a_store_that_is_a_link_is_not_opened_by_a_command(victim: Path, tmp_path: Path) -> None:
    victim.write_bytes(b"")
    plant("absolute", tmp_path / "w/metadata.sqlite", victim)
    for command in (
        ["lineage", "runs"],
        ["metadata", "check"],
        ["workspace", "gc"],
        ["lineage", "page", "--serve"],
    ):
        done = CliRunner().invoke(hares, [*command, "--workspace", str(tmp_path / "w")])
        assert isinstance(done.exception, CommandError) and done.exception.code == 3, done.output
    assert victim.read_bytes() == b""


@as_root
@pytest.mark.parametrize(
    "name", ["artifacts", "checkpoints", "pushed", "imported", "logs", "study", "tmp", "corpus"]
)
def test_a_folder_in_a_workspace_that_is_another_users_link(name: str, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    plant("absolute", tmp_path / "w" / name, tmp_path / "elsewhere")
    os.lchown(tmp_path / "w" / name, STRANGER, STRANGER)
    with pytest.raises(OSError) as caught:
        of_a_workspace(tmp_path / "w")
    assert caught.value.errno == errno.ELOOP


def test_ones_own_link_to_a_larger_disk_is_taken(tmp_path: Path) -> None:
    (tmp_path / "larger").mkdir()
    plant("absolute", tmp_path / "w/artifacts", tmp_path / "larger")
    of_a_workspace(tmp_path / "w")
    refuse_links(tmp_path / "not there")


def test_temporary_files_are_ones_own(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with Workspace(tmp_path).held(), Workspace(tmp_path).temporary_files() as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/kept").touch()
    plant("absolute", tmp_path / "tmp", tmp_path / "elsewhere")
    with pytest.raises(OSError), Workspace(tmp_path).temporary_files():
        pass
    assert (tmp_path / "elsewhere/kept").exists()


@pytest.mark.parametrize("kind", ["absolute", "relative"])
def test_a_log_that_is_a_link(kind: str, victim: Path, tmp_path: Path) -> None:
    plant(kind, tmp_path / "logs/run.log", victim)
    with pytest.raises(OSError), logging_to(tmp_path / "logs/run.log"):
        pass
    assert victim.read_text() == KEPT


def test_a_log_is_written_and_read_by_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with logging_to(tmp_path / "l/run.log"):
            logging.getLogger().info("a line")
    finally:
        os.umask(before)
    assert "a line" in (tmp_path / "l/run.log").read_text()
    assert stat.S_IMODE((tmp_path / "l/run.log").stat().st_mode) == 0o600


@every_kind
def test_an_atomic_write_replaces_a_link(kind: str, victim: Path, tmp_path: Path) -> None:
    plant(kind, tmp_path / "out/report.json", victim)
    write_atomically(tmp_path / "out/report.json", "new")
    assert victim.read_text() == KEPT and (tmp_path / "out/report.json").read_text() == "new"


@pytest.mark.parametrize("name", ["stores.txt.part", "ledger.partial", "stores.part"])
def test_names_of_unfinished_files_cannot_be_guessed(name: str, victim: Path, tmp_path: Path) -> None:
    place = Workspace(tmp_path / "w")
    plant("absolute", place.folder / name, victim)
    plant("absolute", tmp_path / "w/watch" / name, victim)
    place.note_store("mysql://hares@db/hares")
    Watch(str(tmp_path / "span-{SPAN}"), "_SUCCESS", place.folder, ["true", "{OUTPUT}"])._write({"1": "run"})
    assert victim.read_text() == KEPT


def test_a_corpus_is_not_made_in_a_folder_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    plant("absolute", tmp_path / "corpus.part", tmp_path / "elsewhere")
    make_corpus(tmp_path / "corpus", scale=0.01)
    assert not list((tmp_path / "elsewhere").iterdir()) and (tmp_path / "corpus/README.md").is_file()
    assert not (tmp_path / "corpus").is_symlink()


def test_the_folder_of_a_compiled_run_has_no_links(tmp_path: Path) -> None:
    from kits.hand_made import step, write_file

    (tmp_path / "elsewhere").mkdir()
    path = write_file(tmp_path / "p.yaml", {"one": step("write('out', 'made'); say()")})
    plant("absolute", tmp_path / "run/one", tmp_path / "elsewhere")
    with pytest.raises(OSError):
        run_compiled(read_compiled(path), tmp_path / "run", None)  # type: ignore[arg-type]
    assert not list((tmp_path / "elsewhere").iterdir())


def test_no_link_opens_what_is_there(tmp_path: Path) -> None:
    with open(tmp_path / "a", "w", opener=no_link) as file:
        file.write("x")
    assert (tmp_path / "a").read_text() == "x"
