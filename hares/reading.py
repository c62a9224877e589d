"""Reading a data set: a task's reader, with every clip's file held against the disk.

`scan` is the one way from a folder to clips. A reader in `hares/tasks/` says what its index files list; here
each listed path must be inside the data set and on the disk, each clip must come once, and after the last
clip the audio files that no index names are reported. Nothing is dropped without a `Rejected` that says why.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hares.buckets import BucketPath, Listed, Place
from hares.decoding import FFMPEG_SUFFIXES, SOUNDFILE_SUFFIXES, AudioError, Limits, seconds
from hares.files import (
    UNPACKED,
    NameSet,
    clip_id_of,
    home_of,
    is_archive,
    leads_outside,
    shown,
    walk_files,
    what_is_there,
    why_outside,
)
from hares.machine import is_closed, is_of_the_machine, machine_error
from hares.task import Clip, CorpusIndexError, Reason, Rejected, load_task, load_task_module

AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES | FFMPEG_SUFFIXES

_SLACK = 1.0  # seconds by which a file may be longer than the clip that the index lists
_WHOLE = 3.0  # a file of so many lengths of a clip is the recording that it was cut from


def scan(task_name: str, root: Place) -> Iterator[Clip | Rejected]:
    """Every clip of a task's data set that can be opened, and every clip, row or file that cannot be used.

    All indexes are read to their ends before the first clip is given, so that an index that breaks off in its
    middle gives none. That costs a second reading of the indexes, and keeps no list of clips.

    Args:
        task_name: a module of `hares/tasks/`.
        root: the data set's own folder.

    Yields:
        Clips and rejections in the order of the index, then the audio files and archives that no index names, by
        path. Or, where an index or a folder cannot be used, one `Rejected` of reason INDEX and nothing else.

    Raises:
        ValueError: no task has this name.
        MachineError: the system does not let an index, a folder or a file be read.
    """
    load_task_module(task_name)
    try:
        _require_usable(task_name, root)
        yield from _listed(task_name, root)
    except CorpusIndexError as error:
        yield Rejected(clip_id_of(str(root)), Reason.INDEX, str(error))
    except OSError as error:
        if is_of_the_machine(error):
            raise machine_error(error, f"{task_name}: {error.filename} cannot be read") from error
        yield Rejected(clip_id_of(str(root)), Reason.INDEX, unreadable(task_name, error))


def unreadable(task_name: str, error: OSError) -> str:
    """A sentence for a file or folder of a data set that cannot be read or listed."""
    return f"{task_name}: {error.filename} cannot be read ({error.strerror}); check its permissions"


def _require_usable(task_name: str, root: Place) -> None:
    """Goes through everything that `scan` reads, and gives nothing.

    Raises:
        CorpusIndexError: an index cannot be used, or none of the recordings that it names is there.
        OSError: a folder cannot be listed.
    """
    module = load_task_module(task_name)
    module.index(root)
    listed, there, first = 0, False, ""
    for item in module.read(root):
        if isinstance(item, Clip):
            listed += 1
            first = first or item.path
            there = there or _is_file(root, item.path)
    home, found, links = home_of(root), "", ""
    for path, entry in walk_files(root):  # a folder that cannot be listed is found here
        if not there and is_audio(path):
            found = found or path
        elif not there and (why := why_outside(home, path, entry)):
            links = links or f"{shown(path)} is not read: {why}; "
    if listed and not there:
        layout = "; ".join(load_task(task_name).layout)
        instead = links + (f"the folder has, for example, {shown(found)}" if found else what_is_there(root))
        raise CorpusIndexError(
            f"{task_name}: none of the {listed} clips that the index lists is there. Looked for: {shown(first)} and "
            f"the like; {instead}. Arrange the folder as {layout}"
        )


def _listed(task_name: str, root: Place) -> Iterator[Clip | Rejected]:
    home = home_of(root)
    paths, clip_ids = NameSet(), NameSet()
    for item in load_task_module(task_name).read(root):
        paths.add(item.path)
        yield _checked(item, root, home, clip_ids) if isinstance(item, Clip) else item
    archives: dict[str, list[str]] = {}
    for path, entry in walk_files(root):
        if path in paths:
            continue
        if (is_audio(path) or entry.is_dir()) and (why := why_outside(home, path, entry)):
            yield Rejected(path, Reason.OUTSIDE, why)
        elif is_audio(path) and entry.is_file():
            yield Rejected(path, Reason.UNLISTED, "the file is in the folder and no index names it")
        elif is_archive(path) and entry.is_file() and not is_unpacked(root, path):
            archives.setdefault(os.path.dirname(path), []).append(entry.name)
    for folder, names in archives.items():
        many = f"{len(names)} archives are" if len(names) > 1 else "an archive is"
        detail = f"{many} not read: 'hares corpus unpack' makes files of what belongs to the data set"
        yield Rejected(f"{folder}/{names[0]}" if folder else names[0], Reason.UNLISTED, detail)


def is_unpacked(root: Place, archive: str) -> bool:
    """Whether a folder of the archive's name is beside it, or `hares corpus unpack`'s mark."""
    folder, _, name = archive.rpartition("/")
    if (root / f"{archive}{UNPACKED}").exists():
        return True
    return any((root / folder / name[:at]).is_dir() for at, letter in enumerate(name) if letter == "." and at)


def _checked(clip: Clip, root: Place, home: str, clip_ids: NameSet) -> Clip | Rejected:
    if leads_outside(home, clip.path):
        detail = (
            f"the path leads out of the data set's folder; move the file inside, or place {home} elsewhere"
        )
        return Rejected(clip.path, Reason.OUTSIDE, detail, clip.split)
    if not _is_file(root, clip.path):
        # Surrogate escapes: the row was not UTF-8, and the file may be there under its UTF-8 name.
        hint = (
            ""
            if clip_id_of(clip.path) == clip.path
            else "; the index row is not UTF-8, save the index as UTF-8"
        )
        detail = f"the index names the file, and it is not there{hint}"
        return Rejected(clip.path, Reason.ABSENT, detail, clip.split)
    if not clip_ids.add(clip.clip_id):
        return Rejected(clip.path, Reason.BAD_ROW, "the index names this clip more than once", clip.split)
    return clip


def _is_file(root: Place, below: str) -> bool:
    """As `hares.files.is_file`, which calls a file absent that the system does not let be looked at."""
    if isinstance(root, BucketPath):
        return (root / below).is_file()
    path = os.path.join(root, below)
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        if is_of_the_machine(error):
            raise machine_error(error, f"{path} cannot be read") from error
        return False
    except ValueError:  # a NUL, or half of a surrogate pair
        return False


def part_to_read(clip: Clip, path: Path, limits: Limits) -> tuple[float, float | None]:
    """Which part of its file a clip is: (start, duration) in seconds, as `hares.decoding.decode` takes them.

    A file is the clip, already cut out, or the whole recording that the clip is a part of. Which of the two is
    told by the length in its header. Where the file holds the clip's stretch and is many times as long, or the clip
    is its beginning, it is cut; a file that is neither is not used, because any part of it would be a guess. Of a
    clip that no index places in a recording, a file many times as long is not used.

    Raises:
        AudioError: reason WRONG_LENGTH, or what `hares.decoding.seconds` raises.
    """
    if clip.length is None or clip.duration is not None:
        return clip.start, clip.duration
    found = seconds(path, limits)
    most = clip.length + _SLACK if clip.offset is not None else _WHOLE * clip.length
    if found <= most:
        return clip.start, clip.duration
    holds_it = clip.offset is not None and found >= clip.offset + clip.length - _SLACK
    if clip.offset is not None and holds_it and (clip.offset == 0 or found >= _WHOLE * clip.length):
        return clip.offset, clip.length
    where = "" if clip.offset is None else f" from {clip.offset:g} s on"
    detail = f"the file has {found:.1f} s and the clip {clip.length:g} s{where}; put the clip alone there"
    raise AudioError(Reason.WRONG_LENGTH, detail)


def audio_files(root: Place) -> Iterator[str]:
    """Paths below `root` of all files with a suffix of a recording, sorted within each folder.

    Raises:
        OSError: a folder cannot be listed.
    """
    for path, entry in walk_files(root):
        if is_audio(path) and entry.is_file():
            yield path


def is_audio(path: str) -> bool:
    """Whether a file's suffix is that of a recording."""
    return os.path.splitext(path)[1].lower() in AUDIO_SUFFIXES


