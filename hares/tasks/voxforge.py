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
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hares.buckets import Place
from hares.files import clip_id_of, folders_in, home_of, is_link, leads_outside, names_in, what_is_there
from hares.task import Clip, CorpusIndexError, Reason, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows, _split
from hares.tasks._places import parts_of

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
    split_is_official=False,
    layout=(
        "{language}/{speaker}-{session}/wav/*.wav (or the tree of the site)",
        "voxforge_urls.txt (optional, TensorFlow Datasets')",
    ),
    licence="GPL-3.0",
    url="https://www.tensorflow.org/datasets/catalog/voxforge",
    citation="K MacLean, VoxForge, 2018",
)

_URLS = _rows.Table(TASK.name, "voxforge_urls.txt", ("url",), "Remove it to split without it.", header=False)
# The site keeps English below SpeechCorpus.
_LANGUAGE_FOLDERS = {**{language: language for language in LANGUAGES}, "SpeechCorpus": "en"}
_ON_THE_WAY = re.compile(
    "Trunk|Audio|Main|Original|[0-9]+kHz_[0-9]+bit"
)  # folders of the site above sessions
_DEPTH = 8


@dataclass(frozen=True)
class _Session:
    """One session of a speaker: on the disk (then `folder` is its path) or in the list of archives."""

    language: str
    name: str
    folder: str = ""

    @property
    def speaker(self) -> str:
        return self.name.partition("-")[0]


def index(root: Place) -> TaskIndex:
    """The six languages and which split is in force.

    Raises:
        CorpusIndexError: none of the six language folders is there, or voxforge_urls.txt is not text.
    """
    sessions = _sessions(root)
    if _rows.exists(root, _URLS):
        known = {session.name for session in _listed_sessions(root)}
        others = sum(session.name not in known for session in sessions)
        if not others:
            return TaskIndex(TASK.slots, split_is_official=True)
        said = (
            f"{others} sessions on the disk are not in voxforge_urls.txt: if the list is not whole, its split is "
            "another than the paper's"
        )
        return TaskIndex(TASK.slots, split_is_official=False, deviations=(said,))
    moved = _speaker_splits(root, sessions)[1]
    note = f"; {moved} speakers moved so that no language misses train or test" if moved else ""
    return TaskIndex(
        TASK.slots,
        split_is_official=False,
        deviations=(
            "split made here from the speakers on the disk by TensorFlow Datasets' rule, without its "
            f"voxforge_urls.txt{note}: not comparable with the paper",
        ),
    )


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips by language, session and file name, then the listed sessions that are not there.

    Raises CorpusIndexError as `index` does.
    """
    sessions = _sessions(root)
    splits, _ = _speaker_splits(root, sessions)
    home = home_of(root)
    for session in sessions:
        folder = f"{session.folder}/wav"
        # A session recorded as FLAC has no wav folder; the paper's source reads WAV alone, and so does this.
        if not (root / folder).is_dir():
            if not (root / session.folder / "flac").is_dir():
                yield _absent(session, splits, "the session's folder has no folder wav")
            continue
        if leads_outside(home, folder):
            yield Rejected(folder, Reason.OUTSIDE, "a symbolic link leads out of the data set's folder")
            continue
        label = LANGUAGES.index(session.language)
        for name in names_in(root, folder):
            if name.lower().endswith(".wav"):
                path = f"{folder}/{name}"
                clip = Clip(clip_id_of(path), path, (label,), "train", clip_id_of(session.speaker))
                yield _split.assign(clip, splits.get(session.speaker))
    if _rows.exists(root, _URLS):
        there = {(language, s.name) for s in sessions for language in (s.language, "")}
        for listed in _listed_sessions(root):
            if (listed.language, listed.name) not in there:
                yield _absent(
                    listed, splits, "voxforge_urls.txt lists the session, and its folder is not there"
                )


def _absent(session: _Session, splits: Mapping[str, Split], why: str) -> Rejected:
    place = session.folder or "/".join(filter(None, (session.language, session.name)))
    return Rejected(place, Reason.ABSENT, f"{why}; unpack its archive", splits.get(session.speaker))


def _sessions(root: Place) -> list[_Session]:
    """The sessions on the disk by language and name: `de/<session>`, or as a download of the whole site lies."""
    found: dict[tuple[str, str], _Session] = {}
    home = home_of(root)

    def look(below: str, language: str, depth: int) -> None:
        for name in folders_in(root, below):
            place = f"{below}/{name}" if below else name
            # What leads out is named after the listing, and not looked into (`hares.reading.scan`).
            inside = not is_link(root, place) or (
                name in _LANGUAGE_FOLDERS and not leads_outside(home, place)
            )
            if language and not _ON_THE_WAY.fullmatch(name):
                found.setdefault((language, name), _Session(language, name, place))
            elif inside and depth:
                look(place, _LANGUAGE_FOLDERS.get(name, language), depth - 1)

    look("", "", _DEPTH)
    if not found:
        raise CorpusIndexError(
            f"voxforge: none of the folders {', '.join(LANGUAGES)} with sessions is there; {what_is_there(root)}. "
            "Unpack each archive to {language}/{speaker}-{session}/."
        )
    return sorted(found.values(), key=lambda session: (session.language, os.fsencode(session.name)))


def _listed_sessions(root: Place) -> list[_Session]:
    """The sessions of voxforge_urls.txt. Raises CorpusIndexError for a row that is no archive's address."""
    found = []
    _rows.check(root, _URLS)
    for line in _rows.lines(root, _URLS):
        parts = parts_of(line.text.strip("\"' "))
        if not parts or not parts[-1].endswith(".tgz"):
            raise _rows.refused(_URLS, line, f"{line.text[:80]!r} is not the address of a .tgz")
        language = next((_LANGUAGE_FOLDERS[part] for part in parts if part in _LANGUAGE_FOLDERS), "")
        found.append(_Session(language, parts[-1].removesuffix(".tgz")))
    return found


def _speaker_splits(root: Place, sessions: Sequence[_Session]) -> tuple[dict[str, Split], int]:
    """Speaker to split, and how many speakers were moved from where TensorFlow Datasets' rule puts them."""
    if _rows.exists(root, _URLS):
        return tfds_split({session.speaker for session in _listed_sessions(root)}), 0
    pairs = {(session.speaker, LANGUAGES.index(session.language)) for session in sessions}
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
