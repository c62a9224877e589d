"""Faults of the machine, which say nothing about the file that was at work: a full disk, no memory, no right to read.

A recording is rejected for what is wrong with it, and that verdict is kept. A fault of the machine instead ends the
step, with one sentence; once it is mended, the same command goes on.
"""

from __future__ import annotations

import errno
import os

# What a file's own name or place can bring about: nothing there, a loop of links, a name too long, a socket.
_OF_THE_FILE = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.ENXIO)
)
_AGAIN = "then run the same command again"
_REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "give yourself the right to read it (chmod, chown)"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there"),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "allow more open files (ulimit -n)"),
    **dict.fromkeys(
        (errno.ENOMEM, errno.EAGAIN), "free memory, allow more processes (ulimit -u), or use fewer workers"
    ),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "see that the disk or the mount is sound"),
    errno.EROFS: "mount it writable",
    errno.ETXTBSY: "wait until it has been written",
}


class MachineError(OSError):
    """The machine lacks something that a recording needs; nothing is known about the recording.

    Attributes:
        errno: the system's number of what happened, 0 where it gave none.
        strerror: what happened, where, and what to do.
    """

    def __init__(self, code: int, detail: str) -> None:
        super().__init__(code, detail)  # both in args, so that it survives pickling between workers

    def __str__(self) -> str:
        return str(self.strerror)


def is_of_the_machine(error: OSError) -> bool:
    """Whether an error in reading a file is no fault of the file's name or place."""
    return isinstance(error, MachineError) or error.errno not in _OF_THE_FILE


def is_closed(error: OSError) -> bool:
    """Whether the system does not let it be read: it says nothing of the data, and ends where the right is given."""
    return error.errno in (errno.EACCES, errno.EPERM)


def machine_error(error: OSError, what: str) -> MachineError:
    """`error` with what it kept from happening ("audio/1.wav cannot be read"), and the remedy."""
    if isinstance(error, MachineError):
        return error
    code = error.errno or 0
    why = os.strerror(code) if code else str(error)
    remedy = _REMEDIES.get(code)
    return MachineError(code, f"{what} ({why}); {f'{remedy}, ' if remedy else ''}{_AGAIN}")
