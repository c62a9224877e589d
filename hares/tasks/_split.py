"""Splits that we have to make ourselves, or that the user brings in a file.

A split of ours depends on the names of the groups alone (a 64-bit hash of each), so that it is the same on
every machine and does not move when clips are added. Clips of one group (speaker, recording, place) stay
together.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from hares.buckets import Place
from hares.files import name_hash
from hares.task import Clip, CorpusIndexError, Reason, Rejected, Split, Task, TaskIndex
from hares.tasks import _rows
from hares.tasks._places import parts_of

TEST_SHARE = 0.2
USER_SPLIT = "hares_split.csv"
AUTHORS_SPLIT = "authors_split.csv"
AUTHORS_HOME = (
    "github.com/deepmind/slowfast_nfnets"  # its README links the folder of the paper's reference [7]
)


def by_hash(group: str) -> Split:
    """Every fifth group, by its hash, is a test group."""
    return "test" if name_hash(group) < TEST_SHARE * 2**64 else "train"


def cover_classes(splits: dict[str, Split], classes: Iterable[tuple[str, int]]) -> int:
    """Moves as few groups as it takes for every class of two or more groups to be in train and in test.

    Args:
        splits: group to split; changed in place.
        classes: (group, class) pairs, each group as often as it has classes; repeats do no harm.

    Returns:
        Number of groups moved.
    """
    members: dict[int, set[str]] = {}
    classes_of: dict[str, set[int]] = {}
    for group, label in classes:
        members.setdefault(label, set()).add(group)
        classes_of.setdefault(group, set()).add(label)
    moved = 0
    for label in sorted(members):
        groups = sorted(members[label], key=lambda group: (name_hash(group), group))
        if len(groups) < 2:
            continue
        for wanted in ("test", "train"):
            if any(splits[group] == wanted for group in groups):
                continue
            # Never this class's only group of the other part; best, nor any other class's.
            able = [
                g for g in groups if splits[g] == "validation" or not _is_last(g, splits, {label}, members)
            ]
            free = [g for g in able if not _is_last(g, splits, classes_of[g], members)]
            splits[(free or able)[0]] = wanted
            moved += 1
    return moved


def _is_last(group: str, splits: dict[str, Split], labels: set[int], members: dict[int, set[str]]) -> bool:
    part = splits[group]
    return any(all(splits[g] != part for g in members[label] if g != group) for label in labels)


class GivenSplit:
    """A split that a list gives, clip by clip.

    A clip is found by its path and, because lists are written on other machines and for other layouts, by the name
    of its file alone, where only one row has that name.
    """

    def __init__(self) -> None:
        self._splits: dict[str, Split] = {}
        self._paths: dict[str, str | None] = {}  # by the stem of the file; None where several rows have it
        self._rows: dict[str, str] = {}
        self._used: set[str] = set()

    def add(self, table: _rows.Table, row: _rows.Row | _rows.Line, path: str, split: Split) -> None:
        """A row of the list.

        Raises:
            CorpusIndexError: the row names nothing, or a clip that another row puts into another split.
        """
        key = "/".join(parts_of(path))
        if not key:
            raise _rows.refused(table, row, "the path is empty")
        if self._splits.setdefault(key, split) != split:
            raise _rows.refused(table, row, f"{key} is in {self._splits[key]} and in {split}")
        self._rows.setdefault(key, f"{table.path} line {row.line}")
        stem = _stem(key)
        self._paths[stem] = key if self._paths.get(stem, key) == key else None

    def of(self, path: str) -> Split | None:
        """The split of a clip; None where no row names it."""
        key: str | None = path if path in self._splits else self._paths.get(_stem(path))
        if key is None:
            return None
        self._used.add(key)
        return self._splits[key]

    def unused(self) -> Iterator[Rejected]:
        """The rows that name no clip of those that `of` was asked for."""
        for key, split in self._splits.items():
            if key not in self._used:
                detail = f"{self._rows[key]} names it, and no other index of the data set does"
                yield Rejected(key, Reason.ABSENT, detail, split)


def _stem(path: str) -> str:
    return os.path.splitext(path.rpartition("/")[2])[0].casefold()


def user_split(task: str, root: Place) -> GivenSplit | None:
    """The split in the user's `authors_split.csv` or `hares_split.csv` (columns path, split).

    Returns:
        None where there is no such file.

    Raises:
        CorpusIndexError: both are there; the file lacks a column, a row says neither train, validation nor test, or
            no row says train, or test.
    """
    name = _given_name(task, root)
    if not name:
        return None
    table = _rows.Table(task, name, ("path", "split"), "Write one row a clip: path,split.")
    given, said = GivenSplit(), set()
    for row in _rows.rows(root, table):
        if isinstance(row, Rejected):
            raise CorpusIndexError(f"{task}: {row.detail}. {table.remedy}")
        split = row.fields["split"].strip()
        if split not in ("train", "validation", "test"):
            raise _rows.refused(table, row, f"split {split!r} is not train, validation or test")
        said.add(split)
        given.add(table, row, row.fields["path"], split)  # type: ignore[arg-type]
    if missing := {"train", "test"} - said:
        raise CorpusIndexError(
            f"{task}: no row of {name} is of {' or '.join(sorted(missing))}. {table.remedy}"
        )
    return given


def _given_name(task: str, root: Place) -> str:
    there = [name for name in (AUTHORS_SPLIT, USER_SPLIT) if (root / name).exists()]
    if len(there) == 2:
        raise CorpusIndexError(
            f"{task}: {' and '.join(there)} are both there; remove the one that is not meant."
        )
    return there[0] if there else ""


def made_here(task: Task, root: Place, rule: str) -> TaskIndex:
    """The index of a task whose data set ships no split of the paper: the user's split file, or our `rule` in words.

    Nothing tells whether a file is the authors' split but its name, which is the user's word for it.

    Raises:
        CorpusIndexError: there are two split files.
    """
    name = _given_name(task.name, root)
    if name == AUTHORS_SPLIT:
        deviation = f"split from {name}, which the user names as the authors' own ({AUTHORS_HOME})"
    elif name:
        deviation = f"split from {name}: not comparable with the paper"
    else:
        deviation = (
            f"split made here ({rule}): not comparable with the paper; {AUTHORS_HOME} links the authors' own, which "
            f"is read as {AUTHORS_SPLIT}"
        )
    return TaskIndex(task.slots, split_is_official=name == AUTHORS_SPLIT, deviations=(deviation,))


def assign(clip: Clip, split: Split | None) -> Clip | Rejected:
    """The clip with its split; a clip that a split file leaves out is rejected."""
    if split is None:
        return Rejected(clip.path, Reason.UNLISTED, "no split list names this clip")
    return replace(clip, split=split)
