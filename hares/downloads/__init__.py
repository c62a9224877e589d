"""Where the data sets come from: a module for each, by the name of its folder, with a record `DOWNLOAD`.

An address is here only if it stands on the data set's own page or in TensorFlow Datasets' builder; `source` says
which. A file without one is fetched by hand, or from a mirror. Sizes and digests are the publishers' own.

Records are not beside the tasks' readers, because a reader's code decides what is ingested, and an address does not:
a server that moves must not make a pipeline read its data again.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass


@dataclass(frozen=True)
class RemoteFile:
    """One file of a data set.

    Attributes:
        name: path below the data set's folder.
        url: its address, "" where it is not openly served.
        size: bytes, None where the publisher does not say.
        sha256, md5: hexadecimal digests as the publisher gives them, "" for none.
        listing: whether it is text with an address a line: files of the data set too, placed below the data set's
            folder by host and path.
    """

    name: str
    url: str = ""
    size: int | None = None
    sha256: str = ""
    md5: str = ""
    listing: bool = False


@dataclass(frozen=True)
class Part:
    """What is fetched by hand.

    Attributes:
        what: one sentence: what to fetch, and where to put it.
        there: patterns of names below the data set's folder; it is there if all are. `|` separates alternatives.
    """

    what: str
    there: tuple[str, ...]


@dataclass(frozen=True)
class Download:
    """How to come by a data set.

    Attributes:
        room: what it takes: to fetch and, where known, unpacked.
        source: where the addresses, sizes and digests stand.
        files: its files, in the order in which they are fetched.
        by_hand: what no address here leads to.
        note: what a person should know before it is fetched, "" for nothing.
    """

    room: str
    source: str
    files: tuple[RemoteFile, ...] = ()
    by_hand: tuple[Part, ...] = ()
    note: str = ""


def load_download(dataset: str) -> Download | None:
    """The record of a data set, by the name of its folder; None where there is none, as for a task of one's own."""
    name = f"hares.downloads.{dataset}"
    if dataset.startswith("_") or not dataset.isidentifier() or importlib.util.find_spec(name) is None:
        return None
    download: Download = importlib.import_module(name).DOWNLOAD
    return download
