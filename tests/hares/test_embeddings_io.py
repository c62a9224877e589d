"""The embedding pass and its shards."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from hares.embedding.encoding import embed_shard
from hares.embedding.task_embeddings import (
    TaskEmbeddings,
    concatenate,
    decode_shard,
    empty_embeddings,
    encode_shard,
)
from hares.example import ExampleClip
from hares.protocol import ProtocolSettings, evaluation_crops, mixing_plan, training_crops
from hares.task import load_task

SETTINGS = ProtocolSettings(crops_per_clip=3)


class Recorder:
    """An encoder of three numbers that any row can be checked by, and that remembers the shapes it saw."""

    def __init__(self):
        self.shapes = set()

    def __call__(self, waveforms):
        assert waveforms.dtype == np.float32
        self.shapes.add(waveforms.shape)
        return fingerprint(waveforms)


def fingerprint(waveforms):
    return np.stack([waveforms.mean(1), waveforms.std(1), waveforms[:, 7]], axis=1).astype(np.float32)


def clips(count, seconds=4.0, seed=0):
    random = np.random.default_rng(seed)
    return [
        ExampleClip(
            f"dossier/{i}é.wav",
            random.integers(-9000, 9000, round(seconds * 16_000 * (1 + i / 7))).astype(np.int16),
            (i % 3, i % 2) if i else (),
            f"speaker {i // 2}",
        )
        for i in range(count)
    ]


def assert_same(a: TaskEmbeddings, b: TaskEmbeddings):
    for name in ("embeddings", "clip_index", "role", "partner", "mix_weight"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        assert getattr(a, name).dtype == getattr(b, name).dtype, name
    assert (a.clip_ids, a.splits, a.groups, a.labels) == (b.clip_ids, b.splits, b.groups, b.labels)


@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_are_the_crops_of_their_clips(split):
    task, encode, given = load_task("voxceleb1"), Recorder(), clips(5)
    data = embed_shard(iter(given), split, task, SETTINGS, encode, batch_size=4)
    assert {(4, 48_000)} <= encode.shapes <= {(4, 48_000), (2, 48_000), (1, 48_000)}
    assert data.splits == (split,) * 5
    assert data.labels[0] == ()
    assert data.labels[4] == (1, 0)
    assert data.groups[3] == "speaker 1"
    for i, clip in enumerate(given):
        if split == "train":
            expected = training_crops(task, clip.waveform, clip.clip_id, SETTINGS)
        else:
            expected = evaluation_crops(task, clip.waveform)
        np.testing.assert_allclose(data.embeddings[data.clip_index == i], fingerprint(expected), rtol=1e-6)
    assert (data.role == (split == "test")).all()
    assert (data.mix_weight == 1).all()
    np.testing.assert_array_equal(data.partner, data.clip_index)


@pytest.mark.parametrize(("batch_size", "last"), [(8, 8), (16, 8), (12, 12), (6, 6), (3, 3), (9, 9), (20, 5)])
def test_what_is_left_of_a_shard_goes_in_the_smallest_half_that_holds_it(batch_size, last):
    encode = Recorder()
    data = embed_shard(clips(2), "fold1", load_task("esc50"), ProtocolSettings(), encode, batch_size)
    crops = len(data.embeddings)
    assert crops == 22  # ten crops of training and one of evaluation each, of one length
    left = crops % batch_size
    sizes = {rows for rows, _ in encode.shapes}
    assert sizes == ({batch_size, last} if left else {batch_size})


def test_a_fold_gives_both_roles():
    data = embed_shard(clips(2), "fold2", load_task("esc50"), ProtocolSettings(), Recorder(), 8)
    assert data.role.tolist() == ([0] * 10 + [1]) * 2
    assert data.clip_index.tolist() == [0] * 11 + [1] * 11


def test_validation_clips_are_not_read():
    def never():
        raise AssertionError("read")
        yield

    assert embed_shard(never(), "validation", load_task("tut18"), SETTINGS, Recorder(), 4).clip_ids == ()


def test_rows_do_not_depend_on_batch_or_company():
    task, given = load_task("birdsong"), clips(3, seconds=2.0)
    data = embed_shard(given, "test", task, SETTINGS, Recorder(), 7)
    alone = embed_shard(given[1:2], "test", task, SETTINGS, Recorder(), 2)
    np.testing.assert_array_equal(data.embeddings[data.clip_index == 1], alone.embeddings)


def test_audioset_crops_are_mixed_with_the_partner_they_name():
    task, given = load_task("audioset"), clips(4)
    data = embed_shard(given, "train", task, SETTINGS, Recorder(), 5)
    ids = [clip.clip_id for clip in given]
    crops = [training_crops(task, clip.waveform, clip.clip_id, SETTINGS) for clip in given]
    for i in range(4):
        rows = np.flatnonzero(data.clip_index == i)
        partners, weights = mixing_plan(task, ids, i, SETTINGS)
        np.testing.assert_array_equal(data.partner[rows], partners)
        np.testing.assert_array_equal(data.mix_weight[rows], weights)
        assert i not in partners
        mixed = [
            w * crops[i][j] + (1 - w) * crops[p][j]
            for j, (p, w) in enumerate(zip(partners, weights, strict=True))
        ]
        np.testing.assert_allclose(data.embeddings[rows], fingerprint(np.stack(mixed)), atol=1e-7)
    test = embed_shard(given, "test", task, SETTINGS, Recorder(), 5)
    assert (test.mix_weight == 1).all()


def test_bad_encoders_are_named():
    task, given = load_task("tut18"), clips(2)
    with pytest.raises(ValueError, match=r"'dossier/0é\.wav' is not finite"):
        embed_shard(given, "test", task, SETTINGS, lambda w: np.full((len(w), 3), np.nan), 4)
    with pytest.raises(ValueError, match=r"into \(2, 2, 3\), expected \(2, embedding size\)"):
        embed_shard(given, "test", task, SETTINGS, lambda w: np.zeros((len(w), 2, 3)), 4)
    with pytest.raises(ValueError, match="batch_size is 0"):
        embed_shard(given, "test", task, SETTINGS, Recorder(), 0)


def test_round_trip_without_pickle():
    data = embed_shard(clips(5), "train", load_task("audioset"), SETTINGS, Recorder(), 4)
    content = encode_shard(data)
    assert_same(decode_shard(content, "memory"), data)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in archive.namelist():
            array = np.lib.format.read_array(io.BytesIO(archive.read(name)), allow_pickle=False)
            assert array.dtype != object
    assert encode_shard(data) == encode_shard(decode_shard(encode_shard(data), "memory"))


def test_empty_shards_and_concatenation():
    given = clips(4)
    task = load_task("audioset")
    parts = [embed_shard(given[:2], "train", task, SETTINGS, Recorder(), 4)]
    parts.append(embed_shard(given[2:], "test", task, SETTINGS, Recorder(), 4))
    empty = decode_shard(encode_shard(empty_embeddings(3)), "memory")
    whole = concatenate([empty, *parts])
    assert whole.clip_ids == tuple(clip.clip_id for clip in given)
    assert whole.splits == ("train", "train", "test", "test")
    np.testing.assert_array_equal(np.unique(whole.clip_index), [0, 1, 2, 3])
    assert set(whole.partner[whole.clip_index >= 2].tolist()) == {2, 3}
    assert empty.clip_ids == ()
    with pytest.raises(ValueError, match="in two shards"):
        concatenate([parts[0], parts[0]])
    with pytest.raises(ValueError, match=r"sizes \[2, 3\]"):
        other = embed_shard(given[2:], "test", task, SETTINGS, lambda w: np.zeros((len(w), 2)), 4)
        concatenate([parts[0], other])


def test_damaged_shards_are_named(tmp_path):
    path = tmp_path / "shard.npz"
    with pytest.raises(ValueError, match=r"shard\.npz: not a readable npz"):
        decode_shard(encode_shard(empty_embeddings(3))[:-30], str(path))
    np.savez(path, embeddings=np.zeros((0, 3)))
    with pytest.raises(ValueError, match="no array 'clip_index'"):
        decode_shard(path.read_bytes(), str(path))
    np.savez(path, embeddings=np.asarray([{}], object))
    with pytest.raises(ValueError, match=r"shard\.npz"):
        decode_shard(path.read_bytes(), str(path))


def test_inconsistent_embeddings_are_refused():
    data = empty_embeddings(3)
    with pytest.raises(ValueError, match="each must be one number"):
        TaskEmbeddings(**{**data.__dict__, "clip_ids": ("a",)})
