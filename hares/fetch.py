"""Fetching one file over HTTP: a cut connection goes on where it was, and what is not the publisher's file is refused.

What has come lies beside the file as `<name>.part`, and in `<name>.part.from` what its server called that version (its
ETag, or the time of its last change). The next try, of this run or a later one, asks for the rest of that version
(RFC 9110, Range with If-Range), so a file that was changed in between comes anew. A server without such names is asked
for the rest only where the publisher's digest would show a mixture. The file gets its name when it is whole and
verified.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hares.atomic_files import UNFINISHED, no_link, write_atomically
from hares.connection import NETWORK_ERRORS, CutError, FetchError, answer_of, said
from hares.downloads import RemoteFile

_BLOCK = 1 << 18
_LONGEST_PAUSE = 60.0
_PACKED = (".gz", ".tgz", ".zip", ".tar")  # some servers call a packed file's own compression their encoding


class WrongFileError(FetchError):
    """What the server sends is not the publisher's file."""


@dataclass(frozen=True)
class Manner:
    """How patient a fetch is.

    Attributes:
        timeout: seconds for a connection, and without a byte in it.
        attempts: attempts in a row that bring nothing, after which it is given up.
        pause: seconds before the second of them; twice as long before each further one, a minute at most.
    """

    timeout: float = 30.0
    attempts: int = 6
    pause: float = 1.0


PATIENT = Manner()


def fetch(
    file: RemoteFile,
    url: str,
    place: Path,
    on_bytes: Callable[[int, int | None], None] = lambda _done, _of: None,
    manner: Manner = PATIENT,
) -> str:
    """Fetches one file to `place`, whose folder is there.

    Args:
        file: what the publisher says of it.
        url: where it is; its own address, or a mirror's.
        place: where it goes.
        on_bytes: called with the bytes that are there, and with how many it will be where that is known.
        manner: how patient to be.

    Returns:
        The digest that was compared with the publisher's, as `sha256 ...`; "" where the publisher gives none.

    Raises:
        FetchError: it cannot be had; what has come stays for the next try, unless it is the wrong file.
        OSError: the disk; what has come stays.
    """
    part = place.with_name(place.name + UNFINISHED)
    barren = 0
    while True:
        before = _length(part)
        try:
            _attempt(file, url, part, on_bytes, manner.timeout)
            break
        except CutError as cut:
            barren = 0 if _length(part) > before else barren + 1
            if barren >= manner.attempts:
                raise FetchError(
                    f"{url}: {cut}, {barren} times in a row; {_length(part)} bytes are in {part}, and the same command "
                    "goes on there. Is the network down, or is there a mirror (--mirror)?"
                ) from cut
            time.sleep(min(_LONGEST_PAUSE, max(cut.pause, manner.pause * 2**barren / 2)))
    compared = verify(file, part)
    with open(part, "rb") as written:
        os.fsync(written.fileno())
    os.replace(part, place)
    _origin(part).unlink(missing_ok=True)
    return compared


def verify(file: RemoteFile, path: Path) -> str:
    """Compares a file with what its publisher says; a partial one that differs is removed.

    Returns:
        As `fetch`.

    Raises:
        WrongFileError: it differs.
        OSError: it cannot be read.
    """
    wrong, compared = "", ""
    if file.size is not None and _length(path) != file.size:
        wrong = f"has {_length(path)} bytes, and the publisher's has {file.size}"
    name, published = ("sha256", file.sha256) if file.sha256 else ("md5", file.md5)
    if published and not wrong:
        found = _digest(path, name)
        compared = f"{name} {found}"
        if found != published:
            wrong = f"has the {name} {found}, and the publisher's has {published}"
    if not wrong:
        return compared
    if path.name.endswith(UNFINISHED):
        path.unlink()
        _origin(path).unlink(missing_ok=True)
        raise WrongFileError(
            f"{path.with_name(path.name.removesuffix(UNFINISHED))}: what was fetched {wrong}. It is removed; run the "
            "command again, and if it comes to the same, use another mirror: the source has another file now"
        )
    raise WrongFileError(f"{path}: {wrong}; remove it, and run the command again")


