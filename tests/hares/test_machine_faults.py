"""A fault of the machine ends the work with one sentence and rejects no recording; once it is gone nothing stays."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.corpus import check_corpus
from hares.decoding import AudioError, Limits, MachineError, decode, file_bytes
from hares.decoding.process import DecoderPool
from hares.decoding.waveform import decode_here
from hares.ingest import Entry, ShardSummary, list_entries, read_shard, rejected_line, still_refused
from hares.machine import is_of_the_machine, machine_error
from hares.task import UNSETTLED, Reason, Rejected

GIB = 1 << 30
RATE = 16_000
DEADLY = (sys.executable, str(Path(__file__).parents[1] / "kits/deadly_decoder.py"))
NUMBERS = (
    "EACCES",
    "EPERM",
    "EIO",
    "ESTALE",
    "EMFILE",
    "ENFILE",
    "ENOMEM",
    "EROFS",
    "ENOSPC",
    "EDQUOT",
    "ETXTBSY",
)
M4A = b"\0\0\0\x20ftypM4A " + bytes(100)


def sound(path: Path, length: float = 0.5) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.sin(np.arange(round(length * RATE)) * 0.2), RATE)
    return path


def here(path: Path) -> np.ndarray:
    return decode_here(path, 0.0, None, Limits())


def request(path: Path) -> dict[str, object]:
    return {"path": str(path), "start": 0.0, "duration": None}


@pytest.mark.parametrize("name", NUMBERS)
def test_a_file_that_the_system_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = sound(tmp_path / "a.wav")
    number = getattr(errno, name)

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("hares.decoding.waveform.os.open", refuse)
        with pytest.raises(MachineError) as caught:
            here(path)
    assert caught.value.errno == number
    assert str(path) in str(caught.value) and os.strerror(number) in str(caught.value)
    assert len(here(path)) == 8_000


@pytest.mark.parametrize("name", ["EIO", "ESTALE"])
@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_disk_that_fails_after_the_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    """Where a library takes an error for the file's end, the file would be "truncated"."""
    path = tmp_path / "a.bin"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE), RATE, format=form)
    number, reads = getattr(errno, name), os.pread

    def fails_later(descriptor: int, count: int, position: int) -> bytes:
        if position + count > path.stat().st_size // 2:
            raise OSError(number, os.strerror(number))
        return reads(descriptor, count, position)

    part = file_bytes.Part(0, path.stat().st_size)
    monkeypatch.setattr("hares.decoding.waveform.examine", lambda _: file_bytes.Container(parts=(part,)))
    with monkeypatch.context() as patched:
        patched.setattr("hares.decoding.file_bytes.os.pread", fails_later)
        with pytest.raises(MachineError) as caught:
            here(path)
    assert caught.value.errno == number and str(path) in str(caught.value)
    assert len(here(path)) == pytest.approx(10 * RATE, abs=0.1 * RATE)


