"""Provenance of every output: the run and node that made it, and digests of its content and of its listing.

Looking up an execution's contexts is a full scan of the store, so run and node are also recorded on the artifact. Equal
digests mean equal files, wherever they lie.

Hashing reads every output once more, several files at a time (it releases Python's lock), so a step takes longer by the
time its output takes to read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.io import fileio

from hares.digests import file_digest

PROPERTY = "content_digest"
LISTING = "files"
_READERS = 8


def record_outputs(
    output_dict: Mapping[str, Sequence[types.Artifact]], context: base_executor.BaseExecutor.Context | None
) -> None:
    """Puts `content_digest`, `files`, `run` and `node` on every output.

    Args:
        output_dict: the executor's. An output without files gets no digest. One that has a digest keeps it:
            ingestion sets its own, over the sound of the clips.
        context: the executor's; if the runner passes no run, none is recorded.
    """
    run = context.pipeline_run_id if context else None
    node = context.pipeline_node.node_info.id if context and context.pipeline_node else None
    for artifacts in output_dict.values():
        for artifact in artifacts:
            if run and node:
                artifact.set_string_custom_property("run", run)
                artifact.set_string_custom_property("node", node)
            if not artifact.has_custom_property(PROPERTY) and fileio.exists(artifact.uri):
                digest = folder_digest(artifact.uri)
                if digest:
                    artifact.set_string_custom_property(PROPERTY, digest)
            if "://" not in artifact.uri and os.path.isdir(artifact.uri):
                artifact.set_string_custom_property(LISTING, files_listing(artifact.uri))


def files_listing(folder: str) -> str:
    """SHA-256 (hex) over the paths and sizes of the files of a local folder, hidden ones left out.

    No file is opened, so this detects a folder that was copied in part, but no changed bytes.
    """
    digest = hashlib.sha256()
    for path in sorted(_files(folder), key=os.fsencode):
        if not any(part.startswith(".") for part in path.split(os.sep)):
            digest.update(b"%d %s\n" % (os.path.getsize(os.path.join(folder, path)), os.fsencode(path)))
    return digest.hexdigest()


def folder_digest(uri: str) -> str:
    """SHA-256 (hex) over the paths below `uri`, sorted, each with the SHA-256 of its bytes; "" without files."""
    paths = sorted(_files(uri))
    if not paths:
        return ""
    with ThreadPoolExecutor(_READERS) as readers:
        digests = readers.map(lambda path: file_digest(os.path.join(uri, path)), paths)
        lines = [f"{digest}  {path}\n" for path, digest in zip(paths, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _files(uri: str) -> Iterator[str]:
    for folder, _, names in fileio.walk(uri):
        for name in names:
            yield os.path.relpath(os.path.join(folder, name), uri)
