"""MP3, AAC (ADTS), AMR and FLAC files: frames one after another, each with its length in its first bytes.

An MP3's frames are all counted, since what its decoder believes otherwise is a Xing/Info frame that may speak of a part
of the file, or an estimate from the first frame. Of FLAC the last frame says how many samples there are, which the
header of a file from a pipe does not; where the two agree nothing more is looked at: libFLAC checks every frame's sum.
"""

from __future__ import annotations

import functools
import struct

from hares.decoding.file_bytes import Container, FileBytes, Part

_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
_MP3_KBPS_V1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_KBPS_V2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SEARCHED = 1 << 16  # bytes read at a time while the next frame is looked for
_AMR_BYTES = {
    b"#!AMR\n": (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1),
    b"#!AMR-WB\n": (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, 1, 1, 1, 1, 1, 1),
}
_LONGEST_FRAME = 1 << 17  # bytes; 65,535 samples of eight channels could be longer, and no encoder makes them
_BLOCKS = {
    1: 192,
    **{code: 576 << code - 2 for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}


def id3_size(head: bytes) -> int:
    """Bytes of the ID3v2 tag that these bytes open (its size is four 7-bit bytes), 0 without one."""
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


def _side_bytes(header: bytes) -> int:
    mono, version = header[3] >> 6 == 3, header[1] >> 3 & 3
    return (17 if mono else 32) if version == 3 else (9 if mono else 17)


def _xing_frames(frame: bytes) -> int | None:
    """The number of frames a Xing/Info frame promises; None for an ordinary frame."""
    mark = 4 + _side_bytes(frame) + (0 if frame[1] & 1 else 2)
    if frame[mark : mark + 4] not in (b"Xing", b"Info") or len(frame) < mark + 12:
        return None
    flags, frames = struct.unpack(">II", frame[mark + 4 : mark + 12])
    return frames if flags & 1 else 0


def _added_samples(frame: bytes) -> int:
    """Samples that the encoder added before and after the sound, by the LAME tag of a Xing/Info frame."""
    at = frame.find(b"LAME")
    at = frame.find(b"Lav") if at < 0 else at
    both = frame[at + 21 : at + 24]
    return (
        (both[0] << 4 | both[1] >> 4) + ((both[1] & 15) << 8 | both[2]) if at >= 0 and len(both) == 3 else 0
    )


def _counting_frame(header: bytes, frames: int) -> bytes:
    """An Info frame that promises `frames` frames like the one with this header."""
    kbps = 9 if header[1] >> 3 & 3 == 3 else 8
    own = bytes((0xFF, header[1] | 1, kbps << 4 | header[2] & 0x0C, header[3]))
    frame = own + bytes(_side_bytes(own)) + b"Info" + struct.pack(">II", 1, frames)
    return frame + bytes(_mp3_frame_bytes(own) - len(frame))


def _tag_bytes(data: FileBytes, position: int) -> int:
    """Length of a tag that starts here, among or behind the frames; 0 if none does."""
    head = data.at(position, 32)
    if head[:3] == b"TAG":
        return 128
    if head[:8] == b"APETAGEX" and len(head) == 32:
        size, flags = struct.unpack("<I4xI", head[12:24])
        return int(size) + (32 if flags >> 29 & 1 else 0)
    return id3_size(head)


def mp3(data: FileBytes, start: int, certain: bool = True) -> Container:
    """MPEG audio, layer III, from `start` on, where the tag that opens the file ends.

    Where its first bytes do not make that `certain`, frames must fill half of the file.
    """
    if certain and start >= data.size:
        return Container(missing="the ID3 tag is longer than the file")
    position, frames, promised, added, first, sound, filled = start, 0, None, 0, b"", start, 0
    while position < data.size:
        header = data.at(position, 4)
        length = _mp3_frame_bytes(header)
        if length == 0 or (first and not _alike(first, header)):
            if data.size - position < 4 and header[:1] == b"\xff":
                return Container(missing="the last MP3 frame has lost even its header")
            if tag := _tag_bytes(data, position):
                position += tag
                continue
            following = _next_frame(data, position + 1, first)
            if following is None:
                break
            position = following
            continue
        if position + length > data.size:
            missing = f"the last MP3 frame has {data.size - position} of its {length} bytes"
            return Container(missing=missing)
        if not first:
            first, sound = header, position
            frame = data.at(position, length)
            promised = _xing_frames(frame)
            if promised is not None:
                frames, sound, added = -1, position + length, _added_samples(frame)  # it holds no sound
        position += length
        filled += length
        frames += 1
    if not first or not (certain or 2 * filled >= data.size - start):
        return Container()
    # The Xing frame itself is counted by some encoders and not by others.
    if promised and frames + 1 < promised:
        return Container(missing=f"the Xing/Info frame promises {promised} MP3 frames and {frames} are there")
    version = first[1] >> 3 & 3
    rate, samples = _MP3_RATES[version][first[2] >> 2 & 3], 1_152 if version == 3 else 576
    counted = Part(sound, data.size, before=_counting_frame(first, frames))
    # A decoder leaves out what the encoder added, and its first frame may lack what an earlier one held.
    return Container(seconds=frames * samples / rate, slack=(added + 2 * samples) / rate, counted=counted)


def _alike(one: bytes, other: bytes) -> bool:
    """Whether two headers are of one stream: the same version, layer and rate."""
    return one[1] & 0xFE == other[1] & 0xFE and one[2] & 0x0C == other[2] & 0x0C


def _next_frame(data: FileBytes, position: int, first: bytes) -> int | None:
    """Where the next frame is that another one follows, as a decoder finds its way back; None without one."""
    while position < data.size:
        block = data.at(position, _SEARCHED)
        at = block.find(b"\xff")
        while at >= 0:
            header = block[at : at + 4] if at + 4 <= len(block) else data.at(position + at, 4)
            length = _mp3_frame_bytes(header)
            if length and (not first or _alike(first, header)):
                after = data.at(position + at + length, 4)
                if _mp3_frame_bytes(after) and _alike(header, after):
                    return position + at
            at = block.find(b"\xff", at + 1)
        position += len(block)
    return None


def _adts_bytes(header: bytes) -> int:
    """Length of the ADTS frame that starts with these seven bytes; 0 if none does."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0 or header[2] >> 2 & 15 > 12:
        return 0
    length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return length if length >= 7 else 0


def is_adts(data: FileBytes, start: int) -> bool:
    """Whether an ADTS frame starts here, and another where it ends (or the file does)."""
    length = _adts_bytes(data.at(start, 7))
    return length > 0 and (start + length >= data.size or _adts_bytes(data.at(start + length, 7)) > 0)


def adts(data: FileBytes, start: int) -> Container:
    """AAC as a stream of frames."""
    position = start
    while length := _adts_bytes(data.at(position, 7)):
        if position + length > data.size:
            missing = f"the last AAC frame has {data.size - position} of its {length} bytes"
            return Container("aac", missing=missing)
        position += length
    if 0 < data.size - position < 7 and data.at(position, 1) == b"\xff":
        return Container("aac", missing="the last AAC frame has lost even its header")
    return Container("aac")


def amr(data: FileBytes) -> Container:
    """AMR, narrow or wide: a byte says which of 16 lengths its frame has."""
    magic = next((magic for magic in _AMR_BYTES if data.at(0, len(magic)) == magic), None)
    if magic is None:
        return Container("amr")
    position = len(magic)
    while header := data.at(position, 1):
        length = _AMR_BYTES[magic][header[0] >> 3 & 15]
        if position + length > data.size:
            missing = f"the last AMR frame has {data.size - position} of its {length} bytes"
            return Container("amr", missing=missing)
        position += length
    return Container("amr")


def flac(data: FileBytes, start: int) -> Container:
    """A FLAC stream that begins at `start`."""
    info = data.at(start, 42)
    if len(info) < 42 or info[4] & 0x7F:
        return Container()
    block, counted = int.from_bytes(info[8:10], "big"), int.from_bytes(info[21:26], "big") & (1 << 36) - 1
    end = data.size - (128 if data.at(data.size - 128, 3) == b"TAG" else 0)
    first = max(start + 42, end - _LONGEST_FRAME)
    tail = data.at(first, end - first)
    at = len(tail)
    while (at := tail.rfind(b"\xff", 0, at)) >= 0:
        samples = _end_of_frame(tail[at : at + 16], block)
        if samples is None:
            continue
        if samples <= counted:  # fewer: libFLAC finds that they are missing
            break
        if _sum(tail[at:], 0x8005, 16):
            return (
                Container(missing="the last FLAC frame is cut off, or damaged")
                if not counted
                else Container()
            )
        entered = (int.from_bytes(info[21:26], "big") & ~((1 << 36) - 1) | samples).to_bytes(5, "big")
        return Container(parts=(Part(0, data.size, changed=((start + 21, entered),)),))
    return Container()


def _end_of_frame(head: bytes, block: int) -> int | None:
    """The number of samples up to the end of the frame with this header; None where it is none."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[3] & 1:
        return None
    size, rate, lead = head[2] >> 4, head[2] & 15, head[4]
    more = 0 if lead < 0x80 else 7 - (lead ^ 0xFF).bit_length()
    if size == 0 or rate == 15 or lead == 0xFF or (more == 0 and lead >= 0x80):
        return None
    number = lead if not more else lead & (0x3F >> more)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at = 5 + more
    size_bytes, rate_bytes = {6: 1, 7: 2}.get(size, 0), {12: 1, 13: 2, 14: 2}.get(rate, 0)
    samples = int.from_bytes(head[at : at + size_bytes], "big") + 1 if size_bytes else _BLOCKS[size]
    at += size_bytes + rate_bytes
    if len(head) <= at or _sum(head[: at + 1], 0x07, 8):
        return None
    return (number if head[1] & 1 else number * block) + samples


def _sum(data: bytes, polynomial: int, bits: int) -> int:
    """CRC of FLAC's headers (8 bits) and frames (16 bits), most significant bit first; 0 with its own sum behind."""
    mask, value, table = (1 << bits) - 1, 0, _table(polynomial, bits)
    for byte in data:
        value = (value << 8 & mask) ^ table[value >> bits - 8 ^ byte]
    return value


@functools.cache
def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    top, mask, table = 1 << bits - 1, (1 << bits) - 1, []
    for byte in range(256):
        entry = byte << bits - 8
        for _ in range(8):
            entry = (entry << 1 ^ polynomial if entry & top else entry << 1) & mask
        table.append(entry)
    return tuple(table)
