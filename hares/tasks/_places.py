r"""Where on the disk is what an index names: one set of rules for the forms that lists of files come in.

Lists are made on other machines and edited by hand, so names come as `./a.wav`, `a.wav ` (a blank after it),
`a\b.wav`, `a//b.wav`, `DATASET/a.wav` or `/home/me/data/a.wav`, and recordings are renamed to `.WAV` or recoded
to `.flac`. Every reader that takes names from an index finds its files here.
"""

from __future__ import annotations

import os
import unicodedata
from collections import OrderedDict
from collections.abc import Sequence

from hares.buckets import Place
from hares.files import home_of, is_file, is_folder, leads_outside, names_in
from hares.reading import is_audio

_FOLDERS_KEPT = 4  # listings kept: an index goes through its folders one after another


def parts_of(name: str) -> list[str]:
    r"""The parts of a path as an index writes it, without blanks around it, empty parts and `.`; `\` parts too."""
    return [part for part in name.strip().replace("\\", "/").split("/") if part not in ("", ".")]


class Places:
    """Finds the files of one data set by the names that its indexes give them."""

    def __init__(self, root: Place) -> None:
        self._root = root
        self._home = home_of(root)
        self._listings: OrderedDict[str, dict[str, list[str]]] = OrderedDict()

    def has(self, path: str) -> bool:
        """Whether there is a file at this path below the root."""
        return is_file(self._root, path)

    def find(self, name: str, folders: Sequence[str] = ("",), depth: int = 1) -> str:
        """The path below the root of the file that an index names.

        Tried in turn are the name as it stands, the name tidied (`parts_of`), the same without its first parts,
        and a file beside it whose name differs in case, in Unicode normal form, or in the suffix of audio alone.

        Args:
            name: as the index has it.
            folders: where the data set's names begin, the usual place first.
            depth: parts of a name of this data set: `yes/a.wav` has 2.

        Returns:
            The file's path. Where there is no such file: the path it should have, or, if the name leads out of the
            data set, the name itself.
        """
        parts = parts_of(name)
        if ".." in parts or not parts:
            return _below(folders[0], name)
        tails = ["/".join(parts[first:]) for first in range(max(1, len(parts) - depth + 1))]
        forms = [_below(folder, tail) for tail in tails for folder in folders]
        absolute = name.startswith("/")
        if not {"", "."} & set(name.split("/")):  # blanks and backslashes may be of the file's own name
            forms = [_below(folder, name) for folder in folders] + forms
        for form in forms:
            if self.has(form):
                return form
        for form in forms:
            if near := self._near(form):
                return near
        return name if absolute else _below(folders[0], tails[-1])

    def _near(self, path: str) -> str | None:
        folder, _, name = path.rpartition("/")
        beside = self._names(folder).get(_form(name), [])
        suffix = os.path.splitext(name)[1].lower()
        same = [found for found in beside if os.path.splitext(found)[1].lower() == suffix] or beside
        return _below(folder, same[0]) if len(same) == 1 else None

    def _names(self, folder: str) -> dict[str, list[str]]:
        """Names of the files in a folder by what is alike in them."""
        if folder in self._listings:
            return self._listings[folder]
        names: dict[str, list[str]] = {}
        if is_folder(self._root, folder) and not (folder and leads_outside(self._home, folder)):
            for name in names_in(self._root, folder):
                names.setdefault(_form(name), []).append(name)
        self._listings[folder] = names
        if len(self._listings) > _FOLDERS_KEPT:
            self._listings.popitem(last=False)
        return names


def _form(name: str) -> str:
    """What is the same in all spellings of a file's name."""
    stem = os.path.splitext(name)[0] if is_audio(name) else name
    return unicodedata.normalize("NFC", stem).casefold()


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
