"""Atomic writes: a file is as it was or complete, with the mode that the umask leaves, and no link is followed."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hares import atomic_files
from hares.atomic_files import atomically, remove_unfinished, write_atomically

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("content", ["grüße\n", b"\x00\xff"])
def test_a_file_and_its_folder_are_made_and_nothing_else(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "deep" / "file"
    for _ in range(2):
        write_atomically(path, content)
        assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
        assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_the_umask_decides_who_reads_it(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_atomically(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_what_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "before")
    with pytest.raises(KeyboardInterrupt), atomically(path) as part:
        Path(part).write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and [p.name for p in tmp_path.iterdir()] == ["file"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "folder", "x")
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_write_that_fails_names_the_file(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            write_atomically(tmp_path / "file", b"x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert raised.value.filename == str(tmp_path / "file") and list(tmp_path.iterdir()) == []


def test_no_link_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one at the file's own name, which it replaces, nor one at the name that it is written under."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "file").symlink_to(victim)
    write_atomically(tmp_path / "file", "x")
    assert victim.read_text() == "mine" and not (tmp_path / "file").is_symlink()

    guessed = tmp_path / "guessed.part"
    guessed.symlink_to(victim)
    monkeypatch.setattr(atomic_files, "_unfinished_name", lambda path: str(guessed))
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "file", "y")
    assert victim.read_text() == "mine" and (tmp_path / "file").read_text() == "x"


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_atomically(pipe, "x")
    reader.join(10)
    assert read == ["x"] and pipe.is_fifo()


def test_a_killed_writer_leaves_the_old_file_and_what_it_began_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    script = (
        "import os, signal, sys\nfrom hares.atomic_files import atomically\n"
        "with atomically(sys.argv[1]) as part:\n"
        "    open(part, 'w').write('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(path)], cwd=PROJECT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 2
    remove_unfinished(str(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_remote_file_system_is_written_through_tensorflow() -> None:
    import tensorflow as tf

    path = "ram://atomic/folder/file"  # TensorFlow's file system in memory
    for content in ("before", "after"):
        write_atomically(path, content)
        with tf.io.gfile.GFile(path) as file:
            assert file.read() == content
    assert tf.io.gfile.listdir("ram://atomic/folder") == ["file"]
