"""The Pusher's promise to servers: a version below the destination is a whole model, whatever becomes of the process
that pushes, and the newest has the highest number."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("tfx")

from tfx.types import standard_artifacts
from tfx.utils import io_utils

from components.standard.executor import PusherExecutor

pytestmark = pytest.mark.slow


class Push:
    """A model of two files, one a folder down, and where it is pushed to."""

    def __init__(self, folder: Path, blessed: bool = True):
        self.model, self.blessing = standard_artifacts.Model(), standard_artifacts.ModelBlessing()
        self.model.uri = str(folder / "model")
        self.blessing.set_int_custom_property("blessed", int(blessed))
        self.serving = folder / "model" / "Format-Serving"
        (self.serving / "variables").mkdir(parents=True)
        (self.serving / "hares_metadata.json").write_text("{}")
        (self.serving / "variables" / "data").write_text("numbers")
        (self.serving / "saved_model.pb").write_text("graph")
        self.versions = folder / "pushed"
        self.archive = folder / "pushed_model"

    def run(self) -> standard_artifacts.PushedModel:
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(self.archive)
        destination = {"filesystem": {"baseDirectory": str(self.versions)}}
        PusherExecutor().Do(
            {"model": [self.model], "model_blessing": [self.blessing]},
            {"pushed_model": [pushed]},
            {"push_destination": json.dumps(destination)},
        )
        return pushed

    def files(self, folder: Path) -> dict[str, str]:
        return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_version_is_the_model_and_nothing_else_is_left(tmp_path: Path) -> None:
    push = Push(tmp_path)
    pushed = push.run()
    (version,) = push.versions.iterdir()
    assert version.name.isdecimal() and push.files(version) == push.files(push.serving)
    assert push.files(push.archive) == push.files(push.serving)
    said = pushed.mlmd_artifact.custom_properties
    assert said["pushed"].int_value == 1
    assert said["pushed_destination"].string_value == str(version)
    assert said["pushed_version"].string_value == version.name
    assert said["content_digest"].string_value


def test_two_pushes_within_a_second_are_two_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.0)
    push = Push(tmp_path)
    push.run()
    (push.serving / "saved_model.pb").write_text("another graph")
    assert push.run().get_string_custom_property("pushed_version") == "1700000001"
    graphs = {p.name: (p / "saved_model.pb").read_text() for p in push.versions.iterdir()}
    assert graphs == {"1700000000": "graph", "1700000001": "another graph"}


def test_a_clock_that_went_back_numbers_the_new_model_above_the_old(tmp_path: Path) -> None:
    push = Push(tmp_path)
    (push.versions / "99999999999").mkdir(parents=True)
    assert push.run().get_string_custom_property("pushed_version") == "100000000000"
    assert push.files(push.versions / "100000000000") == push.files(push.serving)


def test_a_model_that_is_not_blessed_is_not_pushed(tmp_path: Path) -> None:
    push = Push(tmp_path, blessed=False)
    assert push.run().get_int_custom_property("pushed") == 0
    assert not push.versions.exists() and not push.archive.exists()


def test_a_push_that_is_killed_leaves_no_version(tmp_path: Path) -> None:
    push = Push(tmp_path)
    data = push.serving / "variables" / "data"
    data.unlink()
    os.mkfifo(data)  # reading it waits for a writer that does not come: the push stands still in the middle
    process = os.fork()
    if process == 0:
        push.run()
        os._exit(0)
    while not list(push.versions.rglob("hares_metadata.json")):
        time.sleep(0.01)
    os.kill(process, signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert [p for p in push.versions.iterdir() if not p.name.startswith(".")] == []

    data.unlink()
    data.write_text("numbers")
    push.run()
    (version,) = push.versions.iterdir()
    assert push.files(version) == push.files(push.serving)


def test_a_push_that_fails_shows_no_version_and_the_next_clears_it_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full when the last file, saved_model.pb, is written."""

    def full(source: str, target: str, overwrite: bool = False) -> None:
        raise OSError(28, "No space left on device")

    push = Push(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(io_utils, "copy_file", full)
        with pytest.raises(OSError, match="No space left"):
            push.run()
    assert not list(push.versions.glob("[!.]*")), "a server would load it"
    push.run()
    (version,) = push.versions.iterdir()
    assert push.files(version) == push.files(push.serving)
