"""What a data set's folder, or a decoder that a recording took over, may reach: no code from there, no secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.decoding import AudioError, Limits, decode
from hares.decoding.process import Decoder, DecoderPool
from hares.task import Reason

GIB = 1 << 30
RATE = 16_000
MODULES = ("soundfile", "numpy", "soxr", "cffi", "_soundfile", "hares", "json", "encodings", "site", "sitecustomize",
           "usercustomize", "resource", "mmap")  # fmt: skip


def sound(path: Path, length: float = 0.5) -> Path:
    soundfile.write(path, 0.3 * np.sin(np.arange(round(length * RATE)) * 0.2), RATE)
    return path


def plant(folder: Path) -> Path:
    """Modules that leave a trace where they are imported, under every name that the decoder imports."""
    trace = folder / "trace"
    for name in MODULES:
        (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'a').write({name!r} + '\\n')\n")
    return trace


@pytest.mark.parametrize("variable", ["", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME_", "PYTHONUSERBASE"])
def test_no_module_of_the_current_folder_runs_in_the_decoder(tmp_path: Path, variable: str) -> None:
    sound(tmp_path / "a.wav")
    program = tmp_path / "elsewhere" / "program.py"
    program.parent.mkdir()
    program.write_text(
        "from hares.decoding import decode\nimport os\n"
        f"os.chdir({str(tmp_path)!r})\nos.environ[{variable or 'NOTHING'!r}] = {str(tmp_path)!r}\n"
        "print(len(decode('a.wav')))\n"
    )
    trace = plant(tmp_path)
    done = subprocess.run([sys.executable, program], capture_output=True, text=True, check=True)
    assert done.stdout == "8000\n"
    assert not trace.exists(), trace.read_text()


def test_the_decoder_runs_the_callers_own_hares_wherever_that_is(tmp_path: Path) -> None:
    """A plain checkout on PYTHONPATH, before whatever is installed."""
    here = Path(__file__).resolve().parents[2]
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    subprocess.run(["cp", "-r", here / "hares", tmp_path / "checkout" / "hares"], check=True)
    worker, trace = checkout / "hares" / "decoding" / "worker.py", tmp_path / "trace"
    worker.write_text(worker.read_text() + f"\nprint(os.getpid(), file=open({str(trace)!r}, 'a'))\n")
    sound(tmp_path / "a.wav")
    program = f"from hares.decoding import decode; print(len(decode({str(tmp_path / 'a.wav')!r})))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "8000\n"
    assert len(set(trace.read_text().split())) == 2  # the caller, which imports it too, and the decoder


def test_a_resource_fork_beside_a_recording_is_not_opened(tmp_path: Path) -> None:
    """libsndfile opens `._NAME` and `.AppleDouble/NAME` beside a file that it does not know."""
    (tmp_path / "a.wav").write_bytes(b"no sound that anyone knows" * 100)
    secret = tmp_path / "outside" / "secret"
    secret.parent.mkdir()
    os.mkfifo(secret)  # who opens it to read waits for ever
    for fork in ("._a.wav", ".AppleDouble/a.wav"):
        (tmp_path / fork).parent.mkdir(exist_ok=True)
        (tmp_path / fork).symlink_to(secret)
    with pytest.raises(AudioError) as caught:
        decode(tmp_path / "a.wav", limits=Limits(seconds=3.0))
    assert caught.value.reason is Reason.UNDECODABLE


def test_links_inside_are_followed_and_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    sound(tmp_path / "real.wav")
    (tmp_path / "link.wav").symlink_to("real.wav")
    assert len(decode(tmp_path / "link.wav")) == 8_000
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "to_pipe.wav").symlink_to("pipe.wav")
    (tmp_path / "null.wav").symlink_to("/dev/null")
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    found = {}
    for name in ("pipe.wav", "to_pipe.wav", "null.wav", "loop.wav"):
        with pytest.raises(AudioError) as caught:
            decode(tmp_path / name)
        found[name] = caught.value.reason
    assert found == {"pipe.wav": Reason.UNDECODABLE, "to_pipe.wav": Reason.UNDECODABLE,
                     "null.wav": Reason.UNDECODABLE, "loop.wav": Reason.ABSENT}  # fmt: skip


TAKEN_OVER = """
import os, socket, subprocess, sys
from hares.decoding import worker

