"""Recordings in archives, read where they lie: WebDataset's tar shards, and Parquet with a column of sound.

A million small objects in a bucket cost more requests than bytes, so collections for pretraining are packed: AudioSet
on Hugging Face is Parquet, others are tar files of a thousand clips. Below a folder to pretrain on, each such file is
read once, from its beginning to its end, and its recordings become clips of the split "train" without labels, as files
would: `<archive>/<member>` is a clip's path and id. All clips of an archive are in one shard of records, so that no
other worker reads it.

An archive that was unpacked beside itself is not read (`hares.reading.is_unpacked`). Of what else is in an archive
(texts, JSON) nothing is read; links and names that come twice are rejected.
"""

from __future__ import annotations

import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hares.archives import Parquet, StreamedTar
from hares.buckets import Place
from hares.buckets.stream import opened
from hares.decoding import AudioError, Limits
from hares.files import NameSet, clip_id_of
from hares.machine import MachineError, is_of_the_machine, machine_error
from hares.reading import is_audio
from hares.task import Clip, Reason

_BATCH = 64  # recordings on the disk at once


def clips_of(root: Place, archive: Clip, limits: Limits) -> Iterator[list[tuple[Clip, Path | AudioError]]]:
    """The recordings of an archive in its order, in batches; a batch's files are there until the next is asked for.

    Args:
        root: the folder that the archive is below.
        archive: as `hares.folder.scan` lists it.
        limits: a recording of more bytes than a decoder gets memory is rejected unread.

    Yields:
        A clip and its file, or why there is none. What ends the reading is said of the archive, as the last.

    Raises:
        BucketError: the bucket's service fails.
        MachineError: the machine does not let it be read.
    """
    with tempfile.TemporaryDirectory(prefix="hares-packed-") as folder:
        batch: list[tuple[Clip, Path | AudioError]] = []
        for clip, found in _recordings(root, archive, limits, Path(folder)):
            batch.append((clip, found))
            if len(batch) == _BATCH:
                yield batch
                for _, file in batch:
                    if isinstance(file, Path):
                        file.unlink()
                batch = []
        if batch:
            yield batch


def _recordings(
    root: Place, archive: Clip, limits: Limits, folder: Path
) -> Iterator[tuple[Clip, Path | AudioError]]:
    count = 0
    try:
        for name, found in _members(root, archive, limits, folder):
            count += 1
            path = f"{archive.path}/{name}"
            yield replace(archive, clip_id=clip_id_of(path), path=path), found
    except (tarfile.TarError, EOFError, zlib.error, ValueError, OSError) as error:
        # Arrow and gzip raise OSErrors without a number for bytes that make no sense.
        if isinstance(error, OSError) and (error.errno is not None or isinstance(error, MachineError)):
            if is_of_the_machine(error):
                raise machine_error(error, f"{root / archive.path} cannot be read") from error
            yield archive, AudioError(Reason.ABSENT, f"{error.strerror} (after {count} recordings)")
            return
        detail = f"the archive breaks off, or is none, after {count} recordings ({error}); copy it again"
        yield archive, AudioError(Reason.TRUNCATED, detail)
    else:
        if not count:
            yield archive, AudioError(Reason.UNDECODABLE, "there is no recording in the archive")


def _members(
    root: Place, archive: Clip, limits: Limits, folder: Path
) -> Iterator[tuple[str, Path | AudioError]]:
    """(name, file) of each recording, or why it is not read."""
    seen, rows = NameSet(), archive.path.lower().endswith(".parquet")
    with opened(root / archive.path) as file, (Parquet if rows else StreamedTar)(file) as members:
        for number, (given, size, copy) in enumerate(members.members()):
            name = given or f"row-{number:08d}"
            if not rows and not is_audio(name):
                continue
            why = _why_not(name, size, copy is None, limits)
            if why is None and not seen.add(name):
                why = AudioError(Reason.BAD_ROW, "the archive holds this name more than once")
            if why is not None:
                yield name, why
                continue
            assert copy is not None
            suffix = os.path.splitext(name)[1] if is_audio(name) else ""
            to = folder / f"{number}{suffix}"
            with open(to, "xb") as written:
                copy(written)
            yield name, to


def _why_not(name: str, size: int, is_link: bool, limits: Limits) -> AudioError | None:
    if is_link:
        return AudioError(Reason.OUTSIDE, "a link or a device in an archive is not followed")
    if any(part.startswith(".") for part in name.split("/")):
        return AudioError(Reason.UNLISTED, "hidden, or leads out of the archive: it is not read")
    if size > limits.memory_bytes:
        return AudioError(Reason.TOO_LARGE, f"the recording has {size} bytes; cut it, or remove it")
    return None
