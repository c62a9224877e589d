"""How many records TFX's own steps take at a time: as many as have a number of bytes.

Left alone, TFX asks Beam for as many records as take about a second, at most a thousand. They grow as a step goes on,
and with clips, which have far more bytes than the rows that TFX was made for, memory grows with them: by what the clock
says, and so differently each time. By bytes a batch is the same in every run, and the same for long clips and short
ones. TFX has such batches (`tfxio_use_byte_size_batching`), but of 20 MiB, of which several are alive at a time.
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
    """Pipelines that are built inside read records in batches of at most `BATCH_BYTES`; a larger record goes alone.

    TFX's executors pass no size on to where records are batched, so it is put in at that place, for as long as this
    lasts. Where a size is asked for, it is that one.
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
