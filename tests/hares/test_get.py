"""A data set as a whole: its files, what its lists name, a mirror, and what is left to do by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hares.downloads import Download, Part, RemoteFile
from hares.fetch import Manner
from hares.get import get, left_to_do
from kits.download_server import Served, serving

QUICK = Manner(timeout=0.5, attempts=2, pause=0.0)
A, B = b"first" * 100, b"second" * 100


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_is_there_or_was_unpacked_is_not_fetched_again(tmp_path: Path) -> None:
    with serving(a=Served(A), b=Served(B)) as server:
        record = Download(
            "",
            "",
            (
                RemoteFile("a.zip", f"{server.url}/a", sha256=digest(A)),
                RemoteFile("b.zip", f"{server.url}/b"),
            ),
        )
        first = list(get(record, tmp_path / "set", manner=QUICK))
        assert [(got.place.name, got.fetched, got.compared) for got in first] == [
            ("a.zip", True, f"sha256 {digest(A)}"),
            ("b.zip", True, ""),
        ]
        (tmp_path / "set/b.zip.unpacked").touch()
        (tmp_path / "set/b.zip").unlink()  # as docs/data.md allows
        again = list(get(record, tmp_path / "set", manner=QUICK))
        assert [got.fetched for got in again] == [False, False]
        assert len(server.asked) == 2


def test_a_file_of_the_users_with_another_digest_is_named_and_stays(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(B)
    with serving(a=Served(A)) as server:
        record = Download("", "", (RemoteFile("a.zip", f"{server.url}/a", sha256=digest(A)),))
        (got,) = get(record, tmp_path, manner=QUICK)
        assert "has the sha256" in got.problem and got.problem.endswith(
            "remove it, and run the command again"
        )
        assert not server.asked
    assert (tmp_path / "a.zip").read_bytes() == B


def test_a_list_names_more_files_and_one_that_is_gone_does_not_keep_the_others(tmp_path: Path) -> None:
    with serving() as server:
        host = server.url.removeprefix("http://").partition(":")[0]
        lines = f'"{server.url}/de/Main/x-1.tgz"\n{server.url}/de/gone.tgz\n\n{server.url}/de/y%20z.tgz\n'
        server.files |= {
            "/list": Served(lines.encode()),
            "/de/Main/x-1.tgz": Served(A),
            "/de/y%20z.tgz": Served(B),
        }
        record = Download("", "", (RemoteFile("urls.txt", f"{server.url}/list", listing=True),))
        got = list(get(record, tmp_path, manner=QUICK))
        assert [bool(one.problem) for one in got] == [False, False, True, False]
        assert "gone.tgz: the server has no such file (404)" in got[2].problem
    assert (tmp_path / host / "de/Main/x-1.tgz").read_bytes() == A
    assert (tmp_path / host / "de/y z.tgz").read_bytes() == B


def test_a_mirror_serves_files_without_an_address_and_is_not_believed(tmp_path: Path) -> None:
    record = Download(
        "",
        "",
        (RemoteFile("a.zip", size=len(A), sha256=digest(A)), RemoteFile("b.zip", "http://gone.test/b")),
        (Part("put a.zip there", ("a.zip",)),),
    )
    root = tmp_path / "set"
    with serving() as server:
        server.files = {"/mine/set/a.zip": Served(A), "/mine/set/b.zip": Served(B)}
        assert left_to_do(record, root) == ("put a.zip there",)
        assert [got.fetched for got in get(record, root, f"{server.url}/mine/", manner=QUICK)] == [True, True]
        assert left_to_do(record, root) == ()
        (root / "a.zip").unlink()
        server.files["/mine/set/a.zip"] = Served(A[::-1])
        (wrong, _) = get(record, root, f"{server.url}/mine", manner=QUICK)
        assert digest(A[::-1]) in wrong.problem
    assert not (root / "a.zip").exists()


def test_without_an_address_or_a_mirror_nothing_is_asked_for(tmp_path: Path) -> None:
    record = Download("", "", (RemoteFile("a.zip"),), (Part("put a.zip there", ("a.zip",)),))
    root = tmp_path / "set"
    assert list(get(record, root, manner=QUICK)) == []
    assert not root.exists()


def test_what_was_put_there_by_hand_is_compared(tmp_path: Path) -> None:
    record = Download(
        "", "", (RemoteFile("a.zip", md5=hashlib.md5(A).hexdigest()),), (Part("a", ("a.zip",)),)
    )
    (tmp_path / "a.zip").write_bytes(A)
    (right,) = get(record, tmp_path, manner=QUICK)
    assert right.compared == f"md5 {hashlib.md5(A).hexdigest()}" and not right.fetched
    (tmp_path / "a.zip").write_bytes(B)
    (wrong,) = get(record, tmp_path, manner=QUICK)
    assert "has the md5" in wrong.problem


def test_a_part_is_there_if_all_its_files_or_their_alternatives_are(tmp_path: Path) -> None:
    record = Download("", "", by_hand=(Part("both", ("a.zip|a", "b.*")),))
    assert left_to_do(record, tmp_path) == ("both",)
    (tmp_path / "a").mkdir()
    assert left_to_do(record, tmp_path) == ("both",)
    (tmp_path / "b.zip").touch()
    assert left_to_do(record, tmp_path) == ()