def _attempt(
    file: RemoteFile, url: str, part: Path, on_bytes: Callable[[int, int | None], None], timeout: float
) -> None:
    """Brings the partial file to its end. Raises CutError, FetchError and OSError (of the disk)."""
    have = _length(part)
    if file.size is not None and have == file.size:
        return
    known = _known_version(part, url)
    resumable = bool(known or file.sha256 or file.md5) and (file.size is None or have < file.size)
    headers = {"User-Agent": "hares", "Accept-Encoding": "identity"}
    if have and resumable:
        headers |= {"Range": f"bytes={have}-", **({"If-Range": known} if known else {})}
    with answer_of(url, headers, timeout) as answer:
        begin, total = _extent(answer, url, have)
        if answer.status == 416:
            if total == have and resumable:
                return  # the last try was cut after the last byte
            part.unlink(missing_ok=True)
            raise CutError("the server has less than has come, and it is fetched anew")
        _check_headers(answer, file, url, total)
        free = shutil.disk_usage(part.parent).free
        if total is not None and total - begin > free:
            raise OSError(errno.ENOSPC, f"{total - begin} bytes are to come, and {free} are free", str(part))
        write_atomically(_origin(part), json.dumps({"url": url, "version": _version(answer)}))
        with open(part, "ab", opener=no_link) as written:
            written.truncate(begin)
            _copy(answer, written, part, begin, file.size if total is None else total, on_bytes)


def _copy(
    answer: Any, written: Any, part: Path, done: int, total: int | None, on_bytes: Callable[..., None]
) -> None:
    while True:
        on_bytes(done, total)
        try:
            block = answer.read1(_BLOCK)
        except NETWORK_ERRORS as error:
            raise CutError(f"the connection broke ({said(error)})") from error
        if not block:
            break
        try:
            written.write(block)
            written.flush()
        except OSError as error:
            error.filename = str(part)
            raise
        done += len(block)
        if total is not None and done > total:
            part.unlink()
            raise WrongFileError(
                f"{part.with_name(part.name.removesuffix(UNFINISHED))}: over {total} bytes come, and the publisher's "
                "has no more; what has come is removed. Use a mirror (--mirror)"
            )
    if total is not None and done < total:
        raise CutError(f"the connection was cut after {done} of {total} bytes")


def _extent(answer: Any, url: str, have: int) -> tuple[int, int | None]:
    """Where the answer's bytes begin, and how long the whole file is, if the server says."""
    if answer.status in (206, 416):
        match = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
        total = int(match[2]) if match and match[2] != "*" else None
        if answer.status == 416:
            return have, total
        if match is None or match[1] is None or int(match[1]) != have:
            raise FetchError(
                f"{url}: the server sends another part than was asked for; use a mirror (--mirror)"
            )
        return have, total
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _check_headers(answer: Any, file: RemoteFile, url: str, total: int | None) -> None:
    """Refuses what cannot be the file before its bytes come. Raises WrongFileError."""
    if total is not None and file.size is not None and total != file.size:
        raise WrongFileError(
            f"{url}: the server's file has {total} bytes, and the publisher's has {file.size}: it was changed, or a "
            "page stands in its place. Look at the data set's home page, or use a mirror (--mirror)"
        )
    if answer.headers.get_content_type() == "text/html":
        raise WrongFileError(
            f"{url}: a web page comes in place of the file, perhaps one that asks to log in; fetch {file.name} with a "
            "browser, or use a mirror (--mirror)"
        )
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity" and not file.name.endswith(_PACKED):
        raise WrongFileError(
            f"{url}: the server sends the file packed ({encoding}), which was not asked for; use a mirror (--mirror)"
        )
    endless = total is None and answer.headers.get("Transfer-Encoding", "").lower() != "chunked"
    if endless and not (file.sha256 or file.md5 or file.size is not None):
        raise FetchError(
            f"{url}: the server does not say how long the file is, so a cut would not be seen; use a mirror (--mirror)"
        )


def _version(answer: Any) -> str:
    """What the server calls this version, to be told again in If-Range; "" if it has no name that is one."""
    etag = str(answer.headers.get("ETag", ""))
    return etag if etag.startswith('"') else str(answer.headers.get("Last-Modified", ""))


def _known_version(part: Path, url: str) -> str:
    """What the server called the version that has come in part; "" where another server sent it."""
    try:
        found = json.loads(_origin(part).read_bytes())
        return str(found["version"]) if found["url"] == url else ""
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return ""


def _origin(part: Path) -> Path:
    return part.with_name(part.name + ".from")


def _length(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0


def _digest(path: Path, name: str) -> str:
    digest = hashlib.new(name, usedforsecurity=False)
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
