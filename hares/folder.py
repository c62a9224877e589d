"""Any tree of audio files as a source of clips for pretraining, and dated or numbered versions of one.

Pretraining (paper section 3) needs no labels, so every audio file below the folder is one clip of the split
"train", grouped by the folder it is in. A source that grows is laid out as spans, one folder a version
(`data/span-3/audio`), and a pattern names them all (`data/span-{SPAN}/audio`).
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from hares.buckets import Place, is_address, own, place
from hares.files import clip_id_of, home_of, is_packed, walk_files, why_outside
from hares.machine import is_of_the_machine, machine_error
from hares.reading import is_audio, is_unpacked
from hares.task import Clip, Reason, Rejected

FOLDER = "folder"  # the source that is any tree of audio files, without labels
_SPAN = "{SPAN}"
MAX_WINDOW = 32  # spans that one run takes together


def scan(root: Place) -> Iterator[Clip | Rejected]:
    """Every audio file below `root` as an unlabelled clip, by path.

    A tar or Parquet file (`hares.files.is_packed`) comes as one clip too, which ingestion takes apart
    (`hares.packed`), unless it was unpacked beside itself.

    A symbolic link that leads out of `root` is rejected; a link to a folder inside is not followed, because
    the files it leads to are found at their own place. What is hidden (a name that starts with a dot: caches,
    unfinished downloads, macOS' `._` files) is not read, and is rejected folder by folder with its count.

    Where a folder may not be listed, one rejection of reason INDEX is all there is.

    Args:
        root: the folder.

    Raises:
        MachineError: the system does not let a folder be listed.
    """
    home = home_of(root)
    hidden: Counter[str] = Counter()
    try:
        for _ in walk_files(root):  # a folder that cannot be listed is found before the first clip
            pass
        for path, entry in walk_files(root):
            if hides := _hidden_part(path):
                hidden[hides] += is_audio(path)
            elif (is_audio(path) or entry.is_dir()) and (why := why_outside(home, path, entry)):
                yield Rejected(path, Reason.OUTSIDE, why, "train")
            elif is_audio(path) and entry.is_file():
                group = clip_id_of(os.path.dirname(path)) or "."
                yield Clip(clip_id_of(path), path, (), "train", group)
            elif is_packed(path) and entry.is_file() and not is_unpacked(root, path):
                yield Clip(clip_id_of(path), path, (), "train", clip_id_of(path))
            elif is_audio(path) and entry.is_symlink():
                yield Rejected(path, Reason.ABSENT, "the symbolic link leads to nothing", "train")
            elif is_audio(path):
                yield Rejected(
                    path, Reason.UNDECODABLE, "this is a pipe or a device, not a recording", "train"
                )
    except OSError as error:
        if is_of_the_machine(error):
            raise machine_error(error, f"{error.filename} cannot be listed") from error
        detail = f"{error.filename} cannot be listed ({error.strerror}); check the path"
        yield Rejected(clip_id_of(str(root)), Reason.INDEX, detail)
    for hides, count in hidden.items():
        if count:
            detail = f"hidden: its {count} audio files are not read; rename it if they should be"
            yield Rejected(clip_id_of(hides), Reason.UNLISTED, detail, "train")


def _hidden_part(path: str) -> str | None:
    """`path` up to its first name that starts with a dot, if any does."""
    names = path.split("/")
    first = next((index for index, name in enumerate(names) if name.startswith(".")), None)
    return None if first is None else "/".join(names[: first + 1])


def spans(pattern: str) -> dict[int, Place]:
    """The folders of all spans there are by number; none where none has come yet.

    Raises:
        ValueError: the pattern does not hold `{SPAN}` once, or two folders have the same number.
    """
    found = _spans(pattern)
    return {number: _the_one(pattern, number, found[number]) for number in sorted(found)}


def resolve_span(pattern: str, span: int | None) -> tuple[Place, int]:
    """The folder of one span of a source.

    Args:
        pattern: a path with `{SPAN}` once, for decimal digits with any zero padding; or, without it, one
        folder.
        span: the number wanted, or None for the highest.

    Returns:
        (folder, span number); a pattern without `{SPAN}` is its own span 0.

    Raises:
        ValueError: no folder matches, the span asked for is not among them (the message lists them), or two
            folders have the same number.
    """
    if _SPAN not in pattern:
        if not place(pattern).is_dir():
            raise ValueError(f"{pattern} is not a folder")
        if span not in (None, 0):
            raise ValueError(f"{pattern} has no {_SPAN}, so there is no span {span} of it")
        return place(pattern), 0
    found = _spans(pattern)
    if not found:
        raise ValueError(f"no folder matches {pattern}; {_SPAN} stands for a number")
    wanted = max(found) if span is None else span
    if wanted not in found:
        there = ", ".join(str(number) for number in sorted(found))
        raise ValueError(f"{pattern} has no span {wanted}; there are {there}")
    return _the_one(pattern, wanted, found[wanted]), wanted


def resolve_window(pattern: str, span: int | None, window: int) -> list[tuple[Place, int]]:
    """The folders of the newest spans of a source: `span` (or the newest there is) and those before it, newest first.

    Numbers need not follow one another, as dates do not; where there are fewer spans than `window`, they are all.

    Args:
        pattern: a path with `{SPAN}` once.
        span: the newest span wanted, or None for the highest number.
        window: how many spans, at least 1.

    Raises:
        ValueError: as `resolve_span`.
    """
    folder, newest = resolve_span(pattern, span)
    found = _spans(pattern)
    older = sorted((number for number in found if number < newest), reverse=True)[: window - 1]
    return [(folder, newest), *((_the_one(pattern, number, found[number]), number) for number in older)]


def _the_one(pattern: str, span: int, folders: list[Place]) -> Place:
    if len(folders) > 1:
        both = " and ".join(map(str, folders))
        raise ValueError(f"span {span} of {pattern} is ambiguous: {both}; remove one")
    return folders[0]


def _spans(pattern: str) -> dict[int, list[Place]]:
    """Folders by span number."""
    address = is_address(pattern)
    parts = tuple(pattern.rstrip("/").split("/")) if address else Path(pattern).parts
    at = [index for index, part in enumerate(parts) if _SPAN in part]
    if len(at) != 1 or parts[at[0]].count(_SPAN) != 1:
        raise ValueError(f"{pattern} must hold {_SPAN} once")
    above: Place = place("/".join(parts[: at[0]])) if address else Path(*parts[: at[0]])
    named, below = parts[at[0]], parts[at[0] + 1 :]
    before, after = (re.escape(text) for text in named.split(_SPAN))
    shape = re.compile(f"{before}([0-9]+){after}")
    found: dict[int, list[Place]] = {}
    children: list[Place] = sorted(above.iterdir(), key=str) if above.is_dir() else []
    for child in children:
        match = shape.fullmatch(child.name)
        inside = own(child.joinpath(*below))
        if match and inside.is_dir():
            found.setdefault(int(match[1]), []).append(inside)
    return found