def decode_here(path, start, duration, limits):
    found = []
    for name in ("environ", "mem", "maps"):
        try:
            with open(f"/proc/{os.getppid()}/{name}", "rb") as file:
                file.read(1)
            found.append(name)
        except OSError:
            pass
    try:
        socket.create_connection(("127.0.0.1", int(os.path.basename(path))), timeout=1).close()
        found.append("network")
    except OSError:
        pass
    child = subprocess.run(["cat", f"/proc/{os.getppid()}/environ"], capture_output=True)
    if child.returncode == 0:
        found.append("environ by a program")
    if os.read(0, 1):
        found.append("requests")
    from hares.decoding.limits import AudioError
    from hares.task import Reason
    raise AudioError(Reason.UNDECODABLE, " ".join(["reached", *found]))

worker.decode_here = decode_here
worker.main(int(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces and capabilities are Linux's")
def test_a_decoder_that_is_taken_over_reads_no_memory_of_its_caller_and_has_no_network(
    tmp_path: Path,
) -> None:
    import socket

    can = subprocess.run(
        [sys.executable, "-c", "import ctypes, os; raise SystemExit(-ctypes.CDLL(None).unshare("
         "0x40000000 if os.geteuid() == 0 else 0x50000000))"]
    )  # fmt: skip
    if can.returncode:
        pytest.skip("this system lets nobody make a namespace")
    program = tmp_path / "taken_over.py"
    program.write_text(TAKEN_OVER)
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = tmp_path / str(server.getsockname()[1])
        decoders = DecoderPool(GIB, (sys.executable, str(program)))
        with pytest.raises(AudioError) as caught:
            decoders.ask({"path": str(path), "start": 0.0, "duration": None}, Limits())
        decoders.close()
    assert str(caught.value) == "reached"


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


@pytest.fixture
def real_ffmpeg() -> None:
    if subprocess.run(["sh", "-c", "command -v ffmpeg"], capture_output=True).returncode:
        pytest.skip("no ffmpeg on the PATH")


@pytest.mark.parametrize("codec", ["ffv1", "mjpeg", "mpeg4"])
def test_ffmpeg_decodes_no_picture(tmp_path: Path, real_ffmpeg: None, codec: str) -> None:
    """The sound of a video is read; the codec of its picture is not even opened to look at it."""
    sound(tmp_path / "a.wav", 1.0)
    video = tmp_path / "a.mkv"
    ffmpeg("-f", "lavfi", "-i", "testsrc=size=64x64:rate=5:duration=1", "-i", tmp_path / "a.wav", "-c:v", codec,
           "-c:a", "flac", video)  # fmt: skip
    assert len(decode(video)) == RATE
    alone = tmp_path / "b.mkv"
    ffmpeg("-i", video, "-an", "-c:v", "copy", alone)
    with pytest.raises(AudioError) as caught:
        decode(alone)
    assert caught.value.reason is Reason.UNDECODABLE


def test_ffmpeg_is_started_with_whitelists_and_without_the_request_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    said = tmp_path / "said"
    (programs / "ffmpeg").write_text(
        f'#!/bin/sh\necho "$@" > {said}\nls -l /proc/$$/fd >> {said}\necho nothing >&2\nexit 1\n'
    )
    (programs / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    decoder = Decoder(GIB)
    (tmp_path / "a.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    decoder.send({"path": str(tmp_path / "a.m4a"), "start": 0.0, "duration": None}, Limits())
    assert decoder.receive(Limits())[0]["reason"] is Reason.UNDECODABLE
    decoder.stop()
    command, *descriptors = said.read_text().splitlines()
    for option in (
        "-protocol_whitelist file",
        "-format_whitelist mov,",
        "-codec_whitelist aac,",
        "-nostdin",
        "-vn",
    ):
        assert option in command
    inherited = [line.split()[-3:] for line in descriptors if "->" in line]
    kinds = {number: target for number, _, target in inherited}
    assert kinds["0"] == "/dev/null"
    # stdout and stderr are its own pipes; beside them only the recording (and the script that sh reads).
    assert sum("pipe:" in target for target in kinds.values()) == 2
    assert str(tmp_path / "a.m4a") in kinds.values()
