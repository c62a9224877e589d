"""Files that workers write, one a shard: whole or not there, and nothing left of an attempt that died."""

from __future__ import annotations

import os

from tfx.dsl.io import fileio

from hares._files import UNFINISHED, unfinished_name


def write_whole(path: str, content: str | bytes) -> None:
    """Writes a file under another name and renames it: a reader never sees a part of it."""
    part = unfinished_name(path)
    with fileio.open(part, "wb" if isinstance(content, bytes) else "w") as file:
        file.write(content)
    fileio.rename(part, path, overwrite=True)


def remove_unfinished(folder: str) -> None:
    """Removes what killed workers left in `folder`, so that nobody takes it for a shard."""
    for name in fileio.listdir(folder):
        if name.endswith(UNFINISHED):
            fileio.remove(os.path.join(folder, name))
