"""Index files, row by row: delimited text and lists, read so that one bad row costs one row.

Text is UTF-8 (with or without a byte order mark); other bytes are carried through as surrogate escapes,
because file names on Linux are bytes and an index may name a file by them. Each line is parsed by itself, so
that a stray quote cannot swallow the rest of the file. No data set here has line breaks inside a field.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hares.buckets import Place
from hares.files import index_problem, what_is_there
from hares.machine import is_of_the_machine
from hares.task import CorpusIndexError, Reason, Rejected, Split

_LONGEST_LINE = 1 << 20


@dataclass(frozen=True)
class Table:
    """One index file of a task: where it is, how it is written and which columns are needed.

    Attributes:
        task: name that opens every message.
        path: below the data set's root.
        columns: columns that must be there, by name.
        remedy: last sentence of a message when the file is absent or wrong.
        delimiter: between fields.
        header: False where the file has no header line: then `columns` are its columns in order.
    """

    task: str
    path: str
    columns: tuple[str, ...]
    remedy: str
    delimiter: str = ","
    header: bool = True


@dataclass(frozen=True)
class Line:
    """One line: its number (from 1), its text, and whether the file ends in it, without a line break.

    A whole file may end so, and a file that was cut off mostly does: what such a line says is not trusted where
    anything about it is odd.
    """

    line: int
    text: str
    cut: bool


@dataclass(frozen=True)
class Row:
    """One row: its line number, its fields by column name, and whether the file ends in it (`Line`)."""

    line: int
    fields: dict[str, str]
    cut: bool = False


def lines(root: Place, table: Table) -> Iterator[Line]:
    """Every line that is neither blank nor, without a header, a `#` comment.

    Raises:
        CorpusIndexError: the file is absent, or is not UTF-8 text.
        OSError: the machine fails to open or read it.
    """
    if problem := index_problem(root, table.path):
        raise CorpusIndexError(f"{table.task}: {table.path} {problem}. {table.remedy}")
    try:
        file = (root / table.path).open(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        if is_of_the_machine(error):
            raise
        there = f"; {what_is_there(root)}" if isinstance(error, FileNotFoundError) else ""
        raise CorpusIndexError(
            f"{table.task}: {table.path} cannot be opened ({error.strerror}{there}). {table.remedy}"
        ) from error
    with file:
        number = 0
        while line := file.readline(_LONGEST_LINE):
            number += 1
            if "\0" in line or len(line) == _LONGEST_LINE:
                raise CorpusIndexError(
                    f"{table.task}: {table.path} is not UTF-8 text (line {number}); if it is UTF-16, save it "
                    f"as UTF-8. {table.remedy}"
                )
            text = line.rstrip("\r\n")
            if text.strip() and (table.header or not text.startswith("#")):
                yield Line(number, text, cut=not line.endswith(("\n", "\r")))


def exists(root: Place, table: Table) -> bool:
    """Whether an optional index file is there."""
    return (root / table.path).exists()


def all_or_none(root: Place, task: str, names: Sequence[str], remedy: str) -> bool:
    """Whether index files that belong together are there.

    Raises:
        CorpusIndexError: some are there and others are not: the split that they make would silently be another.
    """
    there = [name for name in names if (root / name).exists()]
    if there and len(there) < len(names):
        missing = ", ".join(name for name in names if name not in there)
        raise CorpusIndexError(
            f"{task}: {', '.join(there)} is there and {missing} is not; add it, or remove the others. {remedy}"
        )
    return bool(there)


def check(root: Place, table: Table) -> tuple[str, ...]:
    """The columns of the file, in its order.

    Raises:
        CorpusIndexError: the file is absent, not UTF-8 text, or lacks a column.
    """
    if not table.header:
        # The first line is read all the same: it shows whether the file is there and is text.
        if next(lines(root, table), None) is None:
            raise _lists_nothing(table)
        return table.columns
    found: tuple[str, ...] = ()
    for line in lines(root, table):
        try:
            found = tuple(_fields(line.text, table))
        except csv.Error as error:
            raise CorpusIndexError(
                f"{table.task}: the first line of {table.path} cannot be read ({error}). {table.remedy}"
            ) from error
        break
    missing = [column for column in table.columns if column not in found]
    if missing:
        shown = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
        named = ", ".join(repr(column) for column in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise CorpusIndexError(
            f"{table.task}: {table.path} has no column {named}; found {shown or 'nothing'}. {table.remedy}"
        )
    return found


def rows(root: Place, table: Table) -> Iterator[Row | Rejected]:
    """The rows in order; one with too few or too many fields comes as `Rejected`.

    Raises:
        CorpusIndexError: as `check` does; the file has no row, or ends in the middle of one.
    """
    columns = check(root, table)
    found = lines(root, table)
    if table.header:
        next(found, None)
    line = None
    for line in found:
        try:
            fields = _fields(line.text, table, strict=line.cut)
        except csv.Error as error:
            yield bad_row(table, line, str(error))
            continue
        if len(fields) != len(columns):
            yield bad_row(table, line, f"{len(fields)} fields instead of {len(columns)}")
            continue
        yield Row(line.line, dict(zip(columns, fields, strict=True)), line.cut)
    if line is None:
        raise _lists_nothing(table)


def bad_row(table: Table, row: Row | Line, problem: str) -> Rejected:
    """A row that cannot be used, under the name of the file and the line.

    Raises:
        CorpusIndexError: it is the end of a file without a line break, which is a file that was cut off.
    """
    detail = f"{table.path} line {row.line}: {problem}"
    if row.cut:
        raise CorpusIndexError(f"{table.task}: the file ends in the middle of {detail}. {table.remedy}")
    return Rejected(table.path, Reason.BAD_ROW, detail)


def refused(table: Table, row: Row | Line, problem: str) -> CorpusIndexError:
    """What to raise for a row of a list that decides the split: without it clips would land in the wrong part."""
    return CorpusIndexError(f"{table.task}: {table.path} line {row.line}: {problem}. {table.remedy}")


def _lists_nothing(table: Table) -> CorpusIndexError:
    return CorpusIndexError(f"{table.task}: {table.path} has no rows. {table.remedy}")


def unknown_label(path: str, label: str, expected: str, split: Split | None = None) -> Rejected:
    """A clip whose label the task does not define."""
    return Rejected(path, Reason.UNKNOWN_LABEL, f"label {label!r} is not one of {expected}", split)


def _fields(text: str, table: Table, strict: bool = False) -> list[str]:
    if table.delimiter == " ":
        text = text.strip()  # else a blank at the end is a field
    return next(csv.reader([text], delimiter=table.delimiter, skipinitialspace=True, strict=strict))
