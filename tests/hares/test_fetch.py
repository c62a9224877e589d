"""A file over a network that cuts, stalls, lies and redirects: it comes whole and verified, or is named and goes on."""

from __future__ import annotations

import errno
import hashlib
import json
from collections import namedtuple
from pathlib import Path

import pytest

from hares import fetch as fetching
from hares.connection import FetchError, MissingFileError, refuse_address
from hares.downloads import RemoteFile
from hares.fetch import Manner, WrongFileError, fetch
from kits.download_server import Served, serving

CONTENT = bytes(range(256)) * 4096  # 1 MiB
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()
NAMED = RemoteFile("a.bin", size=len(CONTENT), sha256=SHA256)
UNKNOWN = RemoteFile("a.bin")
QUICK = Manner(timeout=0.5, attempts=3, pause=0.0)
ONCE = Manner(timeout=0.5, attempts=1, pause=0.0)


def begun(place: Path, content: bytes, url: str, version: str) -> None:
    """What an earlier run left."""
    place.with_name("a.bin.part").write_bytes(content)
    place.with_name("a.bin.part.from").write_text(json.dumps({"url": url, "version": version}))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("file", "compared"),
    [(NAMED, f"sha256 {SHA256}"), (RemoteFile("a.bin", md5=MD5), f"md5 {MD5}"), (UNKNOWN, "")],
)
def test_a_file_comes_whole_and_is_compared(file: RemoteFile, compared: str, tmp_path: Path) -> None:
    with serving(a=Served(CONTENT)) as server:
        assert fetch(file, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK) == compared
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert left(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("named", [{"etag": True}, {"etag": False, "dated": True}], ids=str)
def test_a_cut_connection_goes_on_where_it_was(named: dict[str, bool], tmp_path: Path) -> None:
    served = Served(CONTENT, cuts=[300_000, 200_000], **named)
    with serving(a=served) as server:
        fetch(UNKNOWN, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
        assert server.ranges() == ["", "bytes=300000-", "bytes=500000-"]
        (version,) = served.names.values()
        assert [headers.get("If-Range") for _, headers in server.asked] == [None, version, version]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_without_a_name_of_the_version_only_a_digest_lets_it_go_on(tmp_path: Path) -> None:
    for file, ranges in ((NAMED, ["", "bytes=300000-"]), (UNKNOWN, ["", ""])):
        with serving(a=Served(CONTENT, etag=False, cuts=[300_000])) as server:
            fetch(file, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
            assert server.ranges() == ranges
        assert (tmp_path / "a.bin").read_bytes() == CONTENT
        (tmp_path / "a.bin").unlink()


def test_a_server_without_ranges_sends_it_all_again(tmp_path: Path) -> None:
    with serving(a=Served(CONTENT, ranges=False, cuts=[300_000])) as server:
        fetch(NAMED, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_slow_server_is_waited_for_and_a_silent_one_is_asked_again(tmp_path: Path) -> None:
    slow = Served(CONTENT[:5000], block=1000, wait=0.2)  # a second in all, twice the timeout
    with serving(a=slow, b=Served(CONTENT, cuts=[300_000], stall=30.0)) as server:
        fetch(UNKNOWN, f"{server.url}/a", tmp_path / "slow", manner=ONCE)
        fetch(NAMED, f"{server.url}/b", tmp_path / "silent", manner=QUICK)
        assert server.ranges() == ["", "", "bytes=300000-"]
    assert (tmp_path / "slow").read_bytes() == CONTENT[:5000]
    assert (tmp_path / "silent").read_bytes() == CONTENT


@pytest.mark.parametrize("named", [{"etag": True}, {"etag": False, "dated": True}], ids=str)
def test_a_file_that_was_changed_in_between_comes_anew(named: dict[str, bool], tmp_path: Path) -> None:
    new = CONTENT[::-1] + b"new"
    with serving(a=Served(CONTENT, cuts=[300_000, 0], **named)) as server:
        with pytest.raises(FetchError, match="the connection was cut after 300000 of 1048576 bytes"):
            fetch(UNKNOWN, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
        assert left(tmp_path) == ["a.bin.part", "a.bin.part.from"]
        server.files["/a"] = Served(new, **named)
        fetch(UNKNOWN, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
        assert server.ranges()[-1] == "bytes=300000-"  # asked to go on, and the server said no
    assert (tmp_path / "a.bin").read_bytes() == new


def test_another_mirror_is_asked_for_the_rest_only_with_a_digest(tmp_path: Path) -> None:
    for file, ranges in ((NAMED, ["bytes=300000-"]), (UNKNOWN, [""])):
        begun(tmp_path / "a.bin", CONTENT[:300_000], "https://elsewhere.test/a", '"theirs"')
        with serving(a=Served(CONTENT)) as server:
            fetch(file, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
            assert server.ranges() == ranges
            assert "If-Range" not in server.asked[0][1]
        assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_what_came_to_its_end_before_the_cut_is_whole(tmp_path: Path) -> None:
    served = Served(CONTENT)
    with serving(a=served) as server:
        begun(tmp_path / "a.bin", CONTENT, f"{server.url}/a", served.names["ETag"])
        fetch(UNKNOWN, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
        assert len(server.asked) == 1
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_more_than_the_server_has_is_fetched_anew(tmp_path: Path) -> None:
    with serving(a=Served(CONTENT, etag=False)) as server:
        begun(tmp_path / "a.bin", CONTENT + b"more", f"{server.url}/a", "")
        fetch(RemoteFile("a.bin", sha256=SHA256), f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_another_digest_is_refused_and_nothing_of_it_stays(tmp_path: Path) -> None:
    wrong = bytes([1]) + CONTENT[1:]
    with serving(a=Served(wrong)) as server, pytest.raises(WrongFileError) as refused:
        fetch(NAMED, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
    for said in (str(tmp_path / "a.bin"), SHA256, hashlib.sha256(wrong).hexdigest(), "run the command again"):
        assert said in str(refused.value)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("served", "error", "said"),
    [
        (None, MissingFileError, "no such file (404)"),
        (Served(statuses=[410]), MissingFileError, "no such file (410)"),
        (Served(statuses=[403]), FetchError, "answers 403 Forbidden"),
        (Served(CONTENT[1:]), WrongFileError, "has 1048575 bytes, and the publisher's has 1048576"),
        (
            Served(CONTENT, headers={"Content-Type": "text/html; charset=utf-8"}),
            WrongFileError,
            "a web page comes",
        ),
        (Served(CONTENT, headers={"Content-Encoding": "gzip"}), WrongFileError, "packed (gzip)"),
        (Served(CONTENT, cuts=[0, 0, 0]), FetchError, "cut after 0 of 1048576 bytes, 3 times in a row"),
        (Served(statuses=[503, 503, 503]), FetchError, "the server is busy (503), 3 times in a row"),
        (Served(leads_to="ftp://127.0.0.1/a"), FetchError, "no address that begins with http"),
        (Served(leads_to="/a"), FetchError, "answers 302"),
    ],
    ids=lambda value: "" if isinstance(value, type) else str(value)[:40],
)
def test_what_does_not_come_is_named(
    served: Served | None, error: type[Exception], said: str, tmp_path: Path
) -> None:
    with serving(**({"a": served} if served else {})) as server, pytest.raises(error) as refused:
        fetch(NAMED, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
    assert type(refused.value) is error
    assert said in str(refused.value)
    assert server.url in str(refused.value) or "127.0.0.1" in str(refused.value)
    assert not (tmp_path / "a.bin").exists()


def test_a_server_that_is_busy_for_a_while_is_asked_again(tmp_path: Path) -> None:
    with serving(a=Served(CONTENT, statuses=[429, 503])) as server:
        fetch(NAMED, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
        assert len(server.asked) == 3


def test_a_length_that_no_one_says_is_refused_where_no_digest_would_show_a_cut(tmp_path: Path) -> None:
    with serving(a=Served(CONTENT, says_length=False)) as server:
        with pytest.raises(FetchError, match="does not say how long"):
            fetch(UNKNOWN, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
        fetch(RemoteFile("a.bin", sha256=SHA256), f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)


def test_nobody_listens(tmp_path: Path) -> None:
    with serving() as server:
        url = f"{server.url}/a"
    with pytest.raises(FetchError, match=r"does not answer \(Connection refused\), 3 times in a row"):
        fetch(NAMED, url, tmp_path / "a.bin", manner=QUICK)


def test_redirections_are_followed_on_the_same_host_and_not_without_end(tmp_path: Path) -> None:
    with serving(
        a=Served(leads_to="/b"), b=Served(CONTENT), c=Served(leads_to="/d"), d=Served(leads_to="/c")
    ) as server:
        fetch(NAMED, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
        with pytest.raises(FetchError, match="leads from one address to the next over 5 times"):
            fetch(NAMED, f"{server.url}/c", tmp_path / "c.bin", manner=ONCE)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://a.test/b", "http://", "http://[x", "https://a.test/b c"]
)
def test_addresses_that_are_none(url: str) -> None:
    assert refuse_address(url)


def test_a_file_for_which_there_is_no_room_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage(len(CONTENT) - 1))
    with (
        serving(a=Served(CONTENT)) as server,
        pytest.raises(OSError, match="1048576 bytes are to come") as full,
    ):
        fetch(NAMED, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
    assert full.value.errno == errno.ENOSPC


def test_chunks_without_a_length_are_seen_to_be_cut(tmp_path: Path) -> None:
    with serving(a=Served(CONTENT, chunked=True, cuts=[300_000])) as server:
        fetch(UNKNOWN, f"{server.url}/a", tmp_path / "a.bin", manner=QUICK)
        assert server.ranges() == ["", "bytes=300000-"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
