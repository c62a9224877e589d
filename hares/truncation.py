"""Whether an audio file ends before its own container says it should.

libsndfile quietly reads a WAV, AIFF or Ogg file that was cut short as a shorter recording, and its MP3
decoder counts only the frames it finds. A half-copied file would then be a clip with half its sound, so the
promise is
read here from the container itself, before anything is decoded: RIFF/RF64 and AIFF chunk sizes, the
end-of-stream mark of the last Ogg page, and the frame chain of an MP3 (against the count in its Xing/Info
frame where it has one). FLAC needs nothing here: its decoder fails by itself when samples are missing.

What cannot be seen: an MP3 without a Xing/Info frame cut exactly between two frames promises nothing more.
"""

from __future__ import annotations

import functools
import mmap
import os
import struct
from typing import BinaryIO

# A RIFF size of 0 or 2^32 - 1 is what a program writes that cannot seek back: the length is unknown, not
# broken.
_UNKNOWN_SIZES = (0, 0xFFFFFFFF)
_OGG_TAIL = 65_307 + 27  # the largest possible Ogg page, so the last page's header is in the tail

_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MP3_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)


def missing_end(path: str | os.PathLike[str]) -> str | None:
    """One sentence saying what is missing at the end of the file, or None where nothing is known to be.

    Args:
        path: a file of any kind; what it is, is told by its first bytes and not by its name.

    Raises:
        OSError: the file cannot be read.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] in (b"RIFF", b"RF64") and head[8:] == b"WAVE":
            return _riff(file, size)
        if head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
            return _aiff(file, size)
        if head[:4] == b"OggS":
            return _ogg(file, size)
        if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
            return _mp3(file, size, _id3_size(head))
    return None


def _short(chunk: str, promised: int, found: int) -> str:
    return f"the {chunk} promises {promised} bytes of sound and {max(found, 0)} are there"


def _riff(file: BinaryIO, size: int) -> str | None:
    position, long_data = 12, 0
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack("<4sI", file.read(8))
        if name == b"ds64" and position + 24 <= size:
            long_data = struct.unpack("<8xQ", file.read(16))[0]
        if name == b"data":
            if length == 0xFFFFFFFF and long_data:
                length = long_data
            elif length in _UNKNOWN_SIZES:
                return None
            found = size - position - 8
            return _short("data chunk", length, found) if found < length else None
        position += 8 + length + (length & 1)
    return None


def _aiff(file: BinaryIO, size: int) -> str | None:
    position = 12
    while position + 8 <= size:
        file.seek(position)
        name, length = struct.unpack(">4sI", file.read(8))
        if name == b"SSND":
            found = size - position - 8
            return _short("SSND chunk", length, found) if found < length else None
        position += 8 + length + (length & 1)
    return None


def _ogg(file: BinaryIO, size: int) -> str | None:
    file.seek(max(0, size - _OGG_TAIL))
    tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) < start + 27:
        return "the last Ogg page is cut off"
    segments = tail[start + 27 : start + 27 + tail[start + 26]]
    if len(segments) < tail[start + 26] or start + 27 + len(segments) + sum(segments) > len(tail):
        return "the last Ogg page is cut off"
    return None if tail[start + 5] & 4 else "the last Ogg page has no end-of-stream mark"


def _id3_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that opens the file (its size is four 7-bit bytes), 0 without one."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | (byte & 0x7F)
    return 10 + size + (10 if head[5] & 0x10 else 0)


@functools.lru_cache(maxsize=1_024)  # the frames of a file share a few headers
def _mp3_frame_bytes(header: bytes) -> int:
    """Length of the layer III frame that starts with these four bytes; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE6 != 0xE2:
        return 0
    version, kbps, rate = header[1] >> 3 & 3, header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or kbps in (0, 15) or rate == 3:
        return 0
    bits = (_MP3_KBPS_V1 if version == 3 else _MP3_KBPS_V2)[kbps] * 1000
    return (144 if version == 3 else 72) * bits // _MP3_RATES[version][rate] + (header[2] >> 1 & 1)


def _xing_frames(frame: bytes) -> int | None:
    """The number of frames a Xing/Info frame promises; None for an ordinary frame."""
    mono, version = frame[3] >> 6 == 3, frame[1] >> 3 & 3
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    mark = 4 + side + (0 if frame[1] & 1 else 2)
    if frame[mark : mark + 4] not in (b"Xing", b"Info") or len(frame) < mark + 12:
        return None
    flags, frames = struct.unpack(">II", frame[mark + 4 : mark + 12])
    return frames if flags & 1 else 0


def _mp3(file: BinaryIO, size: int, start: int) -> str | None:
    if start >= size:
        return "the ID3 tag is longer than the file"
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position, frames, promised = start, 0, None
        while position < size:
            length = _mp3_frame_bytes(data[position : position + 4])
            if length == 0:
                if size - position < 4 and data[position] == 0xFF:
                    return "the last MP3 frame has lost even its header"
                # Trailing tags, or bytes the decoder will have to skip: nothing more can be said from here.
                return None
            if position + length > size:
                return f"the last MP3 frame has {size - position} of its {length} bytes"
            if frames == 0 and promised is None:
                promised = _xing_frames(data[position : position + length])
            position += length
            frames += 1
    # The Xing frame itself is counted by some encoders and not by others.
    if promised and frames < promised:
        return f"the Xing/Info frame promises {promised} MP3 frames and {frames - 1} are there"
    return None
