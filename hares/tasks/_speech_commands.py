"""What both versions of Speech Commands share: folders of words, two lists and the background noise.

Both archives unpack to one folder a word, `testing_list.txt` and `validation_list.txt` (paths of clips; all
others are training clips) and `_background_noise_`. Clips of one speaker share the name before `_nohash_` and
one split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from hares._files import NameSet, clip_id_of, leads_outside
from hares.audio import AudioError, seconds
from hares.task import Clip, Reason, Rejected, Split
from hares.tasks import _rows

NOISE = "_background_noise_"
WORDS_ONLY_IN_V2 = ("backward", "follow", "forward", "learn", "visual")
WORDS_V1 = (
    *("bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house", "left", "marvin"),
    *("nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two"),
    *("up", "wow", "yes", "zero"),
)
WORDS_V2 = tuple(sorted((*WORDS_V1, *WORDS_ONLY_IN_V2)))

_REMEDY = "Is this the folder that speech_commands_v0.0x.tar.gz unpacks to?"
_LISTS: dict[str, Split] = {"testing_list.txt": "test", "validation_list.txt": "validation"}


@dataclass(frozen=True)
class Spoken:
    """One listed clip of a word, before a task gives it a class."""

    path: str
    word: str
    split: Split

    @property
    def group(self) -> str:
        """The speaker."""
        return clip_id_of(self.path.rpartition("/")[2].partition("_nohash_")[0])

    def clip(self, label: int) -> Clip:
        """The clip with the class a task gives its word."""
        return Clip(clip_id_of(self.path), self.path, (label,), self.split, self.group)


def check(task: str, root: Path) -> None:
    """Raises CorpusIndexError if one of the two lists is absent or not text."""
    for name in _LISTS:
        _rows.check(root, _table(task, name))


def words_on_disk(root: Path) -> frozenset[str]:
    """Names of the folders that can be words: those that do not begin with an underscore or a dot."""
    with os.scandir(root) as listing:
        return frozenset(e.name for e in listing if e.is_dir() and not e.name.startswith(("_", ".")))


def spoken(task: str, root: Path) -> Iterator[Spoken | Rejected]:
    """Every clip of every word by path, then what the lists name and the folders lack.

    Raises:
        CorpusIndexError: a list is absent or not text.
    """
    listed: dict[Split, NameSet] = {}
    for name, split in _LISTS.items():
        listed[split] = NameSet()
        for _, path in _rows.lines(root, _table(task, name)):
            listed[split].add(path)
    home = os.path.realpath(root)
    for word in sorted(words_on_disk(root), key=os.fsencode):
        if leads_outside(home, word):
            yield Rejected(word, Reason.OUTSIDE, "the folder is a symbolic link out of the data set's folder")
            continue
        for name in sorted(os.listdir(root / word), key=os.fsencode):
            if name.lower().endswith(".wav"):
                yield Spoken(f"{word}/{name}", word, _split_of(f"{word}/{name}", listed))
    for name, split in _LISTS.items():
        for number, path in _rows.lines(root, _table(task, name)):
            if path.count("/") != 1:
                yield _rows.bad_row(_table(task, name), number, f"{path!r} is not word/file.wav")
            elif not (root / path).exists():
                yield Spoken(path, path.partition("/")[0], split)


def noise_files(root: Path) -> Iterator[str]:
    """Paths of the recordings of background noise, sorted."""
    if (root / NOISE).is_dir() and not leads_outside(os.path.realpath(root), NOISE):
        for name in sorted(os.listdir(root / NOISE), key=os.fsencode):
            if name.lower().endswith(".wav"):
                yield f"{NOISE}/{name}"


def silence(root: Path, path: str, label: int) -> Iterator[Clip | Rejected]:
    """One recording of background noise as consecutive cuts of one second, in three blocks of time.

    Of n whole seconds the last tenth (at least one second) is for test, the tenth before it (at least one,
    from three seconds up) for validation and what comes first for training, so that no sample is in two
    splits. The rest of less than a second at the end is not used.
    """
    if leads_outside(os.path.realpath(root), path):
        yield Rejected(path, Reason.OUTSIDE, "the symbolic link leads out of the data set's folder")
        return
    try:
        whole = int(seconds(root / path))
    except AudioError as error:
        yield Rejected(path, error.reason, error.detail)
        return
    test = max(1, whole // 10)
    validation = test if whole >= 3 else 0
    for start in range(whole):
        split: Split = "train"
        if start >= whole - test:
            split = "test"
        elif start >= whole - test - validation:
            split = "validation"
        name = f"{clip_id_of(path)}#{start}-{start + 1}"
        yield Clip(name, path, (label,), split, clip_id_of(path), start=float(start), duration=1.0)


def unknown_word(clip: Spoken) -> Rejected:
    """A clip in a folder whose name is no word of the data set."""
    return Rejected(
        clip.path,
        Reason.UNKNOWN_LABEL,
        f"folder {clip.word!r} is not one of the 35 words of Speech Commands",
        clip.split,
    )


def _split_of(path: str, listed: dict[Split, NameSet]) -> Split:
    return next((split for split, names in listed.items() if path in names), "train")


def _table(task: str, name: str) -> _rows.Table:
    return _rows.Table(task, name, ("path",), _REMEDY, header=False)