def test_a_file_that_one_may_not_read_is_named_by_the_check_and_ends_all_else(tmp_path: Path) -> None:
    """Root may read everything: then the file is another's, and the program gives up that right."""
    folder = tmp_path / "tut18"
    lines = ["filename\tscene_label\tidentifier\tsource_label"]
    for number in range(4):
        sound(folder / f"audio/bus-paris-{number}-{number}-a.wav")
        lines.append(f"audio/bus-paris-{number}-{number}-a.wav\tbus\tparis-{number}\ta")
    (folder / "meta.csv").write_text("\n".join(lines) + "\n")
    closed = folder / "audio/bus-paris-2-2-a.wav"
    closed.chmod(0)
    if os.geteuid() == 0:
        os.chown(closed, 65_534, 65_534)
    program = (
        "import ctypes, struct; libc = ctypes.CDLL(None); libc.prctl(38, 1, 0, 0, 0)\n"
        "libc.capset(struct.pack('<II', 0x20080522, 0), bytes(24))\n"
        "import json, sys; from pathlib import Path; from hares.corpus import check_corpus\n"
        "from hares.decoding import decode, MachineError\n"
        "(check,) = check_corpus(Path(sys.argv[1]), tasks=['tut18'])\n"
        "try:\n    decode(sys.argv[2])\nexcept MachineError as error:\n    said = str(error)\n"
        "print(json.dumps([check.clips, check.rejected, said]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path), str(closed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    clips, rejected, said = json.loads(done.stdout)
    assert (clips, rejected) == (3, {"unreadable": 1})
    assert str(closed) in said and "Permission denied" in said


@pytest.fixture
def ffmpeg_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a program in ffmpeg's place that does what it is told, and gives a file that needs it."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))

    def make(script: str) -> Path:
        (programs / "ffmpeg").write_text(script)
        (programs / "ffmpeg").chmod(0o755)
        (tmp_path / "a.m4a").write_bytes(M4A)
        return tmp_path / "a.m4a"

    return make


@pytest.mark.parametrize(
    "script",
    [
        "#!/bin/sh\necho 'av_interleaved_write_frame(): No space left on device' >&2\nexit 1\n",
        "#!/bin/sh\necho '/dev/fd/9: Too many open files' >&2\nexit 1\n",
        "#!/bin/sh\nkill -9 $$\n",
        "#!/bin/sh\nkill -15 $$\n",
        "#!/bin/sh\necho 'ffmpeg: error while loading shared libraries: libx.so.1: cannot open' >&2\nexit 127\n",
        "#!/no/such/interpreter\n",
        "\x7fELF is not all it takes\n",
    ],
    ids=["no room", "no descriptors", "killed", "terminated", "no library", "no interpreter", "no program"],
)
def test_ffmpeg_that_cannot_work(ffmpeg_that: Callable[[str], Path], script: str) -> None:
    path = ffmpeg_that(script)
    with pytest.raises(MachineError) as caught:
        here(path)
    assert str(path) in str(caught.value) and "ffmpeg" in str(caught.value)


def test_ffmpeg_that_is_being_written(ffmpeg_that: Callable[[str], Path], tmp_path: Path) -> None:
    path = ffmpeg_that("#!/bin/sh\nexit 1\n")
    with open(tmp_path / "programs" / "ffmpeg", "a"), pytest.raises(MachineError) as caught:
        here(path)
    assert caught.value.errno == errno.ETXTBSY


def test_ffmpeg_that_crashes_on_a_file_is_the_files_doing(ffmpeg_that: Callable[[str], Path]) -> None:
    for script, reason in (
        ("#!/bin/sh\nkill -SEGV $$\n", Reason.DECODER_DIED),
        ("#!/bin/sh\necho 'Invalid data found when processing input' >&2\nexit 1\n", Reason.UNDECODABLE),
        ("#!/bin/sh\nexit 0\n", Reason.UNDECODABLE),
    ):
        with pytest.raises(AudioError) as caught:
            here(ffmpeg_that(script))
        assert caught.value.reason is reason


@pytest.fixture
def real_ffmpeg() -> None:
    if subprocess.run(["sh", "-c", "command -v ffmpeg"], capture_output=True).returncode:
        pytest.skip("no ffmpeg on the PATH")


def test_no_temporary_file_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_ffmpeg: None
) -> None:
    sound(tmp_path / "a.wav", 2.0)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / "a.m4a"], check=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "full"))
    decoders = DecoderPool(GIB)
    assert len(decoders.ask(request(tmp_path / "a.m4a"), Limits())[1]) >= 2 * RATE
    decoders.close()


def test_a_decoder_without_descriptors(tmp_path: Path, real_ffmpeg: None) -> None:
    """ulimit -n: the recording itself can be opened, and the pipes to ffmpeg cannot."""
    sound(tmp_path / "a.wav", 2.0)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "a.wav", tmp_path / "a.m4a"], check=True)
    from hares.decoding.process import _COMMAND

    decoders = DecoderPool(GIB, ("sh", "-c", 'ulimit -n 8; exec "$@"', "sh", *_COMMAND))
    try:
        with pytest.raises(MachineError) as caught:
            decoders.ask(request(tmp_path / "a.m4a"), Limits())
    finally:
        decoders.close()
    assert caught.value.errno == errno.EMFILE


@pytest.mark.parametrize("name", ["killed.wav", "terminated.wav"])
def test_a_decoder_that_is_always_killed_from_outside_blames_no_file(tmp_path: Path, name: str) -> None:
    decoders = DecoderPool(GIB, DEADLY)
    files = [sound(tmp_path / "before.wav"), sound(tmp_path / name), sound(tmp_path / "after.wav")]
    answers = decoders.ask_each(map(request, files), Limits())
    assert len(next(answers)[1]) == 8_000  # type: ignore[index]
    with pytest.raises(MachineError, match=name) as caught:
        next(answers)
    assert {"killed.wav": "SIGKILL", "terminated.wav": "SIGTERM"}[name] in str(caught.value)
    assert len(decoders.ask(request(files[2]), Limits())[1]) == 8_000
    decoders.close()


