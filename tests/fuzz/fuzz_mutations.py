"""Mutated bytes: what changes a file may suffer, applied to small valid files made here.

A change is data (`Change`), so the same changes come from a numbered random generator in the long run and from
hypothesis, which shrinks them, in the tests.
"""

from __future__ import annotations

import io
import random
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from hares.decoding import SOUNDFILE_SUFFIXES

OPERATIONS = ("flip", "byte", "little", "big", "wide", "cut", "remove", "insert", "repeat", "move", "token")
NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
TOKENS = (
    *(b"../../etc/passwd", b"/etc/passwd", b"..", b"/", b"\\", b"audio/../../x.wav", b"~", b"./", b"//"),
    *(b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"h\xe9ron", "\u2028".encode()),
    *(b"\n", b"\r", b"\r\n", b"\t", b",", b";", b'"', b"'", b'""', b"#", b" ", b"\x1b[2J", b"\x85"),
    *(b"\\u0000", b"\\ud800", b'\\"', b"{", b"}", b"[", b"]", b":", b"null", b"true", b"NaN", b"1e999"),
    *(b"-1", b"0", b"9" * 5_000, b"1" * 30, b"A" * 4_000, b"[" * 20_000, b'"' * 200_000, b"x" * 140_000),
    *(b"<script>alert(1)</script>", b"${x}", b"%s%n", b"=cmd()", "ß".encode(), "İ".encode()),
)


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        operation: one of `OPERATIONS`.
        place: where, as a share of the length, 0 to below 1.
        value: the number, bit, byte, token or, for "move", other place that is meant; any int.
        length: bytes concerned, of those operations that concern a stretch.
    """

    operation: str
    place: float
    value: int
    length: int


def random_changes(source: random.Random) -> list[Change]:
    """One to five changes, the most of them in the first bytes, where headers are."""
    return [
        Change(
            source.choice(OPERATIONS),
            source.random() ** source.choice((1, 6)),
            source.choice(NUMBERS) if source.random() < 0.5 else source.getrandbits(32),
            int(2 ** source.uniform(0, 12)),
        )
        for _ in range(source.choice((1, 1, 1, 2, 3, 5)))
    ]


def mutated(data: bytes, changes: Sequence[Change]) -> bytes:
    """`data` after all changes; never longer than a megabyte more."""
    changed = bytearray(data)
    for change in changes:
        _apply(changed, change)
    return bytes(changed)


def _apply(data: bytearray, change: Change) -> None:
    at, value, end = int(change.place * len(data)), change.value, 0
    end = min(len(data), at + change.length)
    if change.operation == "flip" and data:
        data[at] ^= 1 << value % 8
    elif change.operation == "byte" and data:
        data[at] = value % 256
    elif change.operation == "little":
        data[at : at + 4] = struct.pack("<I", value % 2**32)
    elif change.operation == "big":
        data[at : at + 4] = struct.pack(">I", value % 2**32)
    elif change.operation == "wide":
        data[at : at + 8] = struct.pack("<Q", value * 0x1_0000_0001 % 2**64)
    elif change.operation == "cut":
        del data[at:]
    elif change.operation == "remove":
        del data[at:end]
    elif change.operation == "insert":
        data[at:at] = bytes([value % 256]) * change.length
    elif change.operation == "repeat":
        data[at:at] = data[at:end] * (1 + value % 4)
    elif change.operation == "move":
        stretch = data[at:end]
        other = value % (len(data) + 1)
        data[other : other + len(stretch)] = stretch
    elif change.operation == "token":
        data[at:at] = TOKENS[value % len(TOKENS)]


def with_ogg_sums(data: bytes) -> bytes:
    """The file with every Ogg page's checksum put right, so that what was changed reaches the codec."""
    changed = bytearray(data)
    at = changed.find(b"OggS")
    while at >= 0 and at + 27 <= len(changed):
        segments = changed[at + 27 : at + 27 + changed[at + 26]]
        end = at + 27 + len(segments) + sum(segments)
        changed[at + 22 : at + 26] = bytes(4)
        changed[at + 22 : at + 26] = struct.pack("<I", _ogg_sum(bytes(changed[at:end])))
        at = changed.find(b"OggS", at + 27)
    return bytes(changed)


