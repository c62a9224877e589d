"""What a container promises, for containers that soundfile does not write."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.decoding.containers import missing_end

RATE = 16_000


@pytest.fixture
def noise() -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.5, 0.5, 2 * RATE).astype(np.float32)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_wav_from_a_pipe_has_no_length_and_is_whole(tmp_path: Path, noise: np.ndarray, size: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, RATE)
    wav = bytearray(path.read_bytes())
    at = wav.index(b"data")
    wav[at + 4 : at + 8] = struct.pack("<I", size)
    path.write_bytes(wav)
    assert missing_end(path) is None


def test_wav_with_chunks_before_and_after(tmp_path: Path, noise: np.ndarray) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, RATE)
    wav = path.read_bytes()
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"
    path.write_bytes(wav[:36] + odd + wav[36:] + odd)
    assert missing_end(path) is None
    path.write_bytes((wav[:36] + odd + wav[36:])[:-200])
    assert "promises 64000 bytes" in str(missing_end(path))


def test_rf64(tmp_path: Path, noise: np.ndarray) -> None:
    path = tmp_path / "a.rf64"
    soundfile.write(path, noise, RATE, format="RF64", subtype="PCM_16")
    assert missing_end(path) is None
    path.write_bytes(path.read_bytes()[:-200])
    assert missing_end(path) is not None


@pytest.fixture
def mp3() -> list[bytes]:
    """An MPEG-1 layer III stream, mono, 128 kbit/s at 44.1 kHz, by hand: frames of 417 bytes, 418 with padding.

    The first frame holds the count of the 40 others where the Xing tag has it for mono, after 17 bytes of side
    information.
    """
    count = b"\xff\xfb\x90\xc4" + bytes(17) + b"Xing" + struct.pack(">II", 1, 40)
    plain, padded = b"\xff\xfb\x90\xc4" + bytes(413), b"\xff\xfb\x92\xc4" + bytes(414)
    return [count + bytes(417 - len(count)), *[plain, padded] * 20]


def test_mp3_with_a_count_cut_between_frames(tmp_path: Path, mp3: list[bytes]) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join(mp3))
    assert missing_end(path) is None
    path.write_bytes(b"".join(mp3[:-5]))
    assert "MP3 frames" in str(missing_end(path))


def test_mp3_without_a_count(tmp_path: Path, mp3: list[bytes]) -> None:
    path, plain = tmp_path / "a.mp3", b"".join(mp3[1:])
    path.write_bytes(plain)
    assert missing_end(path) is None
    for lost in (1, 100, len(mp3[1]) - 2):
        path.write_bytes(plain[:-lost])
        assert "last MP3 frame" in str(missing_end(path))


def test_tags_around_an_mp3_are_not_sound(tmp_path: Path, mp3: list[bytes]) -> None:
    path = tmp_path / "a.mp3"
    id3v2 = b"ID3\x04\0\0" + bytes((0, 0, 2, 0)) + bytes(256)  # 2 * 128 bytes in 7-bit digits
    path.write_bytes(id3v2 + b"".join(mp3) + b"TAG" + bytes(125))
    assert missing_end(path) is None
    path.write_bytes(id3v2[:40])
    assert "ID3" in str(missing_end(path))


def test_other_files_are_left_to_the_decoder(tmp_path: Path) -> None:
    for content in (b"", b"x", b"hello", b"RIFF", b"OggX" * 20):
        (tmp_path / "a").write_bytes(content)
        assert missing_end(tmp_path / "a") is None
