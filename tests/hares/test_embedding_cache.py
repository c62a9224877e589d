"""The cache misses for exactly what a change touches, and finds everything else."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.adapters import FrozenEncoder, load_adapter
from hares.buckets.copies import Copies
from hares.decoding import decoder_versions
from hares.embedding.cache import EmbeddingCache, crop_policy, front_end, hashed, shard_data
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.ingest import Entry, ShardSummary
from hares.protocol import ProtocolSettings
from hares.task import Clip, Task, load_task, task_names

ENCODER = load_adapter("log_mel")
PAPER = ProtocolSettings()


def write_clip(path: Path, seed: int = 0) -> None:
    noise = np.random.default_rng(seed).standard_normal(16_000) * 0.1
    soundfile.write(path, noise, 16_000, subtype="PCM_16")


@pytest.fixture
def shards(tmp_path) -> dict[str, list[Entry]]:
    """Two shards of one data set, two clips each."""
    found: dict[str, list[Entry]] = {}
    for shard in ("a", "b"):
        clips = [Clip(f"{shard}{i}.wav", f"{shard}{i}.wav", (i,), "train", f"voice {i}") for i in range(2)]
        for seed, clip in enumerate(clips):
            write_clip(tmp_path / clip.path, seed)
        found[shard] = [Entry("task", clip) for clip in clips]
    return found


def keys(
    shards: dict[str, list[Entry]],
    root: Path,
    encoder: FrozenEncoder = ENCODER,
    task: str = "voxforge",
    split: str = "train",
    settings: ProtocolSettings = PAPER,
    dtype: str = "float32",
) -> dict[str, str]:
    cache = EmbeddingCache(root / "cache", dtype)
    policy = crop_policy(load_task(task), split, settings)
    return {
        name: cache.key(
            encoder.digest, front_end(encoder), policy, shard_data(hashed(entries, root, Copies()))
        )
        for name, entries in shards.items()
    }


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_nothing_changed_nothing_missed(shards, tmp_path):
    reversed_ = {name: entries[::-1] for name, entries in shards.items()}
    assert keys(shards, tmp_path) == keys(reversed_, tmp_path)
    assert len(set(keys(shards, tmp_path).values())) == 2


def test_another_place_and_time_is_the_same_data(shards, tmp_path):
    before = keys(shards, tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in tmp_path.glob("*.wav"):
        (moved / path.name).write_bytes(path.read_bytes())
    assert keys(shards, moved) == before


def test_one_clips_bytes_touch_its_shard(shards, tmp_path):
    before = keys(shards, tmp_path)
    content = bytearray((tmp_path / "b1.wav").read_bytes())
    content[-1] ^= 1  # one bit of one sample
    (tmp_path / "b1.wav").write_bytes(content)
    assert changed(before, keys(shards, tmp_path)) == {"b"}


@pytest.mark.parametrize(
    "change",
    [{"labels": (5,)}, {"group": "another voice"}, {"clip_id": "b9.wav"}, {"start": 0.1}, {"duration": 0.5}],
)
def test_what_an_index_says_of_one_clip_touches_its_shard(shards, tmp_path, change):
    before = keys(shards, tmp_path)
    first, second = shards["b"]
    shards["b"] = [first, Entry("task", dataclasses.replace(second.clip, **change))]
    assert changed(before, keys(shards, tmp_path)) == {"b"}


def test_a_clip_more_or_gone_touches_its_shard(shards, tmp_path):
    before = keys(shards, tmp_path)
    (tmp_path / "a0.wav").unlink()
    assert changed(before, keys(shards, tmp_path)) == {"a"}
    shards["b"] = shards["b"][:1]
    assert changed(before, keys(shards, tmp_path)) == {"a", "b"}


def saved_model(folder: Path, weight: float) -> FrozenEncoder:
    import tensorflow as tf

    module = tf.Module()
    module.w = tf.Variable([1.0, weight])
    signature = tf.function(
        lambda x: {"embedding": tf.reduce_mean(x, 1, keepdims=True) * module.w},
        input_signature=[tf.TensorSpec([None, None])],
    )
    tf.saved_model.save(module, str(folder), signatures=signature)
    return load_adapter(f"saved_model:{folder}")


def test_one_weight_touches_every_shard(shards, tmp_path):
    before = keys(shards, tmp_path, saved_model(tmp_path / "model", 2.0))
    shutil.copytree(tmp_path / "model", tmp_path / "copy")
    assert before == keys(shards, tmp_path, load_adapter(f"saved_model:{tmp_path / 'copy'}"))
    data = "variables/variables.data-00000-of-00001"
    saved_model(tmp_path / "other", 2.5)
    assert (tmp_path / "model" / data).read_bytes() != (tmp_path / "other" / data).read_bytes()
    for part in (data, "variables/variables.index"):  # the graph stays byte for byte what it was
        shutil.copy(tmp_path / "other" / part, tmp_path / "copy" / part)
    after = keys(shards, tmp_path, load_adapter(f"saved_model:{tmp_path / 'copy'}"))
    assert changed(before, after) == {"a", "b"}


@pytest.mark.parametrize("change", [{"sample_rate": 32_000}, {"input_samples": 8_000}])
def test_the_front_end_touches_every_shard(shards, tmp_path, change):
    other = dataclasses.replace(ENCODER, **change)
    assert changed(keys(shards, tmp_path), keys(shards, tmp_path, other)) == {"a", "b"}


def test_the_code_of_the_front_end_is_in_the_key(shards, tmp_path, monkeypatch):
    before = keys(shards, tmp_path)
    monkeypatch.setattr("hares.embedding.cache.code_digest", lambda *modules: f"another {modules}")
    assert changed(before, keys(shards, tmp_path)) == {"a", "b"}


def test_decoders_are_in_the_key(shards, tmp_path, monkeypatch):
    """What one version refuses, or cannot read without ffmpeg, is asked again once there is another."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    found = [keys(shards, tmp_path)]
    assert decoder_versions()["ffmpeg"] == "none"
    for version in ("6.0", "6.1"):
        program.write_text(f"#!/bin/sh\necho ffmpeg version {version}\n")
        program.chmod(0o755)
        assert decoder_versions()["ffmpeg"] == f"ffmpeg version {version}"
        found.append(keys(shards, tmp_path))
    for name in ("soundfile.__libsndfile_version__", "soxr.__libsoxr_version__"):
        monkeypatch.setattr(name, "0")
        found.append(keys(shards, tmp_path))
    program.write_text("")  # not a program: it cannot decode, and is not absent either
    assert "not run" in decoder_versions()["ffmpeg"]
    assert all(changed(a, b) == {"a", "b"} for a, b in itertools.pairwise(found))


