"""VoxForge: which of six languages is spoken? Linear probe, accuracy (paper appendix A).

The probe trains on 3 s crops; a test clip's score is the mean over consecutive 3 s subclips. VoxForge itself
ships no split. The paper takes the data from TensorFlow Datasets, which shuffles the sorted speaker names
with NumPy's RandomState(0) and cuts them 70/10/20 into train, validation and test; the same is done here. A
speaker is the part of a session's name before the first dash, and has one split in all languages.

Deviation: the shuffle depends on the whole list of speakers. With TensorFlow Datasets' `voxforge_urls.txt` in
the data set's folder the split is exactly the paper's; without it the speakers on the disk are taken,
speakers are moved where a language would be missing from train or test, and the split is marked as not the
paper's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hares._files import clip_id_of, leads_outside
from hares.task import Clip, CorpusIndexError, Reason, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows, _split

LANGUAGES = ("de", "en", "es", "fr", "it", "ru")

TASK = Task(
    name="voxforge",
    domain="speech",
    title="VoxForge, language identification",
    dataset="voxforge",
    slots=(Slot("language", LANGUAGES),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=3.0,
    evaluation="consecutive",
    evaluation_crop=3.0,
    clip_seconds=None,
    batch_size=64,
    steps=400_000,
    paper_samples=145_000,
    paper_classes=6,
    official_split=False,
    layout=("{language}/{speaker}-{session}/wav/*.wav", "voxforge_urls.txt (optional, TensorFlow Datasets')"),
    licence="GPL-3.0",
    url="https://www.tensorflow.org/datasets/catalog/voxforge",
    citation="K MacLean, VoxForge, 2018",
)

_URLS = _rows.Table(TASK.name, "voxforge_urls.txt", ("url",), "Remove it to split without it.", header=False)


def index(root: Path) -> TaskIndex:
    """The six languages and which split is in force.

    Raises:
        CorpusIndexError: none of the six language folders is there, or voxforge_urls.txt is not text.
    """
    _sessions(root)
    if _rows.exists(root, _URLS):
        _rows.check(root, _URLS)
        return TaskIndex(TASK.slots, split_is_official=True)
    moved = _speaker_splits(root)[1]
    note = f"; {moved} speakers moved so that no language misses train or test" if moved else ""
    return TaskIndex(
        TASK.slots,
        split_is_official=False,
        deviations=(
            "split made here from the speakers on the disk by TensorFlow Datasets' rule, without its "
            f"voxforge_urls.txt{note}: not comparable with the paper",
        ),
    )


def read(root: Path) -> Iterator[Clip | Rejected]:
    """The clips by language, session and file name. Raises CorpusIndexError as `index` does."""
    splits, _ = _speaker_splits(root)
    home = os.path.realpath(root)
    for language, session in _sessions(root):
        folder = f"{language}/{session}/wav"
        # A session recorded as FLAC has no wav folder; the paper's source reads WAV alone, and so does this.
        if not (root / folder).is_dir():
            continue
        if leads_outside(home, folder):
            yield Rejected(folder, Reason.OUTSIDE, "a symbolic link leads out of the data set's folder")
            continue
        speaker = _speaker(session)
        label = LANGUAGES.index(language)
        for name in sorted(os.listdir(root / folder), key=os.fsencode):
            if name.lower().endswith(".wav"):
                path = f"{folder}/{name}"
                clip = Clip(clip_id_of(path), path, (label,), "train", clip_id_of(speaker))
                yield _split.assign(clip, splits.get(speaker))


def _sessions(root: Path) -> list[tuple[str, str]]:
    """(language, session) of every session's folder, sorted."""
    found = []
    home = os.path.realpath(root)
    for language in LANGUAGES:
        # A folder that is a link out is named after the listing, and not looked into (`hares.reading.scan`).
        if (root / language).is_dir() and not leads_outside(home, language):
            with os.scandir(root / language) as listing:
                found += [(language, entry.name) for entry in listing if entry.is_dir()]
    if not found:
        raise CorpusIndexError(
            f"voxforge: none of the folders {', '.join(LANGUAGES)} with sessions is there. Unpack each archive "
            "to {language}/{speaker}-{session}/."
        )
    return sorted(found, key=lambda pair: (pair[0], os.fsencode(pair[1])))


def _speaker(session: str) -> str:
    return session.partition("-")[0]


def _speaker_splits(root: Path) -> tuple[dict[str, Split], int]:
    """Speaker to split, and how many speakers were moved from where TensorFlow Datasets' rule puts them."""
    if _rows.exists(root, _URLS):
        urls = (text.strip("\"' ") for _, text in _rows.lines(root, _URLS))
        return tfds_split({_speaker(url.rpartition("/")[2]) for url in urls}), 0
    pairs = {(_speaker(session), LANGUAGES.index(language)) for language, session in _sessions(root)}
    splits = tfds_split({speaker for speaker, _ in pairs})
    return splits, _split.cover_classes(splits, pairs)


def tfds_split(speakers: set[str]) -> dict[str, Split]:
    """The 70/10/20 split of speakers that TensorFlow Datasets 4's `voxforge` makes."""
    names = sorted(speakers)
    np.random.RandomState(0).shuffle(names)
    first, second = int(0.7 * len(names)), int((0.7 + 0.1) * len(names))
    parts: tuple[tuple[Split, list[str]], ...] = (
        ("train", names[:first]),
        ("validation", names[first:second]),
        ("test", names[second:]),
    )
    return {name: split for split, part in parts for name in part}
