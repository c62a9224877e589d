"""A lock that keeps others out, ends with its process, and writes to no file but its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hares.lock import BusyError, held

PROJECT = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from pathlib import Path
from hares.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_refused_and_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "folder" / "a.lock"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(BusyError, match=rf"folder is in use by process {process.pid} on"), held(path):
        pass
    process.kill()
    process.wait()
    with held(path), pytest.raises(BusyError, match=f"process {os.getpid()} "), held(path):
        pass
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_to_another_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    os.symlink(tmp_path / "precious", tmp_path / "a.lock")
    with pytest.raises(OSError), held(tmp_path / "a.lock"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_second_name_of_a_file_becomes_a_lock_of_its_own(tmp_path):
    """As in a workspace that was copied by hard links, and where someone put it in a lock's place."""
    precious = tmp_path / "precious"
    precious.write_text("mine")
    precious.chmod(0o644)
    os.link(precious, tmp_path / "a.lock")
    with held(tmp_path / "a.lock"), pytest.raises(BusyError), held(tmp_path / "a.lock"):
        pass
    assert precious.read_text() == "mine" and precious.stat().st_mode & 0o777 == 0o644
    assert precious.stat().st_nlink == (tmp_path / "a.lock").stat().st_nlink == 1


def test_a_pipe_is_no_lock_and_nobody_waits_for_it(tmp_path):
    os.mkfifo(tmp_path / "a.lock")
    with pytest.raises(OSError), held(tmp_path / "a.lock"):
        pass
