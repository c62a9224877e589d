"""A digest of what an artifact holds, for ML Metadata: equal digests mean equal files, wherever they lie.

Large artifacts are read once more for it, several files at a time (hashing leaves Python's lock), so a step takes
longer by what its output takes to read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tfx import types
from tfx.dsl.io import fileio

PROPERTY = "content_digest"
_BLOCK = 1 << 20
_READERS = 8


def record_content(output_dict: Mapping[str, Sequence[types.Artifact]]) -> None:
    """Puts `content_digest` on every output that has files and no digest yet.

    Ingestion gives its own, over the sound of the clips: it stays.
    """
    for artifacts in output_dict.values():
        for artifact in artifacts:
            if not artifact.has_custom_property(PROPERTY) and fileio.exists(artifact.uri):
                digest = folder_digest(artifact.uri)
                if digest:
                    artifact.set_string_custom_property(PROPERTY, digest)


def folder_digest(uri: str) -> str:
    """SHA-256 (hex) over the paths below `uri`, sorted, each with the SHA-256 of its bytes; "" without files."""
    paths = sorted(_files(uri))
    if not paths:
        return ""
    with ThreadPoolExecutor(_READERS) as readers:
        digests = readers.map(lambda path: _file_digest(os.path.join(uri, path)), paths)
        lines = [f"{digest}  {path}\n" for path, digest in zip(paths, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _files(uri: str) -> Iterator[str]:
    for folder, _, names in fileio.walk(uri):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), uri)


def _file_digest(path: str) -> str:
    digest = hashlib.sha256()
    with fileio.open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
