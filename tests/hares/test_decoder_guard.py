"""The decoder's process: its death, its silence and its hunger cost one file, which is named; bombs do not go off."""

from __future__ import annotations

import gc
import io
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.options import LONGEST_CLIP
from hares.decoding import AudioError, Limits, MachineError, decode, decode_each, seconds
from hares.decoding.process import Decoder, DecoderPool, pool
from hares.decoding.waveform import _mono
from hares.task import Reason

pytestmark = pytest.mark.slow

DEADLY = (sys.executable, str(Path(__file__).parents[1] / "kits/deadly_decoder.py"))
GIB = 1 << 30
PROJECT = Path(__file__).resolve().parents[2]


def sound(path: Path, length: float = 0.5, rate: int = 16_000) -> Path:
    soundfile.write(path, 0.3 * np.sin(np.arange(round(length * rate)) * 0.2), rate)
    return path


def request(path: Path) -> dict[str, object]:
    return {"path": str(path), "start": 0.0, "duration": None}


def refused(path: Path, limits: Limits | None = None) -> AudioError:
    with pytest.raises(AudioError) as caught:
        decode(path, limits=limits or Limits())
    return caught.value


@pytest.fixture(scope="module")
def deadly() -> Iterator[DecoderPool]:
    decoders = DecoderPool(GIB, DEADLY)
    yield decoders
    decoders.close()


def wav(rate: int = 16_000, channels: int = 1, promised: int | None = None) -> bytes:
    """A WAV of a second whose header says what it is told to."""
    data = bytes(32_000)
    size = len(data) if promised is None else promised
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, 0, 2 * channels % 65_536, 16)
    return (
        b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + form
        + b"data" + struct.pack("<I", size) + data
    )  # fmt: skip


def silent_flac(path: Path, length: float, rate: int = 16_000) -> Path:
    soundfile.write(path, np.zeros(round(length * rate), np.int16), rate)
    return path


@pytest.mark.parametrize("name", ["segfault.wav", "hang.wav", "spin.wav", "raise.wav"])
def test_what_a_file_does_to_the_decoder_costs_that_file_alone(
    deadly: DecoderPool, tmp_path: Path, name: str
) -> None:
    files = [sound(tmp_path / "before.wav"), sound(tmp_path / name), sound(tmp_path / "after.wav")]
    # A second for a process to start in is not counted; half a second for a file that takes milliseconds is ample.
    answers = list(deadly.ask_each(map(request, files), Limits(seconds=2.0)))
    assert [isinstance(answer, AudioError) for answer in answers] == [False, True, False]
    for answer in (answers[0], answers[2]):
        np.testing.assert_array_equal(answer[1], decode(files[0]))
    error = answers[1]
    if name in ("hang.wav", "spin.wav"):
        assert (error.reason, "over 2 s" in str(error)) == (Reason.TOO_SLOW, True)
    else:
        assert error.reason is Reason.DECODER_DIED
        assert {"segfault.wav": "SIGSEGV", "raise.wav": "OverflowError: of a library"}[name] in str(error)


def test_a_process_killed_for_anothers_sake_costs_nothing(deadly: DecoderPool, tmp_path: Path) -> None:
    path = sound(tmp_path / "once.wav")
    assert len(deadly.ask(request(path), Limits())[1]) == 8_000
    assert (tmp_path / "once.wav.died").exists()


def test_a_library_that_prints_does_not_forge_an_answer(deadly: DecoderPool, tmp_path: Path) -> None:
    assert len(deadly.ask(request(sound(tmp_path / "print.wav")), Limits())[1]) == 8_000


def test_an_idle_process_that_was_killed_is_replaced(tmp_path: Path) -> None:
    decoders = DecoderPool(GIB)
    path = sound(tmp_path / "a.wav")
    decoders.ask(request(path), Limits())
    (first,) = decoders.idle()
    os.kill(first.pid, signal.SIGKILL)
    assert len(decoders.ask(request(path), Limits())[1]) == 8_000
    assert [decoder.pid for decoder in decoders.idle()] != [first.pid]
    decoders.close()


def test_a_generator_left_to_the_garbage_collector_returns_no_closed_decoder(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav")
    decoders = DecoderPool(GIB)
    answers = decoders.ask_each([request(path)], Limits())
    next(answers)
    cycle = [answers]
    cycle.append(cycle)  # type: ignore[arg-type]
    del answers, cycle
    gc.collect()
    assert len(decoders.ask(request(path), Limits())[1]) == 8_000
    decoders.close()


def test_a_stopped_process_is_a_hang(tmp_path: Path) -> None:
    decoders = DecoderPool(GIB)
    path = sound(tmp_path / "a.wav")
    decoders.ask(request(path), Limits())
    os.kill(decoders.idle()[0].pid, signal.SIGSTOP)
    with pytest.raises(AudioError, match=r"over 0\.5 s"):
        decoders.ask(request(path), Limits(seconds=0.5))
    assert len(decoders.ask(request(path), Limits())[1]) == 8_000
    decoders.close()


def test_one_process_serves_file_after_file_and_threads_have_their_own(tmp_path: Path) -> None:
    decoders = DecoderPool(GIB)
    files = [sound(tmp_path / f"{number}.wav", 0.1 * (number + 1)) for number in range(6)]
    lengths = [len(answer[1]) for answer in decoders.ask_each(map(request, files), Limits())]
    assert lengths == [1_600 * (number + 1) for number in range(6)]
    assert len(decoders.idle()) == 1
    found: dict[int, int] = {}

    def work(number: int) -> None:
        found[number] = len(decoders.ask(request(files[number]), Limits())[1])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(6)] == lengths
    assert 1 <= len(decoders.idle()) <= 6
    decoders.close()


