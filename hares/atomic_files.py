"""Atomic writes: whenever the process ends, a file is complete or unchanged, on a local or a remote file system.

A file is written under a temporary name beside its own and then renamed. The temporary name is new at each call,
because a runner may try one shard twice at once (a worker that it lost may still live). Locally it is created
exclusively, so no link is followed, with the mode that the umask gives; the content is on the disk before the rename.

A file that is opened where it is, as a log, is opened with `no_link`: whoever may write to a folder could put a link
there before we do, and what we write would change a file elsewhere.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

UNFINISHED = ".part"  # suffix of a file that is still being written


def write_atomically(path: str | os.PathLike[str], content: bytes | str) -> None:
    """Writes a file, text as UTF-8; its folder is made if necessary.

    Raises:
        OSError: it cannot be written; the old content is unchanged.
    """
    data = content.encode() if isinstance(content, str) else content
    with atomically(path) as part:
        if _remote(part):
            import tensorflow as tf

            with tf.io.gfile.GFile(part, "wb") as file:
                file.write(data)
        else:
            with open(part, "wb") as file:
                file.write(data)


@contextmanager
def atomically(path: str | os.PathLike[str]) -> Iterator[str]:
    """Gives a temporary name to write to; when the block ends it replaces `path`, when the block raises it is removed.

    A `path` that is no file, such as /dev/stdout or a named pipe, cannot be replaced and is given itself.
    """
    target = os.fspath(path)
    if _remote(target):
        with _atomically_there(target) as part:
            yield part
        return
    if os.path.exists(target) and not os.path.isfile(target) and not os.path.isdir(target):
        yield target
        return
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    part = _unfinished_name(target)
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield part
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        os.replace(part, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(part)
        if isinstance(error, OSError) and error.errno and error.filename is None:
            error.filename = target  # a failed write names no file
        raise


@contextmanager
def _atomically_there(target: str) -> Iterator[str]:
    import tensorflow as tf

    tf.io.gfile.makedirs(os.path.dirname(target))
    part = _unfinished_name(target)
    try:
        yield part
        tf.io.gfile.rename(part, target, overwrite=True)
    except BaseException:
        with suppress(tf.errors.OpError):
            tf.io.gfile.remove(part)
        raise


def remove_unfinished(folder: str) -> None:
    """Removes the unfinished files that killed writers left in `folder`."""
    import tensorflow as tf

    for name in tf.io.gfile.listdir(folder):
        if name.endswith(UNFINISHED):
            tf.io.gfile.remove(os.path.join(folder, name))


def no_link(path: str, flags: int) -> int:
    """An opener for `open`: a link as the last part of the path is refused, and the umask decides the mode.

    Raises:
        OSError: with ELOOP for a link.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def refuse_links(folder: Path, files: Collection[str] = ()) -> None:
    """Refuses a folder in which a link would lead what is written there elsewhere.

    Args:
        folder: to be written to; it may not be there yet.
        files: names in it that must not be links at all. Any other name, as of a folder that was moved to a larger
            disk, may be a link of the user's own or of root's.

    Raises:
        OSError: with ELOOP and the link's path.
    """
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink() and (
                entry.name in files or entry.stat(follow_symlinks=False).st_uid not in (0, os.geteuid())
            ):
                raise OSError(
                    errno.ELOOP,
                    "a link, through which a file elsewhere would be written; remove it",
                    entry.path,
                )


def _unfinished_name(path: str) -> str:
    return f"{path}.{uuid.uuid4().hex}{UNFINISHED}"


def _remote(path: str) -> bool:
    return "://" in path
