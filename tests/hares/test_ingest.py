"""Ingestion without TFX: shards that depend on the clips alone, manifests that account for every one."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from hares.decoding import Limits
from hares.example import decode_example
from hares.ingest import (
    Entry,
    build_manifest,
    count_listed,
    ingest_shard,
    list_entries,
    rejected_line,
    shard_of,
)
from hares.task import Rejected


def ingest(sources: dict[str, str], splits: list[str], out: Path, num_shards: int = 1) -> dict[str, Any]:
    """What the component does, without Beam."""
    out.mkdir(parents=True)
    items = list(list_entries(sources, splits))
    summaries = []
    for split in splits:
        for shard in range(num_shards):
            entries = [
                item
                for item in items
                if isinstance(item, Entry)
                and item.clip.split == split
                and shard_of(item.clip.clip_id, num_shards) == shard
            ]
            name = f"{split}-{shard}"
            summaries.append(
                ingest_shard(
                    entries, sources, split, shard, str(out / f"{name}.tfrecord"), str(out / f"{name}.jsonl")
                )
            )
    manifest, _ = build_manifest(
        sources, splits, summaries, [rejected_line(item) for item in items if isinstance(item, Rejected)]
    )
    return manifest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for i in range(12):
        path = folder / f"speaker{i % 3}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.sin(np.arange(8000 + i) * (i + 1) / 20), 16_000)
    (folder / "bad.wav").write_text("no audio")
    return folder


def test_every_clip_is_used_or_named(tree: Path, tmp_path: Path) -> None:
    manifest = ingest({"folder": str(tree)}, ["train"], tmp_path / "out", num_shards=3)
    assert manifest["splits"]["train"] == {
        "listed": 13,
        "used": 12,
        "seconds": round(sum(8000 + i for i in range(12)) / 16_000, 3),
        "mean_level_dbfs": pytest.approx(-23.0, abs=0.1),
    }
    assert manifest["rejected"] == {"undecodable": 1}
    clips = [
        decode_example(record.numpy())
        for path in (tmp_path / "out").glob("*.tfrecord")
        for record in tf.data.TFRecordDataset(str(path))
    ]
    assert {clip.clip_id: clip.waveform.size for clip in clips} == {
        f"speaker{i % 3}/{i}.wav": 8000 + i for i in range(12)
    }


def test_the_same_audio_makes_the_same_bytes_and_other_audio_another_digest(
    tree: Path, tmp_path: Path
) -> None:
    first = ingest({"folder": str(tree)}, ["train"], tmp_path / "a", num_shards=2)
    second = ingest({"folder": str(tree)}, ["train"], tmp_path / "b", num_shards=2)
    assert first["content_digest"] == second["content_digest"]
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    soundfile.write(tree / "speaker0" / "0.wav", np.zeros(8000), 16_000)
    assert (
        ingest({"folder": str(tree)}, ["train"], tmp_path / "c", 2)["content_digest"]
        != first["content_digest"]
    )


def test_lines_carry_the_digest_of_the_source_file(tree: Path, tmp_path: Path) -> None:
    ingest({"folder": str(tree)}, ["train"], tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "train-0.jsonl").read_text().splitlines()]
    assert [line["clip_id"] for line in lines] == sorted(line["clip_id"] for line in lines)
    for line in lines:
        assert line["sha256"] == hashlib.sha256((tree / line["clip_id"]).read_bytes()).hexdigest()


def test_several_sources_keep_their_clips_apart(tree: Path, shared_corpus: Path, tmp_path: Path) -> None:
    sources = {name: str(shared_corpus / name) for name in ("speech_commands_v1", "speech_commands_v2")}
    manifest = ingest(sources, ["train"], tmp_path / "out")
    listed, _ = count_listed(sources, ["train"])
    assert manifest["splits"]["train"]["used"] == listed["train"] == 41 + 31
    records = tf.data.TFRecordDataset(str(tmp_path / "out" / "train-0.tfrecord"))
    ids = {decode_example(record.numpy()).clip_id for record in records}
    assert len(ids) == 72 and all(i.startswith(("speech_commands_v1/", "speech_commands_v2/")) for i in ids)


def test_labels_of_several_slots_are_counted_apart(shared_corpus: Path, tmp_path: Path) -> None:
    root = str(shared_corpus / "fluent_speech_commands")
    manifest = ingest({"fluent_speech_commands": root}, ["test"], tmp_path / "out")
    counts = manifest["label_counts"]
    for slot in range(3):
        assert sum(n for key, n in counts.items() if key.startswith(f"{slot}/")) == 11


def test_tensorflow_datasets_is_a_source_like_any_other(tmp_path: Path) -> None:
    """Plumbing, on TensorFlow Datasets' own mock data: real features and label names, made-up sounds."""
    tfds = pytest.importorskip("tensorflow_datasets")

    def dataset(self: Any, *_: Any, **__: Any) -> tf.data.Dataset:
        labels = [self.info.features["label"].str2int(name) for name in ("de", "it", "ru")]
        audio = np.full((3, 16_000), 1000, np.int64)
        return tf.data.Dataset.from_tensor_slices(
            {"audio": audio, "label": labels, "speaker_id": ["a", "b", "c"]}
        )

    sources = {"voxforge": f"tfds:{tmp_path}"}
    with tfds.testing.mock_data(as_dataset_fn=dataset):
        manifest = ingest(sources, ["train", "validation", "test"], tmp_path / "out")
    assert {name: split["used"] for name, split in manifest["splits"].items()} == {
        "train": 3, "validation": 3, "test": 3,
    }  # fmt: skip
    assert manifest["split_is_official"] and "read from TensorFlow Datasets" in manifest["deviations"]
    (record, *_) = tf.data.TFRecordDataset(str(tmp_path / "out" / "test-0.tfrecord"))
    clip = decode_example(record.numpy())
    assert clip.clip_id.startswith("voxforge/test/") and set(clip.waveform) == {1000}


def test_hostile_files_are_counted_by_reason_and_the_rest_is_used(tree: Path, tmp_path: Path) -> None:
    """Every kind of file that could end a run, among twelve good ones."""
    corpus = Path(__file__).parents[1] / "fuzz/corpus"
    for path in (corpus / "audio").iterdir():
        shutil.copy(path, tree / "speaker0" / path.name)
    expected = {"the tree's own": "undecodable", **json.loads((corpus / "expected.json").read_text())}
    manifest = ingest({"folder": str(tree)}, ["train"], tmp_path / "out", num_shards=2)
    assert manifest["splits"]["train"]["used"] == 12
    assert manifest["splits"]["train"]["listed"] == 12 + len(expected)
    assert manifest["rejected"] == dict(sorted(Counter(expected.values()).items()))


def test_the_longest_clip_settles_what_is_used(tree: Path, tmp_path: Path) -> None:
    entries = [item for item in list_entries({"folder": str(tree)}, ["train"]) if isinstance(item, Entry)]
    paths = str(tmp_path / "a.tfrecord"), str(tmp_path / "a.jsonl")
    limits = Limits(longest=8_005 / 16_000)
    summary = ingest_shard(entries, {"folder": str(tree)}, "train", 0, *paths, limits)
    assert summary.used == 6  # of 8,000 to 8,011 samples
    assert Counter(line["reason"] for line in summary.rejected) == {"too_long": 6, "undecodable": 1}
