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

from hares._files import NameSet, clip_id_of, leads_outside, walk_files
from hares.audio import FFMPEG_SUFFIXES, SOUNDFILE_SUFFIXES
from hares.machine import is_of_the_machine, machine_error
from hares.task import Clip, CorpusIndexError, Reason, Rejected, load_task_module

AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES | FFMPEG_SUFFIXES


def scan(task_name: str, root: Path) -> Iterator[Clip | Rejected]:
    """Every clip of a task's data set that can be opened, and every clip, row or file that cannot be used.

    Args:
        task_name: a module of `hares/tasks/`.
        root: the data set's own folder.

    Yields:
        Clips and rejections in the order of the index, then the audio files that no index names, by path. An
        unusable index file or folder ends the listing with one `Rejected` of reason INDEX.

    Raises:
        ValueError: no task has this name.
        MachineError: the system does not let an index, a folder or a file be read.
    """
    module = load_task_module(task_name)
    home = os.path.realpath(root)
    paths, clip_ids = NameSet(), NameSet()
    try:
        for item in module.read(root):
            paths.add(item.path)
            yield _checked(item, home, clip_ids) if isinstance(item, Clip) else item
        for path, entry in walk_files(root):
            if path in paths:
                continue
            if entry.is_symlink() and (is_audio(path) or entry.is_dir()) and leads_outside(home, path):
                yield Rejected(path, Reason.OUTSIDE, "the symbolic link leads out of the data set's folder")
            elif is_audio(path) and entry.is_file():
                yield Rejected(path, Reason.UNLISTED, "the file is in the folder and no index names it")
    except CorpusIndexError as error:
        yield Rejected(clip_id_of(str(root)), Reason.INDEX, str(error))
    except OSError as error:
        if is_of_the_machine(error):
            raise machine_error(error, f"{task_name}: {error.filename} cannot be read") from error
        detail = f"{task_name}: {error.filename} cannot be read ({error.strerror})"
        yield Rejected(clip_id_of(str(root)), Reason.INDEX, detail)


def _checked(clip: Clip, home: str, clip_ids: NameSet) -> Clip | Rejected:
    if leads_outside(home, clip.path):
        detail = (
            f"the path leads out of the data set's folder; move the file inside, or place {home} elsewhere"
        )
        return Rejected(clip.path, Reason.OUTSIDE, detail, clip.split)
    if not _is_file(os.path.join(home, clip.path)):
        # Surrogate escapes: the row was not UTF-8, and the file may be there under its UTF-8 name.
        hint = (
            ""
            if clip_id_of(clip.path) == clip.path
            else "; the index row is not UTF-8, save the index as UTF-8"
        )
        return Rejected(
            clip.path, Reason.ABSENT, f"the index names the file, the disk lacks it{hint}", clip.split
        )
    if not clip_ids.add(clip.clip_id):
        return Rejected(clip.path, Reason.BAD_ROW, "the index names this clip more than once", clip.split)
    return clip


def _is_file(path: str) -> bool:
    """As `os.path.isfile`, which calls a file absent that the system does not let be looked at."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        if is_of_the_machine(error):
            raise machine_error(error, f"{path} cannot be read") from error
        return False
    except ValueError:  # a NUL, or half of a surrogate pair
        return False


def audio_files(root: Path) -> Iterator[str]:
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


def source_fingerprint(root: Path) -> str:
    """SHA-256 (hex) over the path, size and modification time of every file of a data set.

    It changes when a file is added, removed, renamed, written or touched, and is found without opening any of
    them. A symbolic link counts by where it points.

    Raises:
        OSError: the folder, or one below it, cannot be listed.
    """
    digest = hashlib.sha256()
    for path, entry in walk_files(root):
        if entry.is_symlink():
            facts = b"link\0" + os.fsencode(os.readlink(entry.path))
        else:
            status = entry.stat(follow_symlinks=False)
            facts = f"{status.st_size}\0{status.st_mtime_ns}".encode()
        name = os.fsencode(path)
        digest.update(b"%d\0%s\0%d\0%s\0" % (len(name), name, len(facts), facts))
    return digest.hexdigest()
