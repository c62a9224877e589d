"""TFX's own library (tfx-bsl), tried on 1.15.1: batches of records by their bytes.

By default TFX asks Beam for as many records as take about a second, at most a thousand, and for more as a step goes on.
Clips have far more bytes than the table rows TFX was made for, so memory grows with the batches, differently in every
run because a clock decides. A limit in bytes makes batches the same in every run, for long clips and short ones. TFX
has such a limit (`tfxio_use_byte_size_batching`), but of 20 MiB, and several batches are alive at a time.

Unnecessary when TFX's executors pass a batch size to where records are batched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from tfx_bsl.coders import batch_util

BATCH_BYTES = 2 << 20


@contextmanager
def batches_by_bytes() -> Iterator[None]:
    """Pipelines built inside the block read records in batches of at most `BATCH_BYTES`; a larger record goes alone.

    A caller that asks for a batch size gets it.
    """
    of_tfx = batch_util.GetBatchElementsKwargs

    def by_bytes(batch_size: int | None, element_size_fn: Callable[[Any], int] = len) -> dict[str, Any]:
        if batch_size is not None:
            return dict(of_tfx(batch_size, element_size_fn))
        size = partial(_bounded_size, element_size_fn)
        return {"min_batch_size": BATCH_BYTES, "max_batch_size": BATCH_BYTES, "element_size_fn": size}

    batch_util.GetBatchElementsKwargs = by_bytes
    try:
        yield
    finally:
        batch_util.GetBatchElementsKwargs = of_tfx


def _bounded_size(size_of: Callable[[Any], int], record: Any) -> int:
    """A record's size; Beam would put an empty batch before one that is larger than a batch."""
    return min(size_of(record), BATCH_BYTES)
