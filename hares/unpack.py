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

import json
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from hares.atomic_files import atomically, write_atomically
from hares.files import UNPACKED, is_archive, shown, walk_files
from hares.reading import is_audio
from hares.task import Task

_TARS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
_MAGIC = {b"fLaC": ".flac", b"RIFF": ".wav", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3"}
_NAMES = (
    "video_id",
    "id",
    "__key__",
    "key",
    "file_name",
    "filename",
    "file",
    "path",
)  # columns that name a row
_NOTE_FIELDS = ("pitch", "velocity", "instrument", "instrument_family", "instrument_source", "sample_rate")
_NOTE_NAMES = ("note_str", "instrument_str", "instrument_family_str", "instrument_source_str")


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
    return frozenset(name for name in names if not set(name) & set("{}* :"))


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
    return path not in done and is_archive(path) and entry.is_file(follow_symlinks=False)


def _unpack_one(root: Path, path: str, first: Collection[str], on_file: Callable[[str], None]) -> Unpacked:
    kinds: dict[tuple[str, ...], Callable[[Path], _Archive]] = {
        (".zip",): _Zip,
        _TARS: _Tar,
        (".parquet",): _Parquet,
        (".tfrecord",): _Notes,
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


Members = Iterator[tuple[str, int, Callable[[IO[bytes]], None] | None]]
"""(name, bytes, what writes the file) of each file in an archive; nothing writes a link."""


class _Archive:
    """An open archive: the names of its files, and the files."""

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open, unless a kind of archive says so."""

    def names(self) -> list[str]:
        """The files' names; of kinds whose files have no folders, none."""
        return []

    def members(self) -> Members:
        """The files in the archive's order."""
        raise NotImplementedError


class _Zip(_Archive):
    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self._files = [
            info
            for info in self._zip.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        ]

    def close(self) -> None:
        self._zip.close()

    def names(self) -> list[str]:
        return [info.filename for info in self._files]

    def members(self) -> Members:
        for info in self._files:
            if stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, 0, None
                continue

            def copy(file: IO[bytes], info: zipfile.ZipInfo = info) -> None:
                with self._zip.open(info) as source:
                    shutil.copyfileobj(source, file, 1 << 20)

            yield info.filename, info.file_size, copy


class _Tar(_Archive):
    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar = tarfile.open(path)  # noqa: SIM115

    def close(self) -> None:
        self._tar.close()

    def names(self) -> list[str]:
        return [_plain(info.name) for info in self._tar.getmembers() if not info.isdir()]

    def members(self) -> Members:
        for info in self._tar.getmembers():
            if info.isdir():
                continue
            if not info.isfile():
                yield _plain(info.name), 0, None
                continue

            def copy(file: IO[bytes], info: tarfile.TarInfo = info) -> None:
                source = self._tar.extractfile(info)
                assert source is not None
                shutil.copyfileobj(source, file, 1 << 20)

            yield _plain(info.name), info.size, copy


def _plain(name: str) -> str:
    """A member's name without the `./` that `tar -C folder .` puts before it."""
    return name.removeprefix("./")


class _Parquet(_Archive):
    """Rows with a sound: the column `audio`, or the first that is a struct of `bytes`."""

    def __init__(self, path: Path) -> None:
        # The hotfix first: before 14.0.1 Arrow runs code that a column's type holds, unless it is told not to.
        try:
            import pyarrow_hotfix  # noqa: F401

            safe = True
        except ImportError:
            safe = False
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise OSError("Parquet needs pyarrow: pip install pyarrow") from error
        if not safe and int(pyarrow.__version__.partition(".")[0]) < 15:
            raise OSError(
                f"pyarrow {pyarrow.__version__} runs code that a Parquet file may hold: pip install pyarrow-hotfix"
            )
        self._file = pyarrow.parquet.ParquetFile(path)
        columns = {field.name: field.type for field in self._file.schema_arrow}
        sounds = [name for name, type_ in columns.items() if "bytes" in str(type_) and "struct" in str(type_)]
        if not sounds:
            raise ValueError(f"no column holds sound; found {', '.join(map(shown, columns))}")
        self._sound = "audio" if "audio" in sounds else sounds[0]
        self._names = [name for name in _NAMES if str(columns.get(name)) in ("string", "large_string")]

    def close(self) -> None:
        self._file.close()

    def members(self) -> Members:
        for batch in self._file.iter_batches(batch_size=64, columns=[self._sound, *self._names]):
            for row in batch.to_pylist():
                sound = row[self._sound] or {}
                content = sound.get("bytes") or b""
                yield self._name(row, sound, content), len(content), partial(_put, content)

    def _name(self, row: dict[str, Any], sound: dict[str, Any], content: bytes) -> str:
        """The row's own name, by which indexes know it, with the suffix that it was packed with or has by content."""
        packed = os.path.basename(str(sound.get("path") or ""))
        stem = next((str(row[name]) for name in self._names if row[name]), os.path.splitext(packed)[0])
        stem = os.path.splitext(stem)[0] if is_audio(stem) else stem
        suffix = next((s for magic, s in _MAGIC.items() if content.startswith(magic)), "")
        suffix = suffix or (os.path.splitext(packed)[1] if is_audio(packed) else "")
        return f"{os.path.basename(stem)}{suffix}" if content and stem else ""


def _put(content: bytes, file: IO[bytes]) -> None:
    file.write(content)


class _Notes(_Archive):
    """NSynth's TFRecords: an Example a note, with 64,000 floats and the fields of examples.json."""

    def __init__(self, path: Path) -> None:
        try:
            import tensorflow as tf
        except ImportError as error:
            raise OSError(
                "TFRecords need TensorFlow: pip install tensorflow, or fetch NSynth's json/wav archives"
            ) from error
        self._tf = tf
        self._path = path

    def members(self) -> Members:
        notes: dict[str, dict[str, Any]] = {}
        for record in self._records():
            features = self._tf.train.Example.FromString(record).features.feature
            if "note_str" not in features or "audio" not in features:
                raise ValueError("its Examples have no note_str and audio: these are not NSynth's")
            note = _name_of(features, "note_str")
            numbers = {name: features[name].int64_list.value for name in _NOTE_FIELDS if name in features}
            notes[note] = {
                **{name: int(value[0]) for name, value in numbers.items() if value},
                **{name: _name_of(features, name) for name in _NOTE_NAMES if name in features},
            }
            samples = list(features["audio"].float_list.value)
            yield f"audio/{note}.wav", 44 + 2 * len(samples), partial(_put_wav, samples)
        index = json.dumps(notes, indent=1).encode()
        yield "examples.json", len(index), partial(_put, index)

    def _records(self) -> Iterator[bytes]:
        try:
            for record in self._tf.data.TFRecordDataset(str(self._path)):
                yield record.numpy()
        except self._tf.errors.DataLossError as error:
            raise ValueError(error.message) from error


def _name_of(features: Any, name: str) -> str:
    values = features[name].bytes_list.value
    return values[0].decode("utf-8", "backslashreplace") if values else ""


def _put_wav(samples: list[float], file: IO[bytes]) -> None:
    import numpy as np
    import soundfile

    pcm = np.clip(np.rint(np.asarray(samples, np.float64) * 32_768), -32_768, 32_767).astype(np.int16)
    soundfile.write(file, pcm, 16_000, subtype="PCM_16", format="WAV")
