"""Strings and ragged lists as plain arrays, and npz archives without pickle.

An archive written here can be read by any numpy, holds nothing that executes, and is the same bytes for the
same content (zip entries carry a fixed date), so that its digest can serve as a version.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np


def pack_strings(name: str, strings: Sequence[str]) -> dict[str, np.ndarray]:
    """Strings as UTF-8: `{name}_bytes` (bytes,) uint8 and `{name}_offsets` (strings + 1,) int64."""
    encoded = [string.encode("utf-8") for string in strings]
    return {
        f"{name}_bytes": np.frombuffer(b"".join(encoded), np.uint8),
        f"{name}_offsets": _offsets([len(item) for item in encoded]),
    }


def unpack_strings(name: str, arrays: Mapping[str, np.ndarray]) -> tuple[str, ...]:
    """The strings that `pack_strings` packed."""
    content = arrays[f"{name}_bytes"].tobytes()
    offsets = arrays[f"{name}_offsets"].tolist()
    return tuple(content[a:b].decode("utf-8") for a, b in pairwise(offsets))


def pack_lists(name: str, lists: Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """Lists of integers as `{name}_values` (all,) int32 and `{name}_offsets` (lists + 1,) int64."""
    return {
        f"{name}_values": np.asarray([value for values in lists for value in values], np.int32),
        f"{name}_offsets": _offsets([len(values) for values in lists]),
    }


def unpack_lists(name: str, arrays: Mapping[str, np.ndarray]) -> tuple[tuple[int, ...], ...]:
    """The lists that `pack_lists` packed."""
    values = arrays[f"{name}_values"].tolist()
    offsets = arrays[f"{name}_offsets"].tolist()
    return tuple(tuple(values[a:b]) for a, b in pairwise(offsets))


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz archive of `arrays`, in memory."""
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))
    return buffer.getvalue()


def npz_arrays(content: bytes, path: str) -> dict[str, np.ndarray]:
    """The arrays of an npz archive.

    Raises:
        ValueError: not an npz archive, cut short, or one that holds pickled objects; the message names `path`.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:
        raise ValueError(
            f"{path}: not a readable npz archive ({error}). Delete it and run its writer again"
        ) from error


def _offsets(lengths: list[int]) -> np.ndarray:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(np.asarray(lengths, np.int64))])
