"""Any tree of audio files, and spans of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from hares.folder import resolve_span, scan
from hares.task import Clip, Reason, Rejected


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_tree_of_files(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for name in ("b/deep/2.flac", "a.wav", "b/1.MP3", "b/cover.jpg", "README"):
        touch(root / name)
    assert list(scan(root)) == [
        Clip("a.wav", "a.wav", (), "train", "."),
        Clip("b/1.MP3", "b/1.MP3", (), "train", "b"),
        Clip("b/deep/2.flac", "b/deep/2.flac", (), "train", "b/deep"),
    ]


def test_what_is_hidden_is_counted_and_not_read(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for name in (".raw/1.ogg", ".raw/b/2.ogg", ".raw/notes", "a.wav", "b/._a.wav", "b/.git/config"):
        touch(root / name)
    clip, *rejected = scan(root)
    assert clip.path == "a.wav"
    assert [(item.path, item.reason) for item in rejected if isinstance(item, Rejected)] == [
        (".raw", Reason.UNLISTED),
        ("b/._a.wav", Reason.UNLISTED),
    ]
    assert isinstance(rejected[0], Rejected) and "2 audio files" in rejected[0].detail


def test_links(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    touch(root / "sub/a.wav")
    touch(tmp_path / "outside/x.wav")
    (root / "in.wav").symlink_to("sub/a.wav")
    (root / "in").symlink_to("sub")
    (root / "out.wav").symlink_to(tmp_path / "outside/x.wav")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "broken.wav").symlink_to("nowhere.wav")
    items = {item.path: getattr(item, "reason", None) for item in scan(root)}
    assert items == {
        "broken.wav": Reason.ABSENT,
        "in.wav": None,
        "out": Reason.OUTSIDE,
        "out.wav": Reason.OUTSIDE,
        "sub/a.wav": None,
    }


def test_no_such_folder(tmp_path: Path) -> None:
    (item,) = scan(tmp_path / "nowhere")
    assert isinstance(item, Rejected) and item.reason is Reason.INDEX


def test_spans(tmp_path: Path) -> None:
    for name in ("span-1", "span-002", "span-10", "span-x", "other-99"):
        (tmp_path / name / "audio").mkdir(parents=True)
    (tmp_path / "span-11").mkdir()  # not complete: without its audio folder it is not a span
    pattern = f"{tmp_path}/span-{{SPAN}}/audio"
    assert resolve_span(pattern, None) == (tmp_path / "span-10/audio", 10)
    assert resolve_span(pattern, 2) == (tmp_path / "span-002/audio", 2)
    with pytest.raises(ValueError, match="has no span 3; there are 1, 2, 10"):
        resolve_span(pattern, 3)
    (tmp_path / "span-2/audio").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"span 2 of .* is ambiguous"):
        resolve_span(pattern, 2)


def test_spans_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no folder matches"):
        resolve_span(f"{tmp_path}/span-{{SPAN}}", None)
    with pytest.raises(ValueError, match="once"):
        resolve_span(f"{tmp_path}/{{SPAN}}/{{SPAN}}", None)


def test_a_pattern_without_a_span_is_a_folder(tmp_path: Path) -> None:
    assert resolve_span(str(tmp_path), None) == (tmp_path, 0)
    with pytest.raises(ValueError, match="there is no span 4"):
        resolve_span(str(tmp_path), 4)
    with pytest.raises(ValueError, match="is not a folder"):
        resolve_span(f"{tmp_path}/nowhere", None)
