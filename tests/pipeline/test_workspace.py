"""One run at a time in a workspace, and no lock that outlives its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipeline.workspace import Workspace, WorkspaceBusyError

HOLD = """
import sys, time
from pathlib import Path
from pipeline.workspace import Workspace
with Workspace(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the workspace `tmp_path`."""
    project = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=project
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_at_once_and_told_who_is_there(holder, tmp_path):
    message = rf"process {holder.pid} on .*--workspace"
    with pytest.raises(WorkspaceBusyError, match=message), Workspace(tmp_path).held():
        pass


def test_another_workspace_is_free(holder, tmp_path):
    with Workspace(tmp_path / "other").held():
        pass


def test_a_killed_run_leaves_no_lock(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    workspace = Workspace(tmp_path)
    with workspace.held(), pytest.raises(WorkspaceBusyError), workspace.held():
        pass


def test_temporary_files_of_a_run_are_gone_with_it_and_those_of_a_killed_one_before_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/before")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    workspace = Workspace(tmp_path / "workspace")
    left = workspace.folder / "tmp" / "beam-temp-of-a-killed-run" / "shard"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    with workspace.temporary_files() as folder:
        assert list(folder.iterdir()) == []
        in_python = Path(tempfile.mkdtemp())
        in_a_child = subprocess.run(["mktemp"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        assert in_python.parent == Path(in_a_child).parent == folder
    assert not folder.exists()
    assert os.environ["TMPDIR"] == "/before" and tempfile.gettempdir() == str(tmp_path)
