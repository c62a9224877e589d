"""A listing held against the disk: absent, unlisted, outside, twice; and the fingerprint of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hares.files import NameSet, walk_files
from hares.reading import AUDIO_SUFFIXES, scan, source_fingerprint
from hares.task import Clip, Reason, Rejected

HEADER = "filename,fold,target,category,esc10,src_file,take\n"


def esc50(root: Path, names: list[str], on_disk: list[str]) -> Path:
    """An ESC-50 folder that lists `names`, as bytes where they are not UTF-8, and holds `on_disk`."""
    (root / "meta").mkdir(parents=True)
    (root / "audio").mkdir()
    rows = "".join(f"{name},1,0,dog,True,1,A\n" for name in names)
    (root / "meta/esc50.csv").write_text(HEADER + rows, encoding="utf-8", errors="surrogateescape")
    for name in on_disk:
        (root / "audio" / name).write_bytes(b"sound")
    return root


def found(root: Path) -> tuple[list[str], dict[str, Reason]]:
    items = list(scan("esc50", root))
    clips = [item.path for item in items if isinstance(item, Clip)]
    return clips, {item.path: item.reason for item in items if isinstance(item, Rejected)}


def test_absent_unlisted_and_twice(tmp_path: Path) -> None:
    names = ["a.wav", "gone.wav", "a.wav"]
    root = esc50(tmp_path / "esc50", names, ["a.wav", "extra.WAV", "notes.txt", "more.m4a"])
    items = list(scan("esc50", root))
    assert [(item.path, getattr(item, "reason", None)) for item in items] == [
        ("audio/a.wav", None),
        ("audio/gone.wav", Reason.ABSENT),
        ("audio/a.wav", Reason.BAD_ROW),
        ("audio/extra.WAV", Reason.UNLISTED),
        ("audio/more.m4a", Reason.UNLISTED),
    ]
    assert items[1].split == "fold1"


def test_paths_that_lead_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside.wav"
    outside.write_bytes(b"sound")
    names = ["../../outside.wav", "link.wav", "folder/outside.wav", "inside.wav", "a.wav"]
    root = esc50(tmp_path / "esc50", names, ["a.wav"])
    (root / "audio/link.wav").symlink_to(outside)
    (root / "audio/folder").symlink_to(tmp_path)
    (root / "audio/inside.wav").symlink_to(root / "audio/a.wav")
    clips, rejected = found(root)
    assert clips == ["audio/inside.wav", "audio/a.wav"]
    # What the index names, and the folder itself, which holds more than that.
    assert rejected == {f"audio/{name}": Reason.OUTSIDE for name in (*names[:3], "folder")}


def test_an_absolute_path_is_outside(tmp_path: Path) -> None:
    root = tmp_path / "tut18"
    root.mkdir()
    (root / "a.wav").write_bytes(b"sound")
    row = f"{root / 'a.wav'}\tpark\tparis-1\ta\n"
    (root / "meta.csv").write_text("filename\tscene_label\tidentifier\tsource_label\n" + row)
    items = [item for item in scan("tut18", root) if isinstance(item, Rejected)]
    assert [item.reason for item in items] == [Reason.OUTSIDE, Reason.UNLISTED]


def test_a_data_set_behind_a_link_is_inside_itself(tmp_path: Path) -> None:
    esc50(tmp_path / "elsewhere", ["a.wav"], ["a.wav"])
    (tmp_path / "esc50").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "esc50") == (["audio/a.wav"], {})


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    heron = os.fsdecode(b"h\xe9ron.wav")
    root = esc50(tmp_path / "esc50", [heron, os.fsdecode(b"gon\xe9.wav")], [heron])
    items = list(scan("esc50", root))
    assert isinstance(items[0], Clip) and items[0].clip_id == "audio/h\\xe9ron.wav"
    assert isinstance(items[1], Rejected) and items[1].reason is Reason.ABSENT
    assert "not UTF-8" in items[1].detail
    assert len(items) == 2


@pytest.mark.parametrize("index", [None, b"filename,target\na.wav,0\n", (HEADER + "x\n").encode("utf-16")])
def test_an_unusable_index_is_one_rejection(tmp_path: Path, index: bytes | None) -> None:
    root = esc50(tmp_path / "esc50", [], ["a.wav"])
    (root / "meta/esc50.csv").unlink()
    if index is not None:
        (root / "meta/esc50.csv").write_bytes(index)
    (item,) = scan("esc50", root)
    assert isinstance(item, Rejected)
    assert item.reason is Reason.INDEX
    assert item.detail.startswith("esc50: meta/esc50.csv")


def test_no_such_folder(tmp_path: Path) -> None:
    for name in ("esc50", "voxforge", "speech_commands_v1", "nsynth_pitch"):
        (item,) = scan(name, tmp_path / "nowhere")
        assert isinstance(item, Rejected) and item.reason is Reason.INDEX


def test_an_unknown_reader(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown task"):
        next(scan("esc10", tmp_path))


def test_name_set_agrees_with_a_set() -> None:
    names, plain = NameSet(), set()
    for number in range(150_000):
        name = f"folder/{number * 7919 % 100_003}.wav"
        assert names.add(name) == (name not in plain)
        plain.add(name)
    assert len(plain) == 100_003
    assert all(name in names for name in list(plain)[:1_000])
    assert "folder/-1.wav" not in names


def test_walk_is_sorted_and_does_not_follow_links(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.wav", "a.wav", "c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b/loop").symlink_to(tmp_path)
    assert [path for path, _ in walk_files(tmp_path)] == ["a.wav", "b/1.wav", "b/2.wav", "b/loop", "c.wav"]


def test_fingerprint_sees_every_change(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub/a.wav"
    file.write_bytes(b"one")
    os.utime(file, ns=(1, 1_000))
    seen = [source_fingerprint(tmp_path)]
    assert source_fingerprint(tmp_path) == seen[0]
    steps = (
        lambda: os.utime(file, ns=(1, 2_000)),
        lambda: (file.write_bytes(b"four"), os.utime(file, ns=(1, 2_000))),
        lambda: file.rename(tmp_path / "sub/b.wav"),
        lambda: (tmp_path / "link").symlink_to("sub/b.wav"),
        lambda: ((tmp_path / "link").unlink(), (tmp_path / "link").symlink_to("elsewhere")),
    )
    for step in steps:
        step()
        seen.append(source_fingerprint(tmp_path))
    assert len(set(seen)) == len(seen) and all(len(digest) == 64 for digest in seen)


def test_suffixes_are_lower_case() -> None:
    assert {".wav", ".flac", ".mp3", ".ogg", ".m4a"} <= AUDIO_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in AUDIO_SUFFIXES)