def test_a_reader_that_stops_half_way_leaves_no_answer_for_the_next(tmp_path: Path) -> None:
    files = [sound(tmp_path / f"{number}.wav", 0.1 * (number + 1)) for number in range(3)]
    answers = decode_each((path, 0.0, None) for path in files)
    next(answers)
    answers.close()
    assert len(decode(files[2])) == 4_800


def test_a_part_and_a_refusal_among_others(tmp_path: Path) -> None:
    path, text = sound(tmp_path / "a.wav", 2.0), tmp_path / "b.wav"
    text.write_text("not sound")
    whole, refusal, part = decode_each([(path, 0.0, None), (text, 0.0, None), (path, 0.5, 1.0)])
    assert isinstance(refusal, AudioError) and refusal.reason is Reason.UNDECODABLE
    np.testing.assert_array_equal(part, whole[8_000:24_000])


def test_memory(tmp_path: Path) -> None:
    path = silent_flac(tmp_path / "long.flac", 1_200.0)
    small = Limits(memory_bytes=150 << 20)
    error = refused(path, small)
    assert (error.reason, "over 0.146 GiB" in str(error)) == (Reason.TOO_LARGE, True)
    assert len(decode(sound(tmp_path / "a.wav"), limits=small)) == 8_000
    assert len(decode(path, limits=Limits(seconds=60))) == 1_200 * 16_000
    pool(small.memory_bytes).close()


def test_a_small_flac_that_is_hours_long(tmp_path: Path) -> None:
    path = silent_flac(tmp_path / "bomb.flac", 3 * 3_600, 2_000)
    assert path.stat().st_size < 200_000
    with pytest.raises(AudioError) as by_header:
        seconds(path)
    for error in (refused(path), by_header.value):
        assert (error.reason, "claims 3.0 hours" in str(error)) == (Reason.TOO_LONG, True)
    assert len(decode(path, 5_000.0, 1.0)) == 16_000  # a part of it is as long as it says
    hour = decode(silent_flac(path, 3_600, 2_000), limits=Limits(seconds=60))
    assert len(hour) == 3_600 * 16_000


@pytest.mark.parametrize("suffix", [".mp3", ".ogg"])
def test_a_small_lossy_file_that_is_longer_than_the_longest(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bomb{suffix}"
    soundfile.write(path, np.zeros(70 * 8_000, np.float32), 8_000)
    error = refused(path, Limits(longest=60.0))
    assert (error.reason, "seconds" in str(error)) == (Reason.TOO_LONG, True)


def test_a_flac_whose_header_claims_two_to_the_31_samples(tmp_path: Path) -> None:
    path = silent_flac(tmp_path / "a.flac", 1.0)
    flac = bytearray(path.read_bytes())
    flac[8 + 14 : 8 + 18] = struct.pack(">I", 1 << 31)
    path.write_bytes(flac)
    error = refused(path)
    assert (error.reason, "claims 37.3 hours" in str(error)) == (Reason.TOO_LONG, True)


@pytest.mark.parametrize("promised", [0x7FFFE000, 0x80000100, 0xFFFFE000])
def test_a_wav_whose_header_claims_gigabytes(tmp_path: Path, promised: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(promised=promised))
    error = refused(path)
    assert (error.reason, f"promises {promised} bytes" in str(error)) == (Reason.TRUNCATED, True)


def test_an_mp3_whose_header_claims_hours(tmp_path: Path) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000), 16_000, format="MP3")
    mp3 = bytearray(file.getvalue())
    at = next(mp3.find(mark) for mark in (b"Xing", b"Info") if mark in mp3)
    mp3[at + 8 : at + 12] = struct.pack(">I", 1_000_000)
    path = tmp_path / "a.mp3"
    path.write_bytes(mp3)
    error = refused(path)
    assert (error.reason, "promises 1000000 MP3 frames" in str(error)) == (Reason.TRUNCATED, True)


@pytest.mark.parametrize("rate", [0, 1, 1_999, 768_001, 4_000_000_000, 0xFFFFFFFF])
def test_a_rate_that_no_recording_has(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(rate=rate))
    error = refused(path)
    assert (error.reason, f"rate of {rate} Hz" in str(error)) == (Reason.BAD_HEADER, True)


@pytest.mark.parametrize("channels", [0, 65, 255, 65_535])
def test_channels_that_no_recording_has(tmp_path: Path, channels: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(channels=channels))
    error = refused(path)
    assert (error.reason, f"{channels} channels" in str(error)) == (Reason.BAD_HEADER, True)


