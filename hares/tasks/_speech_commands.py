"""What both versions of Speech Commands share: folders of words, two lists and the background noise.

Both archives unpack to one folder a word, `testing_list.txt` and `validation_list.txt` (paths of clips; all
others are training clips) and `_background_noise_`. Clips of one speaker share the name before `_nohash_` and
one split. Beside each there is an archive of the test set of twelve classes (`_speech_commands_testing.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from hares.buckets import Place
from hares.files import clip_id_of, folders_in, home_of, leads_outside, names_in, shown
from hares.reading import is_audio
from hares.task import Clip, CorpusIndexError, Reason, Rejected, Split
from hares.tasks import _rows
from hares.tasks._places import Places, parts_of

NOISE = "_background_noise_"
WORDS_ONLY_IN_V2 = ("backward", "follow", "forward", "learn", "visual")
WORDS_V1 = (
    *("bed", "bird", "cat", "dog", "down", "eight", "five", "four", "go", "happy", "house", "left", "marvin"),
    *("nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop", "three", "tree", "two"),
    *("up", "wow", "yes", "zero"),
)
WORDS_V2 = tuple(sorted((*WORDS_V1, *WORDS_ONLY_IN_V2)))

SECONDS = 1.0  # no clip of a word is longer
TEST_SETS = {"v0.01": "speech_commands_test_set_v0.01", "v0.02": "speech_commands_test_set_v0.02"}

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
        name = clip_id_of(self.path)
        return Clip(name, self.path, (label,), self.split, self.group, length=SECONDS)


def check(task: str, root: Place) -> None:
    """Raises CorpusIndexError if one of the two lists is absent or not text."""
    for name in _LISTS:
        _rows.check(root, _table(task, name))


def words_on_disk(root: Place) -> frozenset[str]:
    """Names of the folders that can be words: no archive's of a test set, nor any that begins with "_" or "."."""
    names = {name for name in folders_in(root) if not name.startswith(("_", "."))}
    return frozenset(names - set(TEST_SETS.values()))


def spoken(task: str, root: Place) -> Iterator[Spoken | Rejected]:
    """Every clip of every word by path, then what the lists name and the folders lack.

    What no list names is trained on, so a list must not lose a row: one that is cut off, or whose rows name files
    in a form that nothing here understands, would put test clips into training.

    Raises:
        CorpusIndexError: a list is absent or no text; a row does not name a clip of a word; two rows put one clip,
            or all clips of one speaker, into different splits; no row of a list names a clip that is there; or a
            listed speaker has clips that no list names.
    """
    listed = _Lists(task, root)
    home = home_of(root)
    for word in sorted(words_on_disk(root), key=os.fsencode):
        if leads_outside(home, word):
            yield Rejected(word, Reason.OUTSIDE, "the folder is a symbolic link out of the data set's folder")
            continue
        for name in names_in(root, word):
            if is_audio(name):
                path = f"{word}/{name}"
                yield Spoken(path, word, listed.split_of(path))
    yield from listed.absent


class _Lists:
    """The two lists, held against the files."""

    def __init__(self, task: str, root: Place) -> None:
        self._task = task
        self._places = Places(root)
        self._splits: dict[str, Split] = {}
        self._speakers: dict[str, Split] = {}
        self.absent: list[Spoken] = []
        any_word = any(True for word in words_on_disk(root))
        for name, split in _LISTS.items():
            table = _table(task, name)
            _rows.check(root, table)
            found = [self._add(table, line, split) for line in _rows.lines(root, table)]
            if any_word and not any(found):
                raise CorpusIndexError(
                    f"{task}: none of the {len(found)} rows of {name} names a file that is there, so that the clips "
                    f"that it should name would be trained on. {_REMEDY}"
                )

    def _add(self, table: _rows.Table, line: _rows.Line, split: Split) -> bool:
        """Whether the row names a file that is there."""
        parts = parts_of(line.text)
        if len(parts) < 2 or ".." in parts or not is_audio(parts[-1]):
            raise _rows.refused(table, line, f"{line.text[:80]!r} is not word/file.wav")
        path = self._places.find(line.text, depth=2)
        if not self._places.has(path):
            if line.cut:
                raise _rows.refused(table, line, f"the list ends in {path!r}, and there is no such file")
            path = "/".join(parts[-2:])
            self.absent.append(Spoken(path, parts[-2], split))
        if self._speakers.setdefault(_speaker(path), split) != split:
            raise _rows.refused(table, line, f"{path!r}, or its speaker, is in both lists")
        self._splits[path] = split
        return self._places.has(path)

    def split_of(self, path: str) -> Split:
        """The split of a clip that is there."""
        split = self._splits.get(path, "train")
        if self._speakers.get(_speaker(path), split) != split:
            raise CorpusIndexError(
                f"{self._task}: the lists name clips of the same speaker and not {shown(path)}: a speaker is in one "
                f"split, so testing_list.txt or validation_list.txt has lost rows. {_REMEDY}"
            )
        return split


def _speaker(path: str) -> str:
    """Whose clip this is; of a name that does not say it, the clip itself."""
    name = path.rpartition("/")[2]
    return name.partition("_nohash_")[0] if "_nohash_" in name else path


def noise_files(root: Place) -> Iterator[str]:
    """Paths of the recordings of background noise, sorted."""
    if (root / NOISE).is_dir() and not leads_outside(home_of(root), NOISE):
        for name in names_in(root, NOISE):
            if is_audio(name):
                yield f"{NOISE}/{name}"


def unknown_word(clip: Spoken) -> Rejected:
    """A clip in a folder whose name is no word of the data set."""
    return Rejected(
        clip.path,
        Reason.UNKNOWN_LABEL,
        f"folder {clip.word!r} is not one of the 35 words of Speech Commands",
        clip.split,
    )


def _table(task: str, name: str) -> _rows.Table:
    return _rows.Table(task, name, ("path",), _REMEDY, header=False)
