"""Fetching a data set into its folder: its files, what its lists name, and what is left to do by hand.

A file that is there, or was unpacked, is not fetched again; one with another length or digest than the publisher's is
named and stays. A file that the server no longer has does not keep the others from being fetched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from hares.connection import MissingFileError, refuse_address
from hares.downloads import Download, RemoteFile
from hares.fetch import PATIENT, Manner, WrongFileError, fetch, verify
from hares.files import UNPACKED, leads_outside, shown

OnBytes = Callable[[str, int, int | None], None]


@dataclass(frozen=True)
class Got:
    """What became of one file.

    Attributes:
        place: where it is, or would be.
        fetched: whether it came now; otherwise it was there.
        compared: the digest that was compared with the publisher's, "" where it gives none.
        problem: why it is not there, "" if it is.
    """

    place: Path
    fetched: bool = False
    compared: str = ""
    problem: str = ""


def get(
    download: Download,
    root: Path,
    mirror: str = "",
    on_bytes: OnBytes = lambda _name, _done, _of: None,
    manner: Manner = PATIENT,
) -> Iterator[Got]:
    """Fetches a data set's files that have an address, or all of them from a mirror; what is there is compared.

    Args:
        download: the record.
        root: the data set's folder; it is made.
        mirror: where the data sets' folders are served, each with the files by their names; "" for the publishers' own
            addresses. Sizes and digests are compared all the same.
        on_bytes: called with a file's name, the bytes that are there, and with how many it will be if that is known.
        manner: how patient to be.

    Raises:
        ValueError: a list names an address that is none.
        FetchError: a server does not answer, or sends something else; what has come stays for the next try.
        OSError: the disk.
    """
    files = [file for file in download.files if file.url or mirror or (root / file.name).exists()]
    for file in files:  # grows by what lists name
        place = root / file.name
        url = f"{mirror.rstrip('/')}/{quote(root.name)}/{quote(file.name)}" if mirror else file.url
        try:
            yield _one(file, url, place, on_bytes, manner)
        except (MissingFileError, WrongFileError) as error:
            yield Got(place, problem=str(error))
            continue
        if file.listing:
            files += _listed(place, root)


def left_to_do(download: Download, root: Path) -> tuple[str, ...]:
    """What is to be fetched by hand and is not there, a sentence each."""
    return tuple(
        part.what
        for part in download.by_hand
        if not all(any(next(root.glob(name), None) for name in one.split("|")) for one in part.there)
    )


def _one(file: RemoteFile, url: str, place: Path, on_bytes: OnBytes, manner: Manner) -> Got:
    if place.with_name(place.name + UNPACKED).exists():
        return Got(place)
    if place.exists():
        return Got(place, compared=verify(file, place))
    place.parent.mkdir(parents=True, exist_ok=True)
    compared = fetch(file, url, place, lambda done, of: on_bytes(file.name, done, of), manner)
    return Got(place, fetched=True, compared=compared)


def _listed(place: Path, root: Path) -> list[RemoteFile]:
    """The files of a list, by the hosts and paths of their addresses."""
    found = []
    for number, line in enumerate(place.read_text(encoding="utf-8").splitlines(), 1):
        url = line.strip().strip("\"'")
        parts = urlsplit(url)
        name = f"{parts.hostname}{unquote(parts.path)}"
        if not url:
            continue
        if (
            refuse_address(url)
            or parts.query
            or leads_outside(str(root.resolve()), name)
            or name.endswith("/")
        ):
            raise ValueError(
                f"{place}:{number}: {shown(url)!r} is no address of a file; fetch the list again"
            )
        found.append(RemoteFile(name, url))
    return found
