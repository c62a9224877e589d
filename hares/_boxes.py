"""MP4, Matroska/WebM and ASF: boxes within boxes, each with its size, and a length in seconds for the whole.

ffmpeg decodes them (`hares._ffmpeg`); what is missing at their end is seen here first, since it takes what it finds.
"""

from __future__ import annotations

import struct

from hares._container import Container, FileBytes

_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot")
_SEGMENT, _INFO, _SCALE, _DURATION = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def is_mp4(head: bytes) -> bool:
    """Whether a file of these first bytes is MP4, 3GP or QuickTime."""
    return head[4:8] in _MP4_FIRST


def mp4(data: FileBytes) -> Container:
    """MP4, 3GP, QuickTime: the boxes of the file itself must all be there to their end."""
    position = 0
    while position + 8 <= data.size:
        size, name = struct.unpack(">I4s", data.at(position, 8))
        if size == 1 and position + 16 <= data.size:
            (size,) = struct.unpack(">Q", data.at(position + 8, 8))
        if size < 8 or not all(32 <= byte < 127 or byte == 0xA9 for byte in name):
            break  # 0: to the file's end; all else is no box
        if position + size > data.size:
            found = data.size - position
            missing = f"the {name.decode('latin-1')} box promises {size} bytes and {found} are there"
            return Container(_MP4, missing=missing)
        position += size
    return Container(_MP4)


def _number(data: FileBytes, position: int, keep_mark: bool) -> tuple[int, int]:
    """A Matroska number of variable length, and where it ends; -1 for "unknown" or none."""
    first = data.at(position, 1)
    if not first or first == b"\0":
        return -1, position + 1
    length = 9 - first[0].bit_length()
    value = int.from_bytes(data.at(position, length), "big")
    if keep_mark:
        return value, position + length
    value &= (1 << 7 * length) - 1
    return (-1 if value == (1 << 7 * length) - 1 else value), position + length


def _elements(data: FileBytes, position: int, end: int) -> list[tuple[int, int, int]]:
    """(id, where it begins, size) of the elements in a stretch, up to one of unknown size."""
    found = []
    while position < end:
        name, after = _number(data, position, keep_mark=True)
        size, position = _number(data, after, keep_mark=False)
        if name < 0:
            break
        found.append((name, position, size))
        if size < 0 or name == _INFO:
            break
        position += size
    return found


def matroska(data: FileBytes) -> Container:
    """Matroska and WebM: the segment's size, and its length in seconds."""
    demuxer = "matroska,webm"
    segment = next((found for found in _elements(data, 0, data.size) if found[0] == _SEGMENT), None)
    if segment is None:
        return Container(demuxer)
    _, start, size = segment
    if size >= 0 and start + size > data.size:
        missing = f"the segment promises {size} bytes and {data.size - start} are there"
        return Container(demuxer, missing=missing)
    end = data.size if size < 0 else start + size
    for name, begins, length in _elements(data, start, end):
        if name == _INFO and length > 0:
            values = {
                inner: data.at(at, count) for inner, at, count in _elements(data, begins, begins + length)
            }
            scale = int.from_bytes(values.get(_SCALE, b"\x0f\x42\x40"), "big")
            duration = values.get(_DURATION, b"")
            if len(duration) in (4, 8):
                (length_in_scale,) = struct.unpack(">f" if len(duration) == 4 else ">d", duration)
                return Container(demuxer, seconds=length_in_scale * scale / 1e9)
    return Container(demuxer)


def asf(data: FileBytes) -> Container:
    """ASF (WMA): the size of the file and its length, unless it was broadcast."""
    (header,) = struct.unpack("<Q", data.at(16, 8).ljust(8, b"\0"))
    position = 30
    while position + 24 <= min(header, data.size):
        name, (size,) = data.at(position, 16), struct.unpack("<Q", data.at(position + 16, 8))
        if name == _ASF_FILE and position + 92 <= data.size:
            promised, played, preroll, flags = struct.unpack("<Q16xQ8xQI", data.at(position + 40, 52))
            if flags & 1:
                break
            if promised > data.size:
                missing = f"the header promises {promised} bytes and {data.size} are there"
                return Container("asf", missing=missing)
            return Container("asf", seconds=played / 1e7 - preroll / 1e3)
        if size < 24:
            break
        position += size
    return Container("asf")
