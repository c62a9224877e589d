"""Random access to the records of TFRecord files, in an order that no file decides.

Training wants an epoch to be a permutation of all clips: with batches from one part of the data, a clip would meet the
same few others as negatives and mixing partners all its life. So the files are read through once for where each record
lies and whose it is, and from then on each record is read where it lies. Records are numbered by a hash of their clip's
id, so that one set of clips trains alike whether Beam wrote one file or many, and in whatever order.

In memory a record costs 20 bytes, and its place in the order of an epoch 8 more.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import struct
import uuid
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

_LOG = logging.getLogger(__name__)
# What a TFRecord file has before each record (its length as uint64, and a checksum of that) and after it (a checksum).
_HEADER, _FOOTER = 12, 4
_READ_BUFFER = 8 << 20
_BATCH = 32  # records parsed at a time while the files are read through


@dataclass(frozen=True, eq=False)
class Records:
    """Where each of n records lies, ordered by a hash of its clip's id.

    Attributes:
        files: sorted paths.
        file: (n,) int32, the number of a record's file.
        offset: (n,) int64, bytes of the file before the record.
        length: (n,) int64, bytes of the record itself.
    """

    files: tuple[str, ...]
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray

    def __len__(self) -> int:
        return len(self.offset)

    def read(self, numbers: Iterable[int]) -> list[bytes]:
        """The serialised records of these numbers, in this order.

        Raises:
            OSError: a file cannot be read.
            ValueError: a file is no longer the one that was read through.
        """
        return [self._read(int(number)) for number in numbers]

    def _read(self, number: int) -> bytes:
        path, length = self.files[self.file[number]], int(self.length[number])
        content = _read_bytes(path, int(self.offset[number]), _HEADER + length)
        if len(content) != _HEADER + length or struct.unpack_from("<Q", content) != (length,):
            raise ValueError(
                f"training: {path} has changed since training began; put the old file back, or start anew"
            )
        return content[_HEADER:]


@functools.lru_cache(maxsize=2)  # batches that are made ahead may be of the next epoch
def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of `count` records: (count,) integers, a function of these arguments alone.

    The bits of Philox are the same in every version of NumPy, which its `permutation` does not promise.
    """
    drawn = np.random.Philox(key=np.array([seed, epoch], np.uint64)).random_raw(count)
    order = np.argsort(drawn, kind="stable")
    order.setflags(write=False)
    return order


def open_records(files: Sequence[str], index: str | None = None) -> Records:
    """Finds where the records of some files lie.

    Args:
        files: TFRecord files, uncompressed; their order does not matter. A record is a tf.Example with `clip_id`.
        index: path where what is found is kept, and found again while the files have the same names and sizes. None
            reads the files through.

    Raises:
        ValueError: there are no files, they are compressed, or one is damaged or holds something else.
    """
    if not files:
        raise ValueError("training: there are no TFRecord files; give Transform's output of the train split")
    files = sorted(files)
    if packed := [file for file in files if file.endswith((".gz", ".zlib"))]:
        raise ValueError(
            f"training: {packed[0]} is compressed, and clips are read in random order; write it uncompressed, "
            "as the transform step does"
        )
    names, sizes = list(map(os.path.basename, files)), list(map(_size, files))
    if index is not None and (found := _load(index, files, names, sizes)):
        return found
    parts = [_scan(file) for file in files]
    clip, content, length = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    file = np.repeat(np.arange(len(files), dtype=np.int32), [len(part[0]) for part in parts])
    offset = np.concatenate([_offsets(part[2]) for part in parts])
    order = np.lexsort((content, clip))  # records of one id, should there be any, by what they hold
    records = Records(tuple(files), file[order], offset[order], length[order])
    if index is not None:
        _save(index, records, names, sizes)
    return records


def _read_bytes(path: str, offset: int, count: int) -> bytes:
    if "://" in path:
        with tf.io.gfile.GFile(path, "rb") as file:
            file.seek(offset)
            return bytes(file.read(count))
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(descriptor, count, offset)
    finally:
        os.close(descriptor)


def _size(file: str) -> int:
    try:
        return int(tf.io.gfile.stat(file).length)
    except tf.errors.NotFoundError as error:
        raise ValueError(
            f"training: {file} is not there; run the pipeline again from the transform step"
        ) from error


def _offsets(length: np.ndarray) -> np.ndarray:
    ends = np.cumsum(_HEADER + length + _FOOTER)
    return np.concatenate([np.zeros(1, np.int64), ends])[:-1]


def _scan(file: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each record of a file, in its order: a hash of its clip's id, one of all its bytes, and its length; int64."""
    none = np.zeros(0, np.int64)
    parts = [(none, none, none)]
    try:
        for records in tf.data.TFRecordDataset(file, buffer_size=_READ_BUFFER).batch(_BATCH).prefetch(1):
            parts.append(tuple(column.numpy() for column in _look(records)))
    except (tf.errors.DataLossError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(f"training: {file} cannot be read ({error.message}); write it anew") from error
    clip, content, length = (np.concatenate(column) for column in zip(*parts, strict=True))
    return clip, content, length


def _look(records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    ids = tf.io.parse_example(records, {"clip_id": tf.io.FixedLenFeature([], tf.string)})["clip_id"]
    # FarmHash's Fingerprint64, whose values are the same in every version and on every machine.
    clip, content = (tf.strings.to_hash_bucket_fast(text, 2**63 - 1) for text in (ids, records))
    return clip, content, tf.cast(tf.strings.length(records), tf.int64)


def _load(path: str, files: list[str], names: list[str], sizes: list[int]) -> Records | None:
    """What an earlier process found; None where it was of other files, or the file is not there or damaged."""
    if not tf.io.gfile.exists(path):
        return None
    try:
        with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read())) as arrays:
            if arrays["names"].tolist() == names and arrays["sizes"].tolist() == sizes:
                return Records(tuple(files), arrays["number"], arrays["offset"], arrays["length"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, tf.errors.OpError) as error:
        _LOG.warning("%s cannot be read (%s); all records are read through again", path, error)
    return None


def _save(path: str, records: Records, names: list[str], sizes: list[int]) -> None:
    found = io.BytesIO()
    places = {"number": records.file, "offset": records.offset, "length": records.length}
    np.savez(found, names=names, sizes=sizes, **places)
    tf.io.gfile.makedirs(os.path.dirname(path))
    part = f"{path}.{uuid.uuid4().hex}.part"  # machines that train together write it at the same time
    with tf.io.gfile.GFile(part, "wb") as file:
        file.write(found.getvalue())
    tf.io.gfile.rename(part, path, overwrite=True)