def test_the_code_of_the_adapter_is_in_the_key(shards, tmp_path):
    """Ours; a user's own code is in the digest of the encoder."""
    users = dataclasses.replace(ENCODER, embed=lambda waveforms: waveforms[:, :4])
    assert changed(keys(shards, tmp_path), keys(shards, tmp_path, users)) == {"a", "b"}


def test_the_number_type_touches_every_shard(shards, tmp_path):
    assert changed(keys(shards, tmp_path), keys(shards, tmp_path, dtype="float16")) == {"a", "b"}


# Which (task, split) a setting of the protocol touches; all others must be found again.
TRAIN, TEST = "train", "test"
CROPPED = {
    "audioset", "birdsong", "tut18", "fluent_speech_commands", "voxforge", "voxceleb1", "nsynth_pitch",
    "magnatagatune",
}  # fmt: skip
TOUCHES = {
    "crops_per_clip": (3, {(name, TRAIN) for name in CROPPED}),
    "augmented_epochs": (3, {("esc50", "fold1")}),
    "seed": (1, {(name, TRAIN) for name in CROPPED} | {("esc50", "fold1")}),
    "name": ("quick", set()),
    "max_steps": (10, set()),
    "batch_size": (10, set()),
    "learning_rate": (0.1, set()),
    "penalties": ((1.0,), set()),
    "bootstrap_resamples": (10, set()),
}


