"""TFX's Transform, tried on 1.15.1 with Beam 2.74: records that can be read where they lie.

Transform compresses the records it writes (`file_name_suffix='.gz'` in `TransformProcessor._EncodeAndWrite`), and a
compressed file can only be read from its start, while training reads clips in random order.

Unnecessary when Transform has a setting for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import apache_beam as beam


@contextmanager
def uncompressed_records() -> Iterator[None]:
    """Pipelines built inside the block write plain TFRecord files, whatever name they ask for."""
    of_beam = beam.io.WriteToTFRecord

    def plain(file_path_prefix: str, file_name_suffix: str = "") -> beam.PTransform:
        return of_beam(file_path_prefix, file_name_suffix=file_name_suffix.removesuffix(".gz"))

    beam.io.WriteToTFRecord = plain
    try:
        yield
    finally:
        beam.io.WriteToTFRecord = of_beam