def source_fingerprint(root: Place) -> str:
    """SHA-256 (hex) over the path, size and modification time of every file of a data set.

    Of an object in a bucket its ETag or generation counts, and not its time. It changes when a file is added, removed,
    renamed, written or touched, and is found without opening any of them. A symbolic link counts by where it points. Of
    a folder that may not be listed it says just that, so that it changes once the folder may be.

    Raises:
        OSError: the machine fails.
    """
    digest = hashlib.sha256()
    try:
        for fact in _facts(root):
            digest.update(fact)
    except OSError as error:
        if is_of_the_machine(error) and not is_closed(error):
            raise
        place = os.path.relpath(error.filename, str(root))  # not where the data set lies
        digest.update(b"cannot be listed: " + os.fsencode(place))
    return digest.hexdigest()


def _facts(root: Place) -> Iterator[bytes]:
    for path, entry in walk_files(root):
        if isinstance(entry, Listed):
            facts = f"{entry.size}\0{entry.version}".encode()
        elif entry.is_symlink():
            facts = b"link\0" + os.fsencode(os.readlink(entry.path))
        else:
            status = entry.stat(follow_symlinks=False)
            facts = f"{status.st_size}\0{status.st_mtime_ns}".encode()
        name = os.fsencode(path)
        yield b"%d\0%s\0%d\0%s\0" % (len(name), name, len(facts), facts)
