"""A lock on a folder: the kernel's, so that it ends with the process that holds it, however that ends."""

from __future__ import annotations

import datetime
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class BusyError(RuntimeError):
    """Another process holds the lock; the message names the folder and the process."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the lock of the file `path` inside the block; the file stays and says who held it last.

    Args:
        path: of the lock file; its folder is made.

    Raises:
        BusyError: another process holds it.
        OSError: the file cannot be made, or is a link or no plain file: writing to it would change another file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, _FLAGS, 0o600)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        os.close(descriptor)
        raise OSError(errno.EEXIST, "a lock must be a file of its own, and this is none", str(path))
    with open(descriptor, "r+", encoding="utf-8", errors="replace") as file:
        with suppress(PermissionError):  # another user's
            os.fchmod(descriptor, 0o600)  # whoever may read it could hold it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = file.readline(200).strip() or "another process"
            raise BusyError(f"{path.parent} is in use by {holder}") from error
        file.truncate(0)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
        file.flush()
        yield
