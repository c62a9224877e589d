"""What the two NSynth tasks share: the three folders and their examples.json, read entry by entry.

The training set's examples.json is one object of 289,205 entries (over 100 MB), so it is decoded through a
window of text and never held whole. NSynth's splits share no instrument between training and the other two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

from hares.buckets import Place
from hares.files import clip_id_of, index_problem, what_is_there
from hares.machine import is_of_the_machine
from hares.task import Clip, CorpusIndexError, Reason, Rejected, Split
from hares.tasks._places import Places

LAYOUT = ("nsynth-{train,valid,test}/examples.json", "nsynth-{train,valid,test}/audio/{note}.wav")
LICENCE = "CC-BY-4.0"
URL = "https://magenta.tensorflow.org/datasets/nsynth"
CITATION = "J Engel et al., Neural audio synthesis of musical notes with WaveNet autoencoders, ICML 2017"

_FOLDERS: dict[str, Split] = {"nsynth-train": "train", "nsynth-valid": "validation", "nsynth-test": "test"}
_SECONDS = 4.0  # every note is as long
_WINDOW = 1 << 16  # characters read at a time
_LONGEST_ENTRY = 1 << 20
_BLANKS = " \t\r\n"


def check(task: str, root: Place) -> None:
    """Raises CorpusIndexError if one of the three examples.json is absent."""
    for folder in _FOLDERS:
        if not (root / folder / "examples.json").is_file():
            raise CorpusIndexError(
                f"{task}: {folder}/examples.json is not there; {what_is_there(root)}. Unpack nsynth-train, "
                "nsynth-valid and nsynth-test side by side, as 'hares corpus unpack' does with the archives."
            )


def read(
    task: str,
    root: Place,
    label_of: Callable[[dict[str, object]], int | None],
    key: str,
    expected: str,
) -> Iterator[Clip | Rejected]:
    """The notes of the three folders in the order of their examples.json.

    Args:
        task: name that opens messages.
        root: the data set's own folder.
        label_of: the class id of an entry, None if it is no class of the task.
        key: the field of an entry that holds the label.
        expected: the classes, in words.

    Raises:
        CorpusIndexError: an examples.json is absent or is not one JSON object.
    """
    check(task, root)
    places = Places(root)
    for folder, split in _FOLDERS.items():
        name = f"{folder}/examples.json"
        for note, entry in entries(task, root, name):
            path = places.find(f"{note}.wav", (f"{folder}/audio",))
            if not isinstance(entry, dict) or key not in entry or "instrument_str" not in entry:
                detail = f"{name}: {note!r} has no fields {key!r} and 'instrument_str'"
                yield Rejected(path, Reason.BAD_ROW, detail, split)
                continue
            label = label_of(entry)
            if label is None:
                detail = f"label {entry[key]!r} is not one of {expected}"
                yield Rejected(path, Reason.UNKNOWN_LABEL, detail, split)
            else:
                group = clip_id_of(str(entry["instrument_str"]))
                yield Clip(clip_id_of(path), path, (label,), split, group, length=_SECONDS)


def entries(task: str, root: Place, name: str) -> Iterator[tuple[str, object]]:
    """(key, value) of every entry of one large JSON object, in file order, in constant memory.

    Raises:
        CorpusIndexError: the file cannot be opened or is not one JSON object in UTF-8.
    """
    decoder = json.JSONDecoder()
    if problem := index_problem(root, name):
        raise CorpusIndexError(f"{task}: {name} {problem}.")
    try:
        file = (root / name).open(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        if is_of_the_machine(error):
            raise
        raise CorpusIndexError(f"{task}: {name} cannot be opened ({error.strerror}).") from error
    with file:
        window = _Window(file.read)
        if window.take() != "{":
            raise _not_json(task, name, "it does not begin with '{'")
        empty = window.peek() == "}"
        while not empty:
            key = window.value(decoder)
            colon = window.take()
            value = window.value(decoder)
            if not isinstance(key, str) or colon != ":" or value is _CUT:
                raise _not_json(
                    task, name, f"the entry after {window.done} characters is cut off or malformed"
                )
            yield key, value
            after = window.peek()
            if after == "}":
                break
            window.take()
            if after != ",":
                raise _not_json(task, name, f"',' or '}}' is missing after {window.done} characters")
        window.take()
        if window.peek():
            raise _not_json(task, name, "something follows its last '}'")


_CUT = object()  # no whole JSON value could be read


class _Window:
    """The text that has been read and not yet decoded."""

    def __init__(self, read_more: Callable[[int], str]) -> None:
        self._read = read_more
        self._text = ""
        self._at = 0
        self.done = 0

    def peek(self) -> str:
        """The next character that is not blank; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANKS:
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def take(self) -> str:
        """As `peek`, and moves on."""
        character = self.peek()
        self._at += len(character)
        return character

    def value(self, decoder: json.JSONDecoder) -> object:
        """The next JSON value, or `_CUT`."""
        self.peek()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
            except RecursionError:  # nested a thousand deep: no note of NSynth
                return _CUT
            except ValueError:  # not JSON, or not yet; or a number of thousands of digits
                end = len(self._text)
            # A number that ends the window may go on in the next one.
            if end < len(self._text):
                self._at = end
                return value
            if len(self._text) - self._at > _LONGEST_ENTRY or not self._more():
                return _CUT

    def _more(self) -> bool:
        fresh = self._read(_WINDOW)
        self.done += self._at
        self._text = self._text[self._at :] + fresh
        self._at = 0
        return bool(fresh)


def _not_json(task: str, name: str, problem: str) -> CorpusIndexError:
    return CorpusIndexError(
        f"{task}: {name} is not one JSON object in UTF-8 ({problem}). Unpack the archive again."
    )