@pytest.mark.parametrize(
    "command", [("/no/such/python",), (sys.executable, "-c", "raise SystemExit('no numpy here')")]
)
def test_a_decoder_that_cannot_be_started(tmp_path: Path, command: tuple[str, ...]) -> None:
    decoders = DecoderPool(GIB, command)
    with pytest.raises(MachineError, match="decoding process"):
        decoders.ask(request(sound(tmp_path / "a.wav")), Limits())
    with pytest.raises(MachineError):
        list(decoders.ask_each([request(tmp_path / "a.wav")], Limits()))


def test_memory_that_the_machine_lacks_is_not_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hares.decoding import worker

    def exhausted(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr(worker, "decode_here", exhausted)
    asked = {"path": str(tmp_path / "a.wav"), "start": 0.0, "duration": None}
    monkeypatch.setattr(worker, "_memory_is_there", lambda: True)
    assert worker._answer(asked, Limits())[0]["reason"] == "too_large"
    monkeypatch.setattr(worker, "_memory_is_there", lambda: False)
    assert worker._answer(asked, Limits())[0]["errno"] == errno.ENOMEM


def test_the_error_survives_the_way_between_processes_and_is_told_from_a_files() -> None:
    error = pickle.loads(pickle.dumps(machine_error(OSError(errno.ENOSPC, "x"), "a.wav cannot be read")))
    assert isinstance(error, MachineError) and error.errno == errno.ENOSPC and "a.wav" in str(error)
    for number in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
        assert not is_of_the_machine(OSError(number, ""))


def esc50(root: Path, clips: int = 5) -> Path:
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for number in range(clips):
        sound(root / f"audio/{number}.wav")
        rows.append(f"{number}.wav,1,0,dog,False,{number},A")
    (root / "meta").mkdir()
    (root / "meta/esc50.csv").write_text("\n".join(rows) + "\n")
    return root


def entries_of(root: Path) -> Iterator[Entry]:
    return (item for item in list_entries({"esc50": str(root)}, ["fold1"]) if isinstance(item, Entry))


def test_a_fault_ends_a_shard_and_rejects_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = esc50(tmp_path)
    summary = ShardSummary("fold1", 0)

    def faulty(parts: object, limits: Limits) -> Iterator[np.ndarray]:
        yield decode(root / "audio/0.wav")
        raise machine_error(OSError(errno.EIO, "x"), "audio/1.wav cannot be read")

    monkeypatch.setattr("hares.ingest.decode_each", faulty)
    with pytest.raises(MachineError):
        list(read_shard(entries_of(root), {"esc50": str(root)}, summary))
    assert summary.rejected == [] and not summary.digest


@pytest.mark.parametrize("reason", sorted(UNSETTLED))
def test_what_the_machine_had_a_part_in_is_tried_again(tmp_path: Path, reason: Reason) -> None:
    root, sources = esc50(tmp_path), {"esc50": str(tmp_path)}
    refused = rejected_line(Rejected("audio/3.wav", reason, "it was so then", "fold1"))
    for_good = rejected_line(Rejected("audio/2.wav", Reason.UNDECODABLE, "no sound", "fold1"))
    assert not still_refused([for_good, refused], entries_of(root), sources)
    assert still_refused([for_good], entries_of(root), sources)
    # The same refusal again: the kept result is as good as another.
    (root / "audio/3.wav").write_bytes(M4A)
    if reason is Reason.NEEDS_FFMPEG:
        before = os.environ["PATH"]
        os.environ["PATH"] = ""
        try:
            _close_decoders()
            assert still_refused([refused], entries_of(root), sources)
        finally:
            os.environ["PATH"] = before
            _close_decoders()


def _close_decoders() -> None:
    from hares.decoding.process import pool

    pool(Limits().memory_bytes).close()


def test_an_index_that_one_may_not_read_ends_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, opened = esc50(tmp_path), Path.open

    def refuse(path: Path, *arguments: object, **named: object) -> object:
        if str(path).endswith("esc50.csv"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return opened(path, *arguments, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(MachineError, match=r"esc50\.csv"):
        list(entries_of(root))
    (check,) = check_corpus(None, {"esc50": root}, ["esc50"])
    assert check.error is not None and "Permission denied" in check.error


def test_the_signals_that_are_a_programs_own() -> None:
    from hares.decoding.process import _CRASHES

    assert not {"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT"} & _CRASHES
    assert all(getattr(signal, name) for name in _CRASHES)
