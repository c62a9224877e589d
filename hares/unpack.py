"""What is packed in a data set's folder, as files: the form that the readers read.

| archive | becomes |
|---|---|
| zip, tar, tgz, tar.gz, tar.bz2, tar.xz, WebDataset's tar shards | its files; archives in it are unpacked too |
| Parquet with a column of sound, as Hugging Face writes it (`{bytes, path}`) | a file a row, as it was packed |
| NSynth's TFRecords | `nsynth-<split>/audio/<note>.wav` and `nsynth-<split>/examples.json` |

Where it goes: an archive of the whole data set, whose names are those that the task's layout begins with (perhaps in
one folder, as `ESC-50-master/`), into the data set's folder. Any other beside itself: into the folder that all its
files are in, if that has the archive's name, else into a folder of the archive's name (`ff1010bird_wav.zip` holds
`wav/` and becomes `ff1010bird_wav/wav/`). An archive of archives puts them beside itself. That is where the readers
look.

A file that is there with the same length is not written again, so a broken run goes on where it was; one of another
length is the user's, and stays. The archives stay, each with an empty file `<name>.unpacked`; they may be removed.

Members that lead out of that folder (an absolute path, `..`, a link) are refused by name: an archive may be anyone's.
"""

from __future__ import annotations

import os
import re
import string
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hares.archives import Archive, Notes, Parquet, Tar, Zip
from hares.atomic_files import UNFINISHED, atomically, write_atomically
from hares.files import UNPACKED, is_archive, shown, walk_files
from hares.task import Task

_TARS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_HEX_DIGITS = "{0-9,a-f}"  # as a layout names MagnaTagATune's folders


@dataclass(frozen=True)
class Unpacked:
    """What became of one archive.

    Attributes:
        archive: its path below the root.
        folder: where its files are, below the root.
        files: files in it that are there now.
        problem: why some or all of it is not unpacked, "" for nothing.
    """

    archive: str
    folder: str
    files: int
    problem: str = ""


def first_names(task: Task) -> frozenset[str]:
    """The files and folders that a task's layout begins with, without those that stand for many."""
    pieces = (piece for line in task.layout for piece in re.sub(r"\(.*?\)", "", line).split(", "))
    names = {piece.partition("/")[0].strip() for piece in pieces}
    plain = frozenset(name for name in names if not set(name) & set("{}* :"))
    return plain | frozenset(string.hexdigits.lower() if _HEX_DIGITS in names else ())


def unpack(
    root: Path, first: Collection[str] = (), on_file: Callable[[str], None] = lambda _: None
) -> Iterator[Unpacked]:
    """Unpacks all archives below a data set's folder, those that are in archives too.

    Args:
        root: the data set's own folder.
        first: names that a whole data set begins with (`first_names`).
        on_file: called with the archive's path after each file, for a progress bar.

    Raises:
        OSError: the machine fails: no room, or a folder that may not be written.
    """
    done: set[str] = set()
    while fresh := [path for path, entry in walk_files(root) if _is_fresh(path, entry, done)]:
        for path in fresh:
            done.add(path)
            found = _unpack_one(root, path, first, on_file)
            mark = root / f"{path}{UNPACKED}"
            if not found.problem and not mark.exists():  # a second one would be a change of the data set
                write_atomically(mark, b"")
            yield found


def _is_fresh(path: str, entry: os.DirEntry[str], done: set[str]) -> bool:
    unfinished = path.endswith((UNFINISHED, f"{UNFINISHED}.from"))  # still being fetched (`hares.fetch`)
    return path not in done and not unfinished and is_archive(path) and entry.is_file(follow_symlinks=False)


def _unpack_one(root: Path, path: str, first: Collection[str], on_file: Callable[[str], None]) -> Unpacked:
    kinds: dict[tuple[str, ...], Callable[[Path], Archive]] = {
        (".zip",): Zip,
        _TARS: Tar,
        (".parquet",): Parquet,
        (".tfrecord",): Notes,
    }
    open_ = next((of for suffixes, of in kinds.items() if path.lower().endswith(suffixes)), None)
    if open_ is None:
        return Unpacked(path, "", 0, "this kind of archive is not known here; unpack it by its own program")
    files, refused = 0, ""
    folder = os.path.dirname(path)
    try:
        with open_(root / path) as archive:
            folder, prefix = _place_of(path, archive.names(), first)
            home = os.path.realpath(root / folder)
            for packed, size, copy in archive.members():
                name = packed.removeprefix(prefix)
                why = _why_not(home, name, size) if copy else "is a link"
                if copy and not why:
                    _write(Path(home, name), size, copy)
                    files += 1
                    on_file(path)
                elif not refused:
                    refused = f"{shown(name) or 'a file without a name'} {why}; it is not unpacked"
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, ValueError) as error:
        return Unpacked(
            path, folder, files, f"the archive is broken, or no archive ({error}); fetch it again"
        )
    return Unpacked(path, folder, files, refused)


def _place_of(path: str, names: list[str], first: Collection[str]) -> tuple[str, str]:
    """Where an archive's files go, below the root, and the folder around them that is left off."""
    above, _, name = path.rpartition("/")
    tops = {member.partition("/")[0] for member in names}
    alone = next(iter(tops)) if len(tops) == 1 and all("/" in member for member in names) else ""
    if not above and tops & set(first):
        return "", ""
    if not above and alone and {member.split("/")[1] for member in names} & set(first):
        return "", f"{alone}/"
    if (alone and name.startswith(alone)) or (names and all(map(is_archive, names))):
        return above, ""
    suffix = next((s for s in (*_TARS, ".zip", ".parquet", ".tfrecord") if name.lower().endswith(s)), "")
    own = name[: len(name) - len(suffix)]
    return (f"{above}/{own}" if above else own), ""


def _why_not(home: str, name: str, size: int) -> str:
    """Why a file must not be written, "" where it may."""
    parts = name.split("/")
    place = os.path.join(home, name)
    if not name or name.startswith("/") or "\\" in name or ".." in parts or "\0" in name:
        return "leads out of the archive's folder"
    if not os.path.realpath(place).startswith(home + os.sep):
        return "leads out of the archive's folder"
    if os.path.lexists(place) and not (os.path.isfile(place) and os.path.getsize(place) == size):
        return "is there already with another content"
    return ""


def _write(place: Path, size: int, copy: Callable[[IO[bytes]], None]) -> None:
    if place.is_file() and place.stat().st_size == size:
        return
    with atomically(place) as part, open(part, "wb") as file:
        copy(file)