@pytest.mark.parametrize("setting", TOUCHES)
def test_a_setting_touches_exactly_its_splits(setting):
    value, expected = TOUCHES[setting]
    other = dataclasses.replace(PAPER, **{setting: value})
    touched = {
        (name, split)
        for name in task_names()
        for split in (("fold1",) if name == "esc50" else (TRAIN, TEST))
        if crop_policy(load_task(name), split, PAPER) != crop_policy(load_task(name), split, other)
    }
    assert touched == expected


@pytest.mark.parametrize(
    "field,value,touched",
    [
        ("train_crop", 2.0, {TRAIN}),
        ("evaluation_crop", 2.0, {TEST}),
        ("evaluation", "equally_spaced", {TEST}),
        ("clip_seconds", 2.0, {TRAIN, TEST}),
        ("steps", 1, set()),
        ("batch_size", 1, set()),
    ],
)
def test_a_part_of_a_tasks_record_touches_its_split(field, value, touched):
    task: Task = load_task("voxforge")
    other = dataclasses.replace(task, **{field: value})
    found = {s for s in (TRAIN, TEST) if crop_policy(task, s, PAPER) != crop_policy(other, s, PAPER)}
    assert found == touched


def embeddings() -> TaskEmbeddings:
    values = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    return TaskEmbeddings(
        values, np.array([0, 0, 1]), np.zeros(3, np.int8), np.array([0, 0, 1]), np.ones(3, np.float32),
        ("é", "b"), ("train", "train"), ("", "g"), ((1,), (2, 3)),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_shard_comes_back(tmp_path, dtype):
    cache, data = EmbeddingCache(tmp_path, dtype), embeddings()
    summary = ShardSummary("train", 3, used=2, samples=9, digest="d", level_sum=-1.5, label_counts={"1": 1})
    assert cache.find("ab12") is None
    cache.keep("ab12", data, summary)
    kept, kept_summary = cache.find("ab12")
    assert kept_summary == summary
    assert kept.embeddings.dtype == np.float32
    np.testing.assert_array_equal(kept.embeddings, data.embeddings.astype(dtype).astype(np.float32))
    assert (kept.clip_ids, kept.labels, kept.groups) == (data.clip_ids, data.labels, data.groups)


def test_float16_is_half_the_size_on_the_disk(tmp_path):
    data = dataclasses.replace(embeddings(), embeddings=np.zeros((3, 100_000), np.float32))
    sizes = []
    for dtype in ("float32", "float16"):
        EmbeddingCache(tmp_path / dtype, dtype).keep("ab", data, ShardSummary("train", 0))
        sizes.append((tmp_path / dtype / "shards/ab/ab.npz").stat().st_size)
    assert 1.95 < sizes[0] / sizes[1] < 2.0


def test_a_number_that_float16_cannot_hold_is_no_infinity(tmp_path):
    data = dataclasses.replace(embeddings(), embeddings=np.full((3, 4), 1e5, np.float32))
    with pytest.raises(ValueError, match=r"1e\+05, which does not fit float16"):
        EmbeddingCache(tmp_path, "float16").keep("ab", data, ShardSummary("train", 0))


def test_a_damaged_shard_is_named(tmp_path):
    cache = EmbeddingCache(tmp_path, "float32")
    cache.keep("ab12", embeddings(), ShardSummary("train", 0))
    path = tmp_path / "shards/ab/ab12.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"ab12\.npz: not a readable npz archive"):
        cache.find("ab12")


def test_the_log_has_a_line_a_shard(tmp_path):
    cache = EmbeddingCache(tmp_path, "float32")
    cache.log("computed", "k", "voxforge", "train", 0)
    cache.log("found", "k", "voxforge", "train", 0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["computed", "found"]
