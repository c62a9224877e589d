"""A folder or file that may not be read: its task says so, and the others are checked all the same.

The tests may run as root, who may read everything: its right to pass permissions over is laid down meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fuzz.fuzz_layouts import make_layouts
from hares import folder, reading
from hares.corpus import check_corpus
from hares.embedding.task_embedder import TaskSource, list_task
from hares.machine import MachineError
from hares.reading import scan, source_fingerprint
from hares.task import Reason, load_task, task_names

_DAC_OVERRIDE_AND_READ_SEARCH = 0b110  # bits 1 and 2 (capabilities(7))
_VERSION_3 = 0x20080522


@contextmanager
def as_a_user() -> Iterator[None]:
    """Permissions hold in this thread while it holds."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header, kept = (ctypes.c_uint32 * 2)(_VERSION_3, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, kept) != 0:
        pytest.skip("this system does not say what root may do")
    fewer = (ctypes.c_uint32 * 6)(*kept)
    fewer[0] &= ~_DAC_OVERRIDE_AND_READ_SEARCH  # of those in effect; they stay permitted
    assert libc.capset(header, fewer) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        assert libc.capset(header, kept) == 0


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """Nobody may list, enter or read it."""
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        with as_a_user():
            yield
    finally:
        path.chmod(mode)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("closed") / "corpus"
    make_layouts(root)
    return root


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize("what", ["the last folder", "an index", "the root", "an odd folder"])
def test_a_task_that_may_not_be_read_says_so(task: str, what: str, corpus: Path, tmp_path: Path) -> None:
    root = tmp_path / load_task(task).dataset
    shutil.copytree(corpus / load_task(task).dataset, root)
    folders = sorted(path for path in root.rglob("*") if path.is_dir())
    indexes = [p for p in sorted(root.rglob("*")) if p.name in INDEXES]
    (root / "lost+found").mkdir()
    place = {
        "the last folder": folders[-1],
        "an index": indexes[0],
        "the root": root,
        "an odd folder": root / "lost+found",
    }
    other = "esc50" if task != "esc50" else "tut18"
    with closed(place[what]):
        with pytest.raises(MachineError, match="ermission"):  # no verdict on the data that a cache could keep
            list(scan(task, root))
        listing = list_task(TaskSource(load_task(task), root), 128)
        refused, used = check_corpus(corpus, {task: root}, [task, other], decode_audio=False)
        fingerprint = source_fingerprint(root)
    assert listing.clips == 0 and [line["reason"] for line in listing.rejected] == [Reason.INDEX.value]
    assert refused.error and "ermission" in refused.error and refused.clips == 0
    assert used.error is None and used.clips > 5
    assert (source_fingerprint(root) == fingerprint) == (what == "an index")


INDEXES = (
    *(
        "balanced_train_segments.csv",
        "ff1010bird_metadata_2018.csv",
        "esc50.csv",
        "train_data.csv",
        "meta.csv",
    ),
    *("annotations_final.csv", "examples.json", "testing_list.txt", "iden_split.txt", "voxforge_urls.txt"),
)


def test_a_folder_of_recordings_that_may_not_be_listed(tmp_path: Path) -> None:
    for name in ("a/1.wav", "b/2.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    with closed(tmp_path / "b"), pytest.raises(MachineError, match="ermission"):
        list(folder.scan(tmp_path))
    assert len(list(folder.scan(tmp_path))) == 2


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ENOMEM, errno.ENFILE])
def test_a_fault_of_the_machine_is_none_of_the_data(
    code: int, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails says nothing of the data set: no verdict is given that a cache could keep."""
    real = os.scandir

    def failing(path: str) -> object:
        if os.fspath(path).endswith("audio"):
            raise OSError(code, os.strerror(code), path)
        return real(path)

    monkeypatch.setattr(os, "scandir", failing)
    for call in (lambda: list(scan("esc50", corpus / "esc50")), lambda: source_fingerprint(corpus / "esc50")):
        with pytest.raises(OSError, match=os.strerror(code)):
            call()
    with pytest.raises(OSError, match=os.strerror(code)):
        list(folder.scan(corpus / "esc50"))
    assert reading.unreadable("esc50", OSError(code, os.strerror(code), "x"))
