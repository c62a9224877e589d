"""Content digests of files and folders: equal digests mean equal bytes, whatever the name or the place.

A class name, a path or a time stamp says nothing about weights. What decides an embedding is the bytes of the weights,
the code that reads them (`hares.code_digest`), and the versions of the libraries that compute.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hares.files import walk_files

_BLOCK_BYTES = 1 << 17
_REMOTE_BLOCK_BYTES = 1 << 20
_LIBRARIES = ("numpy", "tensorflow", "torch", "soxr")


def combined_digest(**parts: Any) -> str:
    """SHA-256 (hex) of named parts, values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file, on any file system that TensorFlow knows. Raises OSError if it cannot be read."""
    digest = hashlib.sha256()
    if "://" in os.fspath(path):
        import tensorflow as tf

        with tf.io.gfile.GFile(path, "rb") as remote:
            while data := remote.read(_REMOTE_BLOCK_BYTES):
                digest.update(data)
        return digest.hexdigest()
    block = memoryview(bytearray(_BLOCK_BYTES))  # reused, and small enough for a core's own cache
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def tree_digest(path: Path, without: str = "") -> str:
    """SHA-256 (hex) of a file, or of the names and bytes of all files below a folder.

    Folders named `without`, at any depth, are left out.
    """
    if not path.is_dir():
        return file_digest(path)
    files = [
        (name, file_digest(Path(entry.path)))
        for name, entry in walk_files(path)
        if entry.is_file() and without not in name.split("/")[:-1]
    ]
    return combined_digest(files=files)


def library_versions(*more: str) -> dict[str, str]:
    """Versions of the libraries that compute embeddings, and of the packages `more`: of those that are installed."""
    found = {}
    for name in (*_LIBRARIES, *more):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
