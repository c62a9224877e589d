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
from typing import IO

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
        OSError: the file cannot be made, or is a symbolic link or no plain file: writing to it would change another.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path) as file:
        with suppress(PermissionError):  # another user's
            os.fchmod(file.fileno(), 0o600)  # whoever may read it could hold it
        file.truncate(0)
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}\n")
        file.flush()
        yield


def _locked(path: Path) -> IO[str]:
    """The file, locked, and under no other name.

    A folder that was copied by hard links (`cp -al`) shares its lock with the first, and anyone who may write there may
    have given another file this name. Such a file is left alone: its name here goes to a new one.
    """
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EEXIST, "a lock must be a plain file, and this is none", str(path))
        file = open(descriptor, "r+", encoding="utf-8", errors="replace")  # noqa: SIM115
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(file.fileno())
            with suppress(FileNotFoundError):  # it was replaced while we waited for the system
                if found.st_ino == os.lstat(path).st_ino:
                    if found.st_nlink == 1:
                        return file
                    os.unlink(path)
        except BlockingIOError as error:
            holder = file.readline(200).strip() or "another process"
            file.close()
            raise BusyError(f"{path.parent} is in use by {holder}") from error
        except BaseException:
            file.close()
            raise
        file.close()
