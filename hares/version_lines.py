"""The lines of versions that the pipeline runs with: each a lock file and the Pythons that it is for.

`version_lines.tsv` is the only place that names them, the newest first; the Makefile, setup.py and scripts read it too.
Its columns are a line's TensorFlow, its lock, its Pythons and the glibc that its compiled parts need. A Python is of
one line, so that what is installed says which line it is. docs/versions.md says why there are two.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
DATA_FILES = ("hares/version_lines.tsv",)


@dataclass(frozen=True)
class VersionLine:
    """A line of versions.

    Attributes:
        name: its TensorFlow's version, as "2.15".
        lock: name of its lock file.
        pythons: Python's versions, as "3.10", the preferred one first.
        glibc: the oldest that its compiled parts load with.
    """

    name: str
    lock: str
    pythons: tuple[str, ...]
    glibc: str

    def loads_here(self) -> bool:
        """Whether this machine's glibc is new enough; False where it has another C library."""
        name, here = platform.libc_ver()
        return name == "glibc" and _numbers(here) >= _numbers(self.glibc)


def version_lines() -> tuple[VersionLine, ...]:
    """All lines, the newest first."""
    rows = (row.split("\t") for row in (PROJECT / DATA_FILES[0]).read_text(encoding="utf-8").splitlines())
    return tuple(
        VersionLine(name, lock, tuple(pythons.split()), glibc) for name, lock, pythons, glibc in rows
    )


def this_line(python: tuple[int, int] = sys.version_info[:2]) -> VersionLine | None:
    """The line of a Python's version; None if no line is for it."""
    version = ".".join(map(str, python))
    return next((line for line in version_lines() if version in line.pythons), None)


def this_lock() -> str:
    """Name of the lock file of this Python's line.

    Raises:
        LookupError: no line is for this Python.
    """
    line = this_line()
    if line is None:
        known = ", ".join(version for one in version_lines() for version in one.pythons)
        raise LookupError(f"no lock file is for Python {sys.version.split()[0]}; there is one for {known}")
    return line.lock


def find_lock() -> Path:
    """This line's lock file: beside the code in a checkout, below `share` where a wheel is installed.

    Raises:
        FileNotFoundError: it is in neither place.
        LookupError: no line is for this Python.
    """
    name = this_lock()
    places = (PROJECT / name, Path(sys.prefix) / "share" / "hares" / name)
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"no {name} at {places[0]} or {places[1]}: work in a checkout, or install a wheel of one"
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
