"""What a recording's own bytes say of it: which container it is, whether its end is missing, how it must be read.

libsndfile quietly reads a file that was cut short as a shorter recording; of an MP3 it believes an estimate, and of
several Ogg streams one after another it reads the first. ffmpeg, too, takes what it finds. So what a container
promises is read here, from its first bytes on and whatever the file is called:

| container | promise | where |
|---|---|---|
| RIFF, RIFX, RF64, AIFF, W64, AU, CAF, SPHERE | bytes of sound | here |
| Ogg | whole pages, an end-of-stream mark on each stream's last page | here |
| MP4, Matroska/WebM, ASF | sizes of its boxes, its length in seconds | here |
| MP3, ADTS, AMR | whole frames; the count of a Xing/Info frame | `hares.decoding.frames` |
| FLAC | a whole last frame, where the header gives no length or a wrong one | `hares.decoding.frames` |

A program that writes to a pipe cannot go back to enter a length; what it writes instead stands for "all that follows".

What cannot be seen: an MP3 without a Xing/Info frame cut exactly between two frames promises nothing more.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from itertools import pairwise

from hares.decoding.file_bytes import Container, FileBytes, Part
from hares.decoding.frames import adts, amr, flac, id3_size, is_adts, mp3

# The lengths that programs write into a pipe: 0, 2^31 or 2^32, less nothing, one, a header or a page.
_PIPES = (range(0x7FFFF000, 0x80000001), range(0xFFFFF000, 0x100000000))
_AIFF_PIPES = range(0x7F000000, 0x7F001000)  # sox
_LONG_PIPE = 0xFFFFFFFFFFFFF000
_FEW_BYTES = 64  # so few that are missing are the header, counted as sound
_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # of every chunk's 16-byte name
_MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot")
_SEGMENT, _INFO, _SCALE, _DURATION = 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def missing_end(path: str | os.PathLike[str]) -> str | None:
    """One sentence saying what is missing at the end of the file, or None where nothing is known to be.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return examine(file.fileno()).missing


def examine(descriptor: int) -> Container:
    """What the bytes of an open file say. Raises OSError where it cannot be read."""
    data = FileBytes(descriptor)
    start = id3_size(data.at(0, 10))
    head = data.at(start, 40)
    if head[:4] == b"fLaC":
        return flac(data, start)
    if is_adts(data, start):
        return adts(data, start)
    if start or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2):
        return mp3(data, start)
    for begins, reader in _READERS:
        if begins(head):
            return reader(data)
    return mp3(data, 0, certain=False)


def _short(chunk: str, promised: int, found: int) -> Container:
    return Container(missing=f"the {chunk} promises {promised} bytes of sound and {max(found, 0)} are there")


def _sized(
    data: FileBytes, chunk: str, size: tuple[int, str], promised: int, start: int, more: int = 0
) -> Container:
    """A chunk of sound from `start` on.

    Args:
        data: the file.
        chunk: its name, for a person.
        size: where its size is entered, and that number's format.
        promised: bytes of sound that the size amounts to.
        start: where its sound begins.
        more: bytes that are counted in the size and are no sound.
    """
    at, form = size
    found = data.size - start
    wide = struct.calcsize(form) == 8
    pipe = promised >= _LONG_PIPE if wide else any(promised in values for values in _PIPES)
    unknown = (promised == 0 and found > 0 and not _are_chunks(data, start, form[0])) or pipe
    if not unknown and promised <= found:
        return Container()
    if not unknown and promised - found > _FEW_BYTES and promised - found != start:
        return _short(chunk, promised, found)
    if found >= 0xFFFFFFFF and not wide:
        return Container()
    return Container(parts=(Part(0, data.size, changed=((at, struct.pack(form, found + more)),)),))


def _are_chunks(data: FileBytes, position: int, order: str) -> bool:
    """Whether what follows an empty chunk of sound is further chunks, to the end of the file."""
    while position + 8 <= data.size:
        name, length = struct.unpack(f"{order}4sI", data.at(position, 8))
        if not all(32 <= byte < 127 for byte in name):
            return False
        position += 8 + length + (length & 1)
    return data.size <= position <= data.size + 1


def _riff(data: FileBytes) -> Container:
    order = ">" if data.at(0, 4) == b"RIFX" else "<"
    position, long_data, long_at = 12, 0, 0
    while position + 8 <= data.size:
        name, length = struct.unpack(f"{order}4sI", data.at(position, 8))
        if name == b"ds64" and position + 24 <= data.size:
            long_at = position + 16
            (long_data,) = struct.unpack("<Q", data.at(long_at, 8))
        if name == b"data":
            if length == 0xFFFFFFFF and long_at:
                return _sized(data, "data chunk", (long_at, "<Q"), long_data, position + 8)
            return _sized(data, "data chunk", (position + 4, f"{order}I"), length, position + 8)
        position += 8 + length + (length & 1)
    return Container()


