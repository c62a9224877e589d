"""FLAC's last frame: how many samples there are, which the header of a file from a pipe does not say.

Where the header's count is the last frame's, nothing more is looked at: libFLAC checks every frame's sum by itself.
"""

from __future__ import annotations

import functools

from hares._container import Container, FileBytes, Part

_LONGEST_FRAME = 1 << 17  # bytes; 65,535 samples of eight channels could be longer, and no encoder makes them
_BLOCKS = {
    1: 192,
    **{code: 576 << code - 2 for code in range(2, 6)},
    **{code: 1 << code for code in range(8, 16)},
}


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
