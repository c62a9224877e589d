"""Files at names that others know, as a log or a store: nothing is written through a link that stands there.

Someone who may write to a folder could put a link at a name before we do, and what we write would change a file of
ours elsewhere. `hares.atomic_files` replaces a link; this is for files that are opened where they are.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path


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
