"""The files that are in an archive: of zip, tar, Parquet with a column of sound, and NSynth's TFRecords."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any

from hares.files import shown
from hares.machine import MachineError
from hares.reading import is_audio

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

Members = Iterator[tuple[str, int, Callable[[IO[bytes]], None] | None]]
"""(name, bytes, what writes the file) of each file in an archive; nothing writes a link."""


class Archive:
    """An open archive: the names of its files, and the files."""

    def __enter__(self) -> Archive:
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


class Zip(Archive):
    """As `zip` makes it."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)
        self._files = [
            info
            for info in self._zip.infolist()
            if not info.is_dir() and not info.filename.startswith("__MACOSX/")
        ]

    def close(self) -> None:
        """As `Archive`'s."""
        self._zip.close()

    def names(self) -> list[str]:
        """As `Archive`'s."""
        return [info.filename for info in self._files]

    def members(self) -> Members:
        """As `Archive`'s."""
        for info in self._files:
            if stat.S_ISLNK(info.external_attr >> 16):
                yield info.filename, 0, None
                continue

            def copy(file: IO[bytes], info: zipfile.ZipInfo = info) -> None:
                with self._zip.open(info) as source:
                    shutil.copyfileobj(source, file, 1 << 20)

            yield info.filename, info.file_size, copy


class Tar(Archive):
    """Packed or not, with its names known before the first file is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tar = tarfile.open(path)  # noqa: SIM115

    def close(self) -> None:
        """As `Archive`'s."""
        self._tar.close()

    def names(self) -> list[str]:
        """As `Archive`'s."""
        return [_plain(info.name) for info in self._tar.getmembers() if not info.isdir()]

    def members(self) -> Members:
        """As `Archive`'s."""
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


class StreamedTar(Archive):
    """A tar that is read from its beginning to its end, once: a file is written before the next is asked for."""

    def __init__(self, file: IO[bytes]) -> None:
        self._tar = tarfile.open(fileobj=file, mode="r|*")  # noqa: SIM115

    def close(self) -> None:
        """As `Archive`'s."""
        self._tar.close()

    def members(self) -> Members:
        """As `Archive`'s."""
        for info in self._tar:
            if not info.isdir():
                yield _plain(info.name), info.size, partial(self._copy, info) if info.isfile() else None

    def _copy(self, info: tarfile.TarInfo, file: IO[bytes]) -> None:
        source = self._tar.extractfile(info)
        assert source is not None
        shutil.copyfileobj(source, file, 1 << 20)


def _plain(name: str) -> str:
    """A member's name without the `./` that `tar -C folder .` puts before it."""
    return name.removeprefix("./")


class Parquet(Archive):
    """Rows with a sound: the column `audio`, or the first that is a struct of `bytes`."""

    def __init__(self, path: Path | IO[bytes]) -> None:
        # The hotfix first: before 14.0.1 Arrow runs code that a column's type holds, unless it is told not to.
        try:
            import pyarrow_hotfix  # noqa: F401

            safe = True
        except ImportError:
            safe = False
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise MachineError(0, "Parquet needs pyarrow: pip install pyarrow") from error
        if not safe and int(pyarrow.__version__.partition(".")[0]) < 15:
            raise MachineError(
                0,
                f"pyarrow {pyarrow.__version__} runs code that a Parquet file may hold: pip install pyarrow-hotfix",
            )
        self._file = pyarrow.parquet.ParquetFile(
            path, buffer_size=1 << 20
        )  # else a group of rows is in memory
        columns = {field.name: field.type for field in self._file.schema_arrow}
        sounds = [name for name, type_ in columns.items() if "bytes" in str(type_) and "struct" in str(type_)]
        if not sounds:
            raise ValueError(f"no column holds sound; found {', '.join(map(shown, columns))}")
        self._sound = "audio" if "audio" in sounds else sounds[0]
        self._names = [name for name in _NAMES if str(columns.get(name)) in ("string", "large_string")]

    def close(self) -> None:
        """As `Archive`'s."""
        self._file.close()

    def members(self) -> Members:
        """As `Archive`'s."""
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


class Notes(Archive):
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
        """As `Archive`'s."""
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
