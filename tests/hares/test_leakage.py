"""Leakage: the same sound or group on both sides of a split, and what data sets share on purpose."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hares.leakage import ClipIdentity, check_leakage, identity
from hares.reading import scan
from hares.task import Clip, load_task, task_names


def clip(name, split, group="", content=None):
    return ClipIdentity(name, split, group, name if content is None else content)


def test_a_clean_split():
    found = check_leakage(
        load_task("tut18"), [clip("a", "train", "x"), clip("b", "test", "y"), clip("c", "validation", "x")]
    )
    assert found["verdict"] == "clean"
    assert (found["clips_checked"], found["shared_clips"], found["shared_groups"]) == (2, 0, 0)


def test_the_same_sound_under_two_names():
    clips = [clip("a", "train", content="same"), clip("b", "test", content="same"), clip("c", "test")]
    found = check_leakage(load_task("magnatagatune"), clips)
    assert found["verdict"] == "leak"
    assert found["shared_clips"] == 1
    assert [example["clip"] for example in found["examples"]] == ["a", "b"]


def test_a_speaker_on_both_sides():
    clips = [
        clip("a", "train", "kim"),
        clip("b", "test", "kim"),
        clip("c", "train", "kim"),
        clip("d", "test", "jo"),
    ]
    found = check_leakage(load_task("fluent_speech_commands"), clips)
    assert (found["verdict"], found["shared_groups"]) == ("leak", 1)
    assert {example["group"] for example in found["examples"]} == {"kim"}


def test_folds_are_sides_of_their_own():
    clips = [clip("a", "fold1", "r"), clip("b", "fold4", "r"), clip("c", "fold4", "s")]
    assert check_leakage(load_task("esc50"), clips)["shared_groups"] == 1


def test_what_is_shared_by_design_is_no_leak():
    videos = [clip("a", "train", "v"), clip("b", "test", "v")]
    found = check_leakage(load_task("voxceleb1"), videos)
    assert (found["verdict"], found["groups_by_design"], found["groups_promised"]) == ("clean", 1, False)
    assert "speaker" in found["shared_by_design"]
    # Silence is cut from one recording; a speaker on both sides would still be a leak.
    silence = [
        ClipIdentity("noise.wav#0-1", "train", "noise.wav", "abc#0-1"),
        ClipIdentity("noise.wav#9-10", "test", "noise.wav", "abc#9-10"),
    ]
    found = check_leakage(load_task("speech_commands_v1"), silence)
    assert (found["verdict"], found["groups_by_design"]) == ("clean", 1)
    words = [clip("w/1.wav", "train", "kim"), clip("w/2.wav", "test", "kim")]
    assert check_leakage(load_task("speech_commands_v1"), silence + words)["shared_groups"] == 1


def test_without_clips_nothing_is_claimed():
    assert check_leakage(load_task("tut18"), [])["verdict"] == "not checked"


def test_identity_of_a_manifests_line():
    line = json.dumps(
        {"clip_id": "n.wav#3-4", "sha256": "f" * 64, "seconds": 1.0, "labels": [0], "group": "n"}
    )
    assert identity("test", line) == ClipIdentity("n.wav#3-4", "test", "n", "f" * 64 + "#3-4")


def test_many_clips_take_little_memory_and_no_names():
    clips = [clip(f"c{i}", "train" if i % 2 else "test", f"g{i}") for i in range(20_000)]
    clips.append(clip("late", "test", "g19999"))
    assert check_leakage(load_task("birdsong"), clips)["shared_groups"] == 1


@pytest.mark.corpus
@pytest.mark.parametrize("name", task_names())
def test_real_recordings_keep_their_promises(shared_corpus, name):
    root = shared_corpus / load_task(name).dataset
    clips = [
        ClipIdentity(item.clip_id, item.split, item.group, "")
        for item in scan(name, root)
        if isinstance(item, Clip)
    ]
    found = check_leakage(load_task(name), clips)
    assert found["verdict"] == "clean", found["examples"]
    assert found["clips_checked"] > 0 and np.isfinite(found["groups_by_design"])
