"""Recordings in tar shards and in Parquet are pretrained on as files are: the same sound, and every fault by name."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.folder import FOLDER
from hares.ingest import (
    Entry,
    ShardSummary,
    build_manifest,
    count_listed,
    ingest_shard,
    list_entries,
    read_shard,
)


def sound(seed: int, form: str = "FLAC") -> bytes:
    file = io.BytesIO()
    wave = 0.1 * np.random.default_rng(seed).standard_normal(4_000)
    soundfile.write(file, wave, 16_000, format=form, subtype="PCM_16")
    return file.getvalue()


def shard(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def read(root: Path | str) -> tuple[dict[str, bytes], dict[str, str]]:
    """PCM of the clips of a folder by their ids, and the reasons of what is rejected."""
    sources = {FOLDER: str(root)}
    entries = [item for item in list_entries(sources, ("train",)) if isinstance(item, Entry)]
    summary = ShardSummary("train", 0)
    found = {clip.clip_id: clip.waveform.tobytes() for clip, *_ in read_shard(entries, sources, summary)}
    _, listing = count_listed(sources, ("train",))
    _, lines = build_manifest(sources, ["train"], [summary], listing)
    return found, {line["path"]: line["reason"] for line in lines}


SAMPLES = {f"clips/{number:03}.flac": sound(number) for number in range(70)}  # more than a batch
BESIDE = {f"clips/{number:03}.json": b'{"label": 3}' for number in range(70)}


@pytest.mark.parametrize(("name", "mode"), [("a.tar", "w"), ("a.tar.gz", "w:gz"), ("b.tgz", "w:gz")])
def test_a_tar_gives_what_its_files_give(tmp_path, name, mode):
    (tmp_path / "packed").mkdir()
    shard(tmp_path / "packed" / name, SAMPLES | BESIDE, mode)
    for path, content in SAMPLES.items():
        (tmp_path / "files" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "files" / path).write_bytes(content)
    packed, rejected = read(tmp_path / "packed")
    files, _ = read(tmp_path / "files")
    assert packed == {f"{name}/{path}": pcm for path, pcm in files.items()} and len(packed) == 70
    assert rejected == {}


def test_parquet_of_hugging_face_gives_its_rows(tmp_path):
    pytest.importorskip("pyarrow_hotfix")
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [{"bytes": content, "path": path.rpartition("/")[2]} for path, content in SAMPLES.items()]
    rows += [{"bytes": None, "path": "gone.flac"}, {"bytes": sound(99), "path": None}]
    table = arrow.table({"audio": rows, "labels": [[1, 2]] * len(rows)})
    parquet.write_table(table, tmp_path / "00.parquet", row_group_size=20)
    found, rejected = read(tmp_path)
    assert len(found) == 71 and "00.parquet/000.flac" in found and "00.parquet/row-00000071" in found
    assert rejected == {"00.parquet/row-00000070": "empty"}


def test_members_that_cannot_be_used_are_named(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, content in (
            ("good.flac", sound(1)), ("good.flac", sound(2)), ("../out.flac", sound(3)), ("broken.wav", b"RIFF"),
            ("._good.flac", b"x"), ("/abs.flac", sound(4)), ("notes.txt", b"hello"),
        ):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found, rejected = read(tmp_path)
    assert set(found) == {"a.tar/good.flac", "a.tar//abs.flac"}
    assert rejected == {
        "a.tar/good.flac": "bad_row", "a.tar/../out.flac": "unlisted", "a.tar/broken.wav": "undecodable",
        "a.tar/._good.flac": "unlisted", "a.tar/link.wav": "outside_corpus",
    }  # fmt: skip


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.parquet"])
def test_an_archive_that_breaks_off_costs_its_rest_alone(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow_hotfix")
        content = b"PAR1" + sound(1) * 40
    else:
        shard(tmp_path / name, SAMPLES, "w:gz" if name.endswith("gz") else "w")
        content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2 + 100])
    (tmp_path / "whole.flac").write_bytes(sound(5))
    found, rejected = read(tmp_path)
    assert rejected[name] == "truncated" and "whole.flac" in found
    assert (len(found) > 20) == (not name.endswith("parquet"))


def test_an_archive_without_recordings_is_said(tmp_path):
    shard(tmp_path / "texts.tar", {"a.txt": b"a"})
    assert read(tmp_path) == ({}, {"texts.tar": "undecodable"})


def test_an_archive_that_was_unpacked_beside_itself_is_not_read_twice(tmp_path):
    shard(tmp_path / "a.tar", {"1.flac": sound(1)})
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.flac").write_bytes(sound(1))
    assert set(read(tmp_path)[0]) == {"a/1.flac"}


def test_a_line_of_the_manifest_names_archive_and_member(tmp_path):
    pytest.importorskip("tensorflow")
    (tmp_path / "in").mkdir()
    shard(tmp_path / "in/a.tar", {"x/1.flac": sound(1)})
    entries = [
        item for item in list_entries({FOLDER: str(tmp_path / "in")}, ("train",)) if isinstance(item, Entry)
    ]
    ingest_shard(entries, {FOLDER: str(tmp_path / "in")}, "train", 0, f"{tmp_path}/r", f"{tmp_path}/c")
    (line,) = map(json.loads, (tmp_path / "c").read_text().splitlines())
    assert (line["path"], line["group"], line["clip_id"]) == ("a.tar/x/1.flac", "a.tar", "a.tar/x/1.flac")


def test_an_archive_counts_by_its_size_where_shards_are_made(tmp_path):
    (tmp_path / "a.tar").write_bytes(bytes(5 << 20))
    assert count_listed({FOLDER: str(tmp_path)}, ("train",))[0]["train"] == 10