def _ogg_sum(page: bytes) -> int:
    """CRC-32 with polynomial 04c11db7, most significant bit first, from 0 (RFC 3533, section 6)."""
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _OGG_TABLE[value >> 24 ^ byte]
    return value


def _ogg_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value >> 31 else value << 1) & 0xFFFFFFFF
        table.append(value)
    return tuple(table)


_OGG_TABLE = _ogg_table()


def audio_seeds(length: float = 0.3) -> list[tuple[str, bytes]]:
    """(suffix, bytes) of valid files of `length` seconds, in every container and coding that soundfile writes."""
    made = []
    for container, subtype, rate, channels in (
        ("WAV", "PCM_16", 16_000, 1), ("WAV", "PCM_24", 44_100, 2), ("WAV", "FLOAT", 48_000, 1),
        ("WAV", "PCM_U8", 8_000, 1), ("WAV", "ULAW", 8_000, 1), ("WAV", "IMA_ADPCM", 22_050, 1),
        ("WAV", "MS_ADPCM", 22_050, 2), ("WAV", "GSM610", 8_000, 1), ("WAVEX", "PCM_16", 16_000, 2),
        ("RF64", "PCM_16", 16_000, 1), ("FLAC", "PCM_16", 16_000, 1), ("FLAC", "PCM_24", 44_100, 2),
        ("FLAC", "PCM_S8", 8_000, 1), ("OGG", "VORBIS", 16_000, 1), ("OGG", "VORBIS", 44_100, 2),
        ("OGG", "OPUS", 48_000, 1), ("MP3", "MPEG_LAYER_III", 16_000, 1), ("MP3", "MPEG_LAYER_III", 44_100, 2),
        ("AIFF", "PCM_16", 16_000, 1), ("AU", "PCM_16", 16_000, 1), ("CAF", "PCM_16", 16_000, 1),
        ("W64", "PCM_16", 16_000, 1), ("NIST", "PCM_16", 16_000, 1),
    ):  # fmt: skip
        seconds = np.arange(round(length * rate)) / rate
        noise = np.random.default_rng(rate).normal(size=len(seconds))
        sound = 0.3 * np.sin(2 * np.pi * 330 * seconds) + 0.05 * noise
        file = io.BytesIO()
        soundfile.write(file, np.stack([sound] * channels, 1), rate, subtype=subtype, format=container)
        suffix = f".{container.lower()}"
        made.append((suffix if suffix in SOUNDFILE_SUFFIXES else ".wav", file.getvalue()))
    return made


def ffmpeg_seeds(length: float) -> list[tuple[str, bytes]]:
    """(suffix, bytes) of what ffmpeg alone decodes, and of MP3 as its encoders write it to a pipe; needs ffmpeg."""
    made = []
    source = f"aevalsrc=0.3*sin(2*PI*330*t)+0.05*random(0):d={length}:s=16000"
    for suffix, options in (
        (".m4a", ["-c:a", "aac"]), (".webm", ["-c:a", "libopus"]), (".mka", ["-c:a", "libvorbis"]),
        (".aac", ["-c:a", "aac"]), (".wma", ["-c:a", "wmav2"]), (".mp3", ["-c:a", "libmp3lame", "-q:a", "4"]),
        (".mp3", ["-c:a", "libmp3lame", "-q:a", "4", "-write_xing", "0", "-id3v2_version", "0"]),
    ):  # fmt: skip
        with tempfile.NamedTemporaryFile(suffix=suffix) as file:
            command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, *options, file.name]
            subprocess.run(command, check=True)
            made.append((suffix, file.read()))
    return made


def seconds_by_ffmpeg(path: Path) -> float:
    """Seconds of sound that ffmpeg finds in a file, with none of our limits; 0 where it finds none."""
    command = ["ffmpeg", "-v", "quiet", "-nostdin", "-threads", "1", "-i", str(path), "-vn", "-t", "3700"]
    done = subprocess.run([*command, "-ac", "1", "-ar", "16000", "-f", "s16le", "-"], capture_output=True)
    return len(done.stdout) / 32_000