def test_names_that_no_file_has(tmp_path: Path) -> None:
    for name in ("x" * 5_000 + ".wav", "x" * 300 + ".wav", "a\0b.wav", "half \ud800 a pair.wav", "\n.wav"):
        assert refused(tmp_path / name).reason is Reason.ABSENT
        with pytest.raises(AudioError):
            seconds(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.wav")
    error = refused(tmp_path / "a.wav")
    assert (error.reason, "pipe" in str(error)) == (Reason.UNDECODABLE, True)


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True)


@pytest.fixture
def real_ffmpeg() -> None:
    if subprocess.run(["sh", "-c", "command -v ffmpeg"], capture_output=True).returncode:
        pytest.skip("no ffmpeg on the PATH")


def test_m4a_and_webm_through_the_real_ffmpeg(tmp_path: Path, real_ffmpeg: None) -> None:
    sound(tmp_path / "a.wav", 1.0)
    for name in ("a.m4a", "a.webm"):
        ffmpeg("-i", tmp_path / "a.wav", tmp_path / name)
        assert len(decode(tmp_path / name)) == pytest.approx(16_000, abs=2_048)
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "70", tmp_path / "long.m4a")
    assert refused(tmp_path / "long.m4a", Limits(longest=60.0)).reason is Reason.TOO_LONG


@pytest.mark.parametrize(
    "text", ["ffconcat version 1.0\nfile outside.wav\n", "#EXTM3U\n#EXTINF:1,\noutside.wav\n#EXT-X-ENDLIST\n"]
)
def test_ffmpeg_follows_no_play_list(tmp_path: Path, real_ffmpeg: None, text: str) -> None:
    sound(tmp_path / "outside.wav")
    path = tmp_path / "list.m4a"
    path.write_text(text)
    if text.startswith("ffconcat"):
        ffmpeg("-i", path, tmp_path / "followed.wav")  # what it does where nobody forbids it
    error = refused(path)
    assert (error.reason, "ffmpeg cannot decode" in str(error)) == (Reason.UNDECODABLE, True)


def test_the_decoder_knows_no_secrets_and_no_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARES_SECRET", "s")
    decoder = Decoder(GIB)
    environment = Path(f"/proc/{decoder.pid}/environ").read_bytes()
    libraries = Path(f"/proc/{decoder.pid}/maps").read_text()
    decoder.stop()
    assert b"HARES_SECRET" not in environment and b"PATH=" in environment
    assert "tensorflow" not in libraries and "sndfile" in libraries


def test_a_decoder_that_does_not_start_says_why() -> None:
    with pytest.raises(MachineError, match="No module named 'nothing_of_this_name'"):
        Decoder(GIB, (sys.executable, "-c", "import nothing_of_this_name"))


CALLER = """
import os, sys, time
from hares.decoding.process import pool
from hares.decoding import decode
print(len(decode(sys.argv[1])), pool(1 << 30).idle()[0].pid, flush=True)
child = os.fork()
if child == 0:
    print(len(decode(sys.argv[1])), flush=True)
    sys.exit(0)
os.waitpid(child, 0)
print(len(decode(sys.argv[1])), flush=True)
time.sleep(600)
"""


def test_a_fork_has_its_own_and_an_orphan_ends(tmp_path: Path) -> None:
    path = sound(tmp_path / "a.wav")
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(path)], stdout=subprocess.PIPE, text=True, cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert caller.stdout is not None
    length, pid = caller.stdout.readline().split()
    assert [length, caller.stdout.readline(), caller.stdout.readline()] == ["8000", "8000\n", "8000\n"]
    caller.kill()
    caller.wait()
    caller.stdout.close()
    end = time.monotonic() + 60
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < end, "the decoder outlived its caller"
        time.sleep(0.05)


@pytest.mark.parametrize("channels", [1, 2, 3, 9])
def test_channels_are_averaged_as_numpy_does(channels: int) -> None:
    frames = np.random.default_rng(channels).uniform(-1, 1, (1_001, channels)).astype(np.float32)
    # Numpy adds nine and more in another order; a 16-bit step is 3e-5.
    np.testing.assert_allclose(_mono(frames), frames.mean(axis=1), rtol=0, atol=1e-7)


@pytest.mark.parametrize("channels", [1, 2, 3, 64])
def test_channels_of_int16_are_averaged_as_those_of_float_to_the_last_bit(channels: int) -> None:
    frames = np.random.default_rng(channels).integers(-32_768, 32_768, (1_001, channels)).astype(np.int16)
    frames[0] = -32_768  # the lowest sum there is
    before = frames.copy()
    mono = _mono(frames)
    assert mono.dtype == np.float32
    np.testing.assert_array_equal(mono, _mono(frames.astype(np.float32) / np.float32(32_768)))
    np.testing.assert_array_equal(frames, before)


def test_settings() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Limits(seconds=0)
    function = LONGEST_CLIP(lambda: None)
    assert function.__click_params__[0].default == Limits().longest
