"""Downloads a file and keeps it only if it has the given SHA-256.

    python fetch.py URL SHA256 FOLDER

The image's build runs this script before our packages are installed, so it uses only the standard library.
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
    """Downloads a file into a folder, under the last part of its address.

    Raises:
        ValueError: no digest was given, or the file has another one; nothing is left behind.
        OSError: the address cannot be read.
    """
    if len(sha256) != 64:
        raise ValueError(
            f"{url}: got {sha256!r} as its SHA-256; expected 64 hexadecimal digits from a trusted download"
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
