"""Embeddings that do not fit: the same batches and the same numbers from a file, in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hares.embedding.collector import EmbeddingCollector, collect, is_mapped, take_rows
from hares.embedding.task_embeddings import TaskEmbeddings, concatenate
from hares.probes import load_probe
from hares.protocol import ProtocolSettings
from hares.task import Slot, load_task

pytestmark = pytest.mark.slow

CLASSES = 5


def shard(number, task, clips=60, crops=2, size=24):
    """Two crops a clip; of AudioSet's kind they are mixed with other clips of the shard."""
    random = np.random.default_rng(number)
    index = np.repeat(np.arange(clips), crops)
    split = "train" if number % 3 else "test"
    mixed = task.mixed and split == "train"
    labels = [tuple(sorted({int(v) for v in random.integers(0, CLASSES, 2)})) for _ in range(clips)]
    if task.label_kind == "single":
        labels = [(ids[0],) for ids in labels]
    return TaskEmbeddings(
        embeddings=random.normal(3, 2, (len(index), size)).astype(np.float32),
        clip_index=index,
        role=np.full(len(index), int(split == "test"), np.int8),
        partner=(index + 7) % clips if mixed else index,
        mix_weight=random.random(len(index)).astype(np.float32) if mixed else np.ones(len(index), np.float32),
        clip_ids=tuple(f"{number}/{clip}" for clip in range(clips)),
        splits=(split,) * clips,
        groups=("",) * clips,
        labels=tuple(labels),
    )


@pytest.mark.parametrize("name", ["speech_commands_v2", "magnatagatune", "audioset", "esc50"])
def test_scores_from_a_file_are_the_same_to_the_last_digit(tmp_path, name):
    task = load_task(name)
    parts = [shard(number, task) for number in range(9)]
    if name == "esc50":
        parts = [
            replace(
                part,
                splits=tuple(f"fold{1 + number % 5}" for _ in part.splits),
                role=np.tile(np.asarray([0, 1], np.int8), 60),
                labels=tuple((ids[0],) for ids in part.labels),
            )
            for number, part in enumerate(parts)
        ]
    settings = ProtocolSettings(max_steps=1_500, learning_rate=1e-3, probe_seeds=2, penalties=(1e-3, 1e-2))
    slots = (Slot("class", tuple(map(str, range(CLASSES)))),)
    in_memory = collect(parts, memory_limit_mb=100)
    from_file = collect(parts, memory_limit_mb=0.02, directory=tmp_path)
    assert is_mapped(from_file.embeddings) and not is_mapped(in_memory.embeddings)
    assert list(tmp_path.iterdir()) == []  # the file has no name: nothing can be left behind
    outcomes = [load_probe(task.probe)(task, slots, data, settings) for data in (in_memory, from_file)]
    np.testing.assert_array_equal(outcomes[0].scores, outcomes[1].scores)
    assert outcomes[0].details == outcomes[1].details
    if name != "esc50":
        assert not np.array_equal(outcomes[0].scores[0], outcomes[0].scores[1])  # two seeds, two probes


def test_seeds_side_by_side_are_the_probes_they_would_be_alone():
    task = load_task("speech_commands_v2")
    data = collect([shard(number, task) for number in range(4)], 100)
    settings = ProtocolSettings(max_steps=300, learning_rate=1e-3, probe_seeds=3)
    slots = (Slot("class", tuple(map(str, range(CLASSES)))),)
    together = load_probe("linear")(task, slots, data, settings).scores
    for seed in range(3):
        alone = load_probe("linear")(task, slots, data, replace(settings, seed=seed, probe_seeds=1)).scores
        np.testing.assert_array_equal(together[seed], alone[0])


def test_collecting_is_concatenating(tmp_path):
    task = load_task("audioset")
    parts = [shard(number, task) for number in range(5)]
    whole = concatenate(parts)
    for limit in (100, 0.03, 1e-6):
        found = collect(parts, limit, tmp_path)
        np.testing.assert_array_equal(found.embeddings, whole.embeddings)
        for name in ("clip_index", "role", "partner", "mix_weight"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
        for name in ("clip_ids", "splits", "groups", "labels"):
            assert getattr(found, name) == getattr(whole, name)
    assert collect([], 1).clip_ids == ()


def test_collecting_refuses_two_encoders_and_one_shard_twice():
    task = load_task("tut18")
    with pytest.raises(ValueError, match=r"sizes \[12, 24\]"):
        collect([shard(1, task), shard(2, task, size=12)], 100)
    collector = EmbeddingCollector(1e-6)
    collector.add(shard(1, task))
    collector.add(shard(1, task))
    with pytest.raises(ValueError, match="in two shards"):
        collector.finish()


def test_rows_of_a_file_are_copies_in_the_order_asked_for(tmp_path):
    """More rows than are mapped at a time, forwards, backwards and twice."""
    task = load_task("speech_commands_v2")
    parts = [shard(number, task, clips=400) for number in range(2)]
    whole = concatenate(parts).embeddings
    mapped = collect(parts, 1e-6, tmp_path).embeddings
    rows = np.random.default_rng(0).permutation(np.repeat(np.arange(len(whole)), 2))
    for embeddings in (mapped, whole):
        found = take_rows(embeddings, rows)
        np.testing.assert_array_equal(found, whole[rows])
        assert type(found) is np.ndarray and not np.shares_memory(found, embeddings)
    assert take_rows(mapped, rows[:0]).shape == (0, whole.shape[1])


def test_what_clips_have_in_common_is_kept_once():
    task = load_task("speech_commands_v2")
    parts = [
        replace(shard(number, task), groups=tuple(f"s{i % 4}" for i in range(60))) for number in range(6)
    ]
    found = collect(parts, 100)
    assert len({id(labels) for labels in found.labels}) == len(set(found.labels)) <= CLASSES
    assert len({id(group) for group in found.groups}) == 4
    assert len({id(split) for split in found.splits}) == 2


GROWTH = """
import resource, sys
import numpy as np
from hares.embedding.collector import collect
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.protocol import ProtocolSettings
from hares.scoring import score_task
from hares.task import load_task
task, clips, size, block = load_task("speech_commands_v2"), int(sys.argv[1]), 1024, 500
def shards():
    for first in range(0, clips, block):
        random, index = np.random.default_rng(first), np.arange(block)
        split = "train" if first % 2000 else "test"
        yield TaskEmbeddings(
            random.standard_normal((block, size), np.float32), index,
            np.full(block, int(split == "test"), np.int8), index, np.ones(block, np.float32),
            tuple(f"{first}/{i}" for i in index), (split,) * block, ("",) * block,
            tuple((int(i) % 35,) for i in index))
settings = ProtocolSettings(max_steps=300, probe_seeds=1, bootstrap_resamples=50, memory_limit_mb=2.0)
score_task(task, task.slots, collect(shards(), settings.memory_limit_mb), settings)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_hardly_grows_with_the_clips():
    """20,000 clips are 82 MB of embeddings; held in memory they would be there twice."""
    peaks = [
        int(
            subprocess.run(
                [sys.executable, "-c", GROWTH, str(clips)], capture_output=True, text=True, check=True
            ).stdout
        )
        for clips in (1_000, 20_000)
    ]
    assert peaks[1] < 1.1 * peaks[0]
