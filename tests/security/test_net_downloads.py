"""What a server of data sets, or who stands before it, can make `hares corpus get` do: nothing but send a file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from hares.connection import FetchError, refuse_address
from hares.downloads import Download, RemoteFile
from hares.fetch import Manner, WrongFileError, fetch
from hares.get import get
from kits.certificates import make_certificates
from kits.download_server import Served, serving

CONTENT = b"sound" * 1000
FILE = RemoteFile("a.bin", sha256=hashlib.sha256(CONTENT).hexdigest())
ONCE = Manner(timeout=5.0, attempts=1, pause=0.0)


def test_encryption_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = make_certificates(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(ours.ca))
    with serving(b=Served(CONTENT)) as plain:
        files = {"a": Served(CONTENT), "c": Served(leads_to=f"{plain.url}/b"), "d": Served(leads_to="/a")}
        with serving(certificates=ours, **files) as server:
            fetch(FILE, f"{server.url}/d", tmp_path / "a.bin", manner=ONCE)
            with pytest.raises(FetchError, match="without encryption, and is not followed"):
                fetch(FILE, f"{server.url}/c", tmp_path / "c.bin", manner=ONCE)
        assert plain.asked == []


def test_a_certificate_that_nobody_known_signed_is_refused_at_once(tmp_path: Path) -> None:
    patient = Manner(timeout=5.0, attempts=100, pause=10.0)
    with (
        serving(certificates=make_certificates(tmp_path), a=Served(CONTENT)) as server,
        pytest.raises(FetchError, match="is the clock right, or a certificate missing here"),
    ):
        fetch(FILE, f"{server.url}/a", tmp_path / "a.bin", manner=patient)


def test_a_redirection_to_a_private_address_is_not_followed(tmp_path: Path) -> None:
    with serving("127.0.0.2", b=Served(CONTENT)) as inner:
        with (
            serving(a=Served(leads_to=f"{inner.url}/b")) as outer,
            pytest.raises(FetchError, match=r"leads to 127\.0\.0\.2, an address of a private network"),
        ):
            fetch(FILE, f"{outer.url}/a", tmp_path / "a.bin", manner=ONCE)
        assert inner.asked == []  # not a byte was sent
        fetch(FILE, f"{inner.url}/b", tmp_path / "a.bin", manner=ONCE)  # the user may name it


def test_no_credential_is_sent_or_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with serving(a=Served(CONTENT)) as server:
        fetch(FILE, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
        assert {*server.asked[0][1]} == {"Host", "User-Agent", "Accept-Encoding", "Connection"}
    said = refuse_address("https://me:secret@a.test/")
    assert said and "secret" not in said


def test_another_file_than_the_publishers_is_refused(tmp_path: Path) -> None:
    with serving(a=Served(CONTENT[::-1])) as server, pytest.raises(WrongFileError, match="sha256"):
        fetch(FILE, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
    assert list(tmp_path.iterdir()) == []


def test_more_bytes_than_the_publishers_file_has_are_not_written(tmp_path: Path) -> None:
    endless = Served(CONTENT * 1000, chunked=True)
    with serving(a=endless) as server, pytest.raises(WrongFileError, match="over 5000 bytes come"):
        file = RemoteFile("a.bin", size=len(CONTENT), sha256=FILE.sha256)
        fetch(file, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
    assert not (tmp_path / "a.bin.part").exists()


@pytest.mark.parametrize(
    "line",
    [
        "file:///etc/passwd", "http://h/../../etc/x", "http://h/%2e%2e/%2e%2e/x", "http://../x", "http://h/a?b=c",
        "http://h/", "http://me:secret@h/a", "\x1b[2J",
    ],
)  # fmt: skip
def test_a_list_of_addresses_leads_nowhere_else(line: str, tmp_path: Path) -> None:
    with serving(list=Served(f"{line}\n".encode())) as server:
        record = Download("", "", (RemoteFile("list", f"{server.url}/list", listing=True),))
        with pytest.raises(ValueError, match="is no address of a file") as refused:
            list(get(record, tmp_path / "set", manner=ONCE))
        assert len(server.asked) == 1
    assert "\x1b" not in str(refused.value)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["list"]


def test_a_link_where_the_part_is_written_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"")
    (tmp_path / "a.bin.part").symlink_to(tmp_path / "theirs")
    (tmp_path / "a.bin.part.from").write_text(json.dumps({"url": "", "version": ""}))
    with serving(a=Served(CONTENT)) as server, pytest.raises(OSError, match="symbolic links"):
        fetch(FILE, f"{server.url}/a", tmp_path / "a.bin", manner=ONCE)
    assert (tmp_path / "theirs").read_bytes() == b""
