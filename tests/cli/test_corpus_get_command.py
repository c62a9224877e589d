"""`hares corpus get`, as a person runs it: a mirror on loopback, Ctrl-C, a full disk, and what it says and returns."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz.fuzz_layouts import make_layouts
from hares.corpus import check_corpus
from hares.task import task_names
from kits.download_server import Served, Server, serving

PROJECT = Path(__file__).resolve().parents[2]
ARCHIVE = "ESC-50-master.zip"


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cli.main", "corpus", "get", *arguments]
    return subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(*arguments: str) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture(scope="module")
def esc50(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """ESC-50's archive as its repository gives it, of made clips."""
    root = tmp_path_factory.mktemp("made")
    make_layouts(root)
    with zipfile.ZipFile(root / ARCHIVE, "w") as file:
        for path in sorted((root / "esc50").rglob("*")):
            file.write(path, f"ESC-50-master/{path.relative_to(root / 'esc50').as_posix()}")
    return (root / ARCHIVE).read_bytes()


@pytest.fixture
def mirror(esc50: bytes) -> Iterator[Server]:
    with serving() as server:
        server.files[f"/esc50/{ARCHIVE}"] = Served(esc50)
        yield server


def test_from_nothing_to_a_corpus_that_is_read(mirror: Server, esc50: bytes, tmp_path: Path) -> None:
    mirror.files[f"/esc50/{ARCHIVE}"].cuts = [len(esc50) // 2]
    corpus = tmp_path / "new" / "corpora"
    code, out, err = run("esc50", "--to", str(corpus), "--mirror", mirror.url)
    assert (code, err) == (0, "")
    for said in ("CC-BY-NC-3.0", "https://github.com/karolpiczak/ESC-50", "fetched", "all is there"):
        assert said in out
    assert mirror.ranges() == ["", f"bytes={len(esc50) // 2}-"]
    (check,) = check_corpus(corpus, tasks=("esc50",))
    assert check.clips and not check.error and not check.rejected
    code, out, _ = run("esc50", "--to", str(corpus), "--mirror", mirror.url)
    assert code == 0 and "there already" in out and len(mirror.asked) == 2


def test_ctrl_c_and_the_same_command_goes_on(mirror: Server, esc50: bytes, tmp_path: Path) -> None:
    served = mirror.files[f"/esc50/{ARCHIVE}"]
    served.cuts, served.stall = [len(esc50) // 2], 60.0
    process = start("esc50", "--to", str(tmp_path), "--mirror", mirror.url)
    part = tmp_path / "esc50" / f"{ARCHIVE}.part"
    until = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size == len(esc50) // 2):
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 6 and "the same command goes on where it stopped" in err
    code, _, err = run("esc50", "--to", str(tmp_path), "--mirror", mirror.url)
    assert (code, err) == (0, "")
    assert mirror.ranges() == ["", f"bytes={len(esc50) // 2}-"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here, which takes root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.parametrize("said", [True, False], ids=["length known", "length not known"])
def test_a_full_disk_and_the_same_command_goes_on(
    said: bool, mirror: Server, esc50: bytes, small_disk: Path
) -> None:
    assert len(esc50) > 65_536
    mirror.files[f"/esc50/{ARCHIVE}"].chunked = not said
    code, _, err = run("esc50", "--to", str(small_disk), "--mirror", mirror.url, "--keep-packed")
    assert code == 5 and f"{ARCHIVE}.part" in err and "the same command goes on once that is mended" in err
    assert ("are free" if said else "No space left on device") in err
    subprocess.run(["mount", "-o", f"remount,size={4 * len(esc50)}", small_disk], check=True)
    code, _, err = run("esc50", "--to", str(small_disk), "--mirror", mirror.url, "--keep-packed")
    assert (code, err) == (0, "")
    assert (small_disk / "esc50" / ARCHIVE).read_bytes() == esc50
    if not said:
        assert mirror.ranges()[1].startswith("bytes=")


def test_what_is_done_by_hand_is_said_and_left_undone(tmp_path: Path) -> None:
    code, out, err = run("fluent_speech_commands", "magnatagatune", "--to", str(tmp_path))
    assert code == 4
    for said in ("accept the licence on the home page", "annotations_final.csv", "mp3.zip.001"):
        assert said in out and said in err


def test_steps_alone_for_all_twelve_need_no_folder_and_no_network() -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert out.count("  licence:") == out.count("  home:") == out.count("  size:") == len(task_names()) - 1


def test_a_mirror_that_lacks_the_file_or_has_another(mirror: Server, tmp_path: Path) -> None:
    mirror.files["/speech_commands_v2/speech_commands_v0.02.tar.gz"] = Served(b"not the words")
    code, _, err = run("speech_commands_v2", "voxforge", "--to", str(tmp_path), "--mirror", mirror.url)
    assert code == 4
    assert "has 13 bytes, and the publisher's has 2428923189" in err
    assert f"{mirror.url}/voxforge/voxforge_urls.txt: the server has no such file (404)" in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("esc50", "--to", "{}", "--mirror", "https://me:secret@h/"), 3, "a user name or password"),
        (("esc50", "--to", "{}", "--mirror", "/data/mirror"), 3, "begins with http:// or https://"),
        (("esc51", "--to", "{}"), 3, "unknown task 'esc51'; there are audioset"),
        (("--to", "{}"), 3, "name the tasks whose data to fetch"),
        (("esc50", "--to", "{}/file"), 3, "Not a directory"),
    ],
)
def test_settings_that_are_wrong(arguments: tuple[str, ...], code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found, _, err = run(*(part.format(tmp_path) for part in arguments))
    assert (found, said in err, "secret" in err) == (code, True, False), err


def test_two_at_once_do_not_write_one_file(mirror: Server, esc50: bytes, tmp_path: Path) -> None:
    served = mirror.files[f"/esc50/{ARCHIVE}"]
    served.cuts, served.stall = [1000], 60.0
    first = start("esc50", "--to", str(tmp_path), "--mirror", mirror.url)
    until = time.monotonic() + 30
    while not mirror.asked:
        assert time.monotonic() < until and first.poll() is None
        time.sleep(0.02)
    code, _, err = run("esc50", "--to", str(tmp_path), "--mirror", mirror.url)
    assert code == 10 and f"{os.fspath(tmp_path)} is in use by process {first.pid}" in err
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=30)
    assert first.returncode == 6
