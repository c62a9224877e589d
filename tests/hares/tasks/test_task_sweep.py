"""One sweep over all tasks on the real recordings: counts, labels, splits and groups of each."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from hares.corpus import check_corpus
from hares.reading import scan
from hares.task import Clip, Reason, Rejected, load_task, load_task_module, task_names

pytestmark = pytest.mark.corpus

# From each data set's own index files, counted by hand: clips by split. The audio files are PROVENANCE.csv's
# rows.
SPLITS = {
    "audioset": {"train": 50, "test": 30},
    "esc50": {"fold1": 15, "fold2": 13, "fold3": 10, "fold4": 11, "fold5": 10},
    "fluent_speech_commands": {"train": 33, "validation": 11, "test": 11},
    "nsynth_instrument": {"train": 44, "validation": 11, "test": 22},
    "nsynth_pitch": {"train": 44, "validation": 11, "test": 22},
    "speech_commands_v2": {"train": 31, "validation": 10, "test": 18},
    "tut18": {"train": 18, "test": 6},
    "voxceleb1": {"train": 88, "validation": 22, "test": 44},
}


def provenance(root: Path) -> dict[str, str]:
    """Path to label of every recording, from the file that says where each came from."""
    with open(root / "PROVENANCE.csv", encoding="utf-8", newline="") as file:
        return {row["path"]: row["label"] for row in csv.DictReader(file)}


def clips_of(name: str, corpus: Path) -> list[Clip]:
    return [item for item in scan(name, corpus / load_task(name).dataset) if isinstance(item, Clip)]


@pytest.mark.parametrize("name", task_names())
def test_every_recording_is_accounted_for(name: str, shared_corpus: Path) -> None:
    root = shared_corpus / load_task(name).dataset
    items = list(scan(name, root))
    assert {item.path for item in items} == set(provenance(root))
    rejected = [item for item in items if isinstance(item, Rejected) and item.reason is not Reason.LEFT_OUT]
    assert all(
        name == "speech_commands_v2" and item.path.startswith("_background_noise_/") for item in rejected
    )
    clips = [item for item in items if isinstance(item, Clip)]
    assert len({clip.clip_id for clip in clips}) == len(clips)
    if name in SPLITS:
        counts: dict[str, int] = {}
        for clip in clips:
            counts[clip.split] = counts.get(clip.split, 0) + 1
        assert counts == SPLITS[name]


@pytest.mark.parametrize("name", task_names())
def test_labels_are_in_the_label_set(name: str, shared_corpus: Path) -> None:
    task = load_task(name)
    index = load_task_module(name).index(shared_corpus / task.dataset)
    for clip in clips_of(name, shared_corpus):
        if task.label_kind == "slots":
            assert len(clip.labels) == len(index.slots)
        elif task.label_kind == "single":
            assert len(clip.labels) == 1
        for position, label in enumerate(clip.labels):
            slot = index.slots[position if task.label_kind == "slots" else 0]
            assert 0 <= label < len(slot.classes)


@pytest.mark.parametrize(
    "name", ["esc50", "birdsong", "tut18", "speech_commands_v2", "voxforge", "voxceleb1", "nsynth_instrument"]
)
def test_single_labels_are_those_of_the_source(name: str, shared_corpus: Path) -> None:
    task = load_task(name)
    expected = provenance(shared_corpus / task.dataset)
    aliases = {"hasbird=0": "no bird", "hasbird=1": "bird"}
    for clip in clips_of(name, shared_corpus):
        source = expected[clip.path]
        assert task.slots[0].classes[clip.labels[0]] == aliases.get(source, source)


@pytest.mark.parametrize("name", ["magnatagatune", "audioset"])
def test_tags_are_those_of_the_source(name: str, shared_corpus: Path) -> None:
    task = load_task(name)
    expected = provenance(shared_corpus / task.dataset)
    for clip in clips_of(name, shared_corpus):
        named = {task.slots[0].classes[label] for label in clip.labels}
        assert named == set(expected[clip.path].split("|")) & set(task.slots[0].classes)


def test_fluent_slots_are_those_of_the_source(shared_corpus: Path) -> None:
    root = shared_corpus / "fluent_speech_commands"
    index = load_task_module("fluent_speech_commands").index(root)
    for clip in clips_of("fluent_speech_commands", shared_corpus):
        said = "|".join(slot.classes[label] for slot, label in zip(index.slots, clip.labels, strict=True))
        assert said == provenance(root)[clip.path]
    official = load_task("fluent_speech_commands").slots
    for ours, theirs in zip(index.slots, official, strict=True):
        assert ours.classes[: len(theirs.classes)] == theirs.classes
    assert any("reset" in deviation for deviation in index.deviations)
    assert any("listening, talking" in deviation for deviation in index.deviations)


@pytest.mark.parametrize("name", ["birdsong", "voxforge", "tut18", "esc50", "nsynth_pitch", "magnatagatune"])
def test_no_group_is_on_both_sides(name: str, shared_corpus: Path) -> None:
    splits: dict[str, set[str]] = {}
    for clip in clips_of(name, shared_corpus):
        splits.setdefault(clip.group, set()).add(clip.split)
    assert all(len(parts) == 1 for parts in splits.values())


@pytest.mark.parametrize("name", ["birdsong", "voxforge"])
def test_our_own_splits_cover_every_class(name: str, shared_corpus: Path) -> None:
    clips = clips_of(name, shared_corpus)
    classes = {clip.labels[0] for clip in clips}
    for split in ("train", "test"):
        assert {clip.labels[0] for clip in clips if clip.split == split} == classes


def test_corpus_check_finds_all_twelve(shared_corpus: Path) -> None:
    checks = {check.name: check for check in check_corpus(shared_corpus)}
    assert set(checks) == set(task_names())
    for name, check in checks.items():
        root = shared_corpus / load_task(name).dataset
        assert check.found and check.error is None
        assert check.files == len(provenance(root))
        expected = {"speech_commands_v1": {"left_out"}, "speech_commands_v2": {"unlisted"}}
        assert set(check.rejected) <= expected.get(name, set())
        assert check.split_is_official == (
            name not in ("birdsong", "speech_commands_v1", "tut18", "voxforge")
        )
    assert checks["voxceleb1"].slots[0].classes_present == 22
    assert checks["nsynth_instrument"].slots[0].classes_present == 11
    assert checks["esc50"].hours == pytest.approx(59 * 5 / 3600, rel=1e-3)
    assert checks["nsynth_pitch"].hours == pytest.approx(77 * 4 / 3600, rel=1e-3)
    by_header = check_corpus(shared_corpus, tasks=["audioset"], decode_audio=False)[0]
    assert by_header.hours == pytest.approx(checks["audioset"].hours, rel=1e-4)