def _aiff(data: FileBytes) -> Container:
    position = 12
    while position + 8 <= data.size:
        name, length = struct.unpack(">4sI", data.at(position, 8))
        if name == b"SSND":
            if length in _AIFF_PIPES:
                length = 0xFFFFFFFF
            return _sized(data, "SSND chunk", (position + 4, ">I"), length, position + 8)
        position += 8 + length + (length & 1)
    return Container()


def _w64(data: FileBytes) -> Container:
    position = 40
    while position + 24 <= data.size:
        name, (length,) = data.at(position, 16), struct.unpack("<Q", data.at(position + 16, 8))
        if name == b"data" + _W64_TAIL:
            return _sized(data, "data chunk", (position + 16, "<Q"), max(0, length - 24), position + 24, 24)
        if length < 24:
            break
        position += length + -length % 8
    return Container()


def _au(data: FileBytes) -> Container:
    order = ">" if data.at(0, 4) == b".snd" else "<"
    if data.size < 24:
        return Container()
    start, length = struct.unpack(f"{order}II", data.at(4, 8))
    if start < 24:
        return Container()
    # Nothing comes after an AU's sound, so that a length that is too small is as good as none.
    return _sized(data, "header", (8, f"{order}I"), length if length >= data.size - start else 0, start)


def _caf(data: FileBytes) -> Container:
    position = 8
    while position + 12 <= data.size:
        name, length = struct.unpack(">4sq", data.at(position, 12))
        if name == b"data":
            found = data.size - position - 12
            return _short("data chunk", length, found) if length > found + _FEW_BYTES else Container()
        if length < 0:
            break
        position += 12 + length
    return Container()


def _sphere(data: FileBytes) -> Container:
    """NIST SPHERE: a header of text, one "name -type value" a line, and the samples after it."""
    lines = data.at(0, 1_024).split(b"\n")
    fields = {words[0]: words[2] for line in lines if len(words := line.split(None, 2)) == 3}
    try:
        start = int(lines[1])
        counts = [
            int(fields.get(name, b"1")) for name in (b"sample_count", b"sample_n_bytes", b"channel_count")
        ]
    except (ValueError, IndexError):
        return Container()
    coding = fields.get(b"sample_coding", b"pcm")
    promised, found = counts[0] * counts[1] * counts[2], data.size - start
    if b"sample_count" not in fields or b"embedded" in coding or promised <= found + _FEW_BYTES:
        return Container()
    return _short("header", promised, found)


def _ogg(data: FileBytes) -> Container:
    """Ogg: streams that follow one another ("chained") are recordings of their own, one after another.

    Streams that begin together (sound beside something else) stay together.
    """
    position, before, begins, ended, opening = 0, 0, [0], True, True
    while position < data.size:
        page = data.at(position, 27 + 255)
        if page[:4] != b"OggS" or len(page) < 27:
            # As a decoder does: the next page may begin inside the one before, where that was cut.
            following = data.find(b"OggS", before + 1)
            if following < 0:
                if len(page) < 27 and page[:4] == b"OggS"[: len(page)]:
                    return Container(missing="the last Ogg page is cut off")
                break
            position = before = following
            continue
        before = position
        first = bool(page[5] & 2)
        if first and not opening:
            if not ended:
                return Container(missing="an Ogg stream inside the file has no end-of-stream mark")
            begins.append(position)
        opening, ended = first, bool(page[5] & 4)
        segments = page[27 : 27 + page[26]]
        position += 27 + page[26] + sum(segments)
        if len(segments) < page[26] or position > data.size:
            return Container(missing="the last Ogg page is cut off")
    if not ended:
        return Container(missing="the last Ogg page has no end-of-stream mark")
    if len(begins) == 1:
        return Container()
    return Container(parts=tuple(Part(a, b) for a, b in pairwise([*begins, data.size])))


def _is_mp4(head: bytes) -> bool:
    """Whether a file of these first bytes is MP4, 3GP or QuickTime."""
    return head[4:8] in _MP4_FIRST


def _mp4(data: FileBytes) -> Container:
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


def _matroska(data: FileBytes) -> Container:
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


def _asf(data: FileBytes) -> Container:
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


_READERS: tuple[tuple[Callable[[bytes], bool], Callable[[FileBytes], Container]], ...] = (
    (lambda head: head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE", _riff),
    (lambda head: head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"), _aiff),
    (lambda head: head[:4] == b"riff" and head[24:28] == b"wave", _w64),
    (lambda head: head[:4] in (b".snd", b"dns."), _au),
    (lambda head: head[:4] == b"caff", _caf),
    (lambda head: head[:8] == b"NIST_1A\n", _sphere),
    (lambda head: head[:4] == b"OggS", _ogg),
    (_is_mp4, _mp4),
    (lambda head: head[:4] == b"\x1aE\xdf\xa3", _matroska),
    (lambda head: head[:16] == bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), _asf),
    (lambda head: head[:5] == b"#!AMR", amr),
)
