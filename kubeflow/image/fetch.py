"""Downloads a file and keeps it only if its SHA-256 is the one that was asked for.

    python fetch.py URL SHA256 FOLDER

The image's build calls it as a script, before anything of ours is installed: the standard library alone.
"""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

_BLOCK = 1 << 20


def fetch(url: str, sha256: str, folder: Path) -> Path:
    """The file of an address in a folder, under the last part of the address.

    Raises:
        ValueError: no digest was given, or the bytes have another one; nothing is left behind.
        OSError: the address cannot be read.
    """
    if len(sha256) != 64:
        raise ValueError(
            f"{url}: got {sha256!r} as its SHA-256; expected 64 hexadecimal digits, from a download you trust"
        )
    path = folder / Path(urlsplit(url).path).name
    part = path.with_name(f"{path.name}.part")
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=60) as answer, part.open("wb") as file:
        while block := answer.read(_BLOCK):
            digest.update(block)
            file.write(block)
    if digest.hexdigest() != sha256.lower():
        part.unlink()
        raise ValueError(f"{url}: its SHA-256 is {digest.hexdigest()}, expected {sha256}")
    os.replace(part, path)
    return path


if __name__ == "__main__":
    fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
