"""Clips behind a manifest: digests as `sha256sum` gives them, and the clips that two manifests do not share."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.ingest import Entry, build_manifest, ingest_shard, list_entries, shard_of
from pipeline.lineage.clips import changed_clips, find_clips, source_clips


def ingest(sources: dict[str, str], folder: Path, shards: int = 2) -> Path:
    """A manifest's folder, as AudioExampleGen leaves it."""
    folder.mkdir(parents=True)
    entries = [item for item in list_entries(sources, ["train"]) if isinstance(item, Entry)]
    summaries = []
    for shard in range(shards):
        own = [entry for entry in entries if shard_of(entry.clip.clip_id, shards) == shard]
        name = f"train-{shard:05d}-of-{shards:05d}"
        records, clips = folder.parent / f"{folder.name}-{name}.tfrecord", folder / f"clips-{name}.jsonl"
        summaries.append(ingest_shard(own, sources, "train", shard, str(records), str(clips)))
    manifest, _ = build_manifest(sources, ["train"], summaries, [])
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_tone(path: Path, pitch: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(8000) * pitch), 16_000)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for i in range(9):
        write_tone(tmp_path / "tree" / f"speaker{i % 3}" / f"{i}.wav", (i + 1) / 20)
    os.rename(tmp_path / "tree/speaker0/0.wav", os.fsencode(tmp_path / "tree/speaker0") + b"/cl\xe9.wav")
    return tmp_path / "tree"


def test_every_clip_has_its_path_and_the_digest_of_sha256sum(tree: Path, tmp_path: Path) -> None:
    clips = list(source_clips(ingest({"folder": str(tree)}, tmp_path / "m")))
    assert len(clips) == 9 and {clip.split for clip in clips} == {"train"}
    lines = b"".join(f"{clip.sha256}  ".encode() + os.fsencode(clip.path) + b"\n" for clip in clips)
    done = subprocess.run(["sha256sum", "--check", "--strict"], input=lines, capture_output=True, check=False)
    assert done.returncode == 0 and done.stdout.count(b": OK") == 9, done.stdout + done.stderr


def test_two_sources_are_below_their_own_folders(tree: Path, tmp_path: Path) -> None:
    shutil.copytree(tree, tmp_path / "corpus" / "voxforge" / "de")
    sources = {"folder": str(tree), "voxforge": str(tmp_path / "corpus" / "voxforge")}
    for clip in source_clips(ingest(sources, tmp_path / "m")):
        assert os.path.isfile(os.fsencode(clip.path))
        assert clip.path.startswith(sources[clip.clip_id.partition("/")[0]])


def test_the_clips_that_two_manifests_do_not_share_are_named_and_no_other(tree: Path, tmp_path: Path) -> None:
    before = ingest({"folder": str(tree)}, tmp_path / "a")
    assert changed_clips(before, ingest({"folder": str(tree)}, tmp_path / "same", shards=5)) == []
    write_tone(tree / "speaker1" / "4.wav", 0.9)
    (tree / "speaker2" / "5.wav").unlink()
    write_tone(tree / "speaker2" / "new.wav", 0.3)
    changes = changed_clips(before, ingest({"folder": str(tree)}, tmp_path / "b", shards=3))
    assert [(change.what, change.clip_id) for change in changes] == [
        ("changed", "speaker1/4.wav"),
        ("removed", "speaker2/5.wav"),
        ("added", "speaker2/new.wav"),
    ]
    changed, removed, added = changes
    assert changed.before and changed.after and changed.before.sha256 != changed.after.sha256
    assert removed.after is None and added.before is None


def test_another_label_is_a_change(tree: Path, tmp_path: Path) -> None:
    before = ingest({"folder": str(tree)}, tmp_path / "a", shards=1)
    after = tmp_path / "b"
    shutil.copytree(before, after)
    (path,) = after.glob("clips-*.jsonl")
    first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps({**json.loads(first), "labels": [1]}), *rest]) + "\n")
    (change,) = changed_clips(before, after)
    assert change.what == "changed" and change.clip_id == json.loads(first)["clip_id"]


def test_a_file_is_found_by_path_or_by_bytes_in_packed_lists_too(tree: Path, tmp_path: Path) -> None:
    shutil.copy(tree / "speaker1" / "4.wav", tree / "copy.wav")
    folder = ingest({"folder": str(tree)}, tmp_path / "a")
    for path in list(folder.glob("clips-*.jsonl")):
        with gzip.open(f"{path}.gz", "wt", encoding="utf-8") as packed:
            packed.write(path.read_text())
        path.unlink()
    file = str(tree / "speaker1" / "4.wav")
    (by_path,) = find_clips(folder, file, "")
    assert by_path.clip_id == "speaker1/4.wav"
    assert {clip.clip_id for clip in find_clips(folder, "", by_path.sha256)} == {"speaker1/4.wav", "copy.wav"}
    assert list(find_clips(folder, str(tree / "nowhere.wav"), "")) == []


def test_a_manifest_that_is_gone_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(
        LookupError, match=r"manifest\.json: the store lists this manifest, but the file is gone"
    ):
        list(source_clips(tmp_path / "gone"))


def test_a_manifest_in_a_bucket_is_said_to_be_there_and_not_gone() -> None:
    """As the store of an imported Kubeflow run names it."""
    with pytest.raises(LookupError, match=r"^minio://bucket/run/manifest/manifest\.json: .* in a bucket"):
        list(source_clips("minio://bucket/run/manifest"))
