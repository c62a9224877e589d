"""TFX's way to the store, with failures of the store told apart from failures of a step.

A server that dies while a run is at work shows in TFX as whatever ML Metadata's C++ part says of its socket, in
the middle of some step. Here it is one error that names the store and what to do. TFX opens a connection several
times a step, and waits some five seconds for a server that starts again; while a step computes it holds none, so a
server that is back before the step ends is not missed.
"""

from __future__ import annotations

import random
import time
from types import TracebackType

from tfx.orchestration import metadata

from pipeline.lineage.connection import LOST, StoreAddress
from pipeline.lineage.exact_store import ExactStore

_ATTEMPTS = 10


class TfxStore(metadata.Metadata):
    """`tfx.orchestration.metadata.Metadata` of an address; entering and using it raise StoreUnreachableError."""

    def __init__(self, address: StoreAddress):
        super().__init__(address.config)
        self._address = address

    def __enter__(self) -> TfxStore:
        """Connects. Raises StoreUnreachableError where the server does not answer for some five seconds."""
        for attempt in range(_ATTEMPTS):  # as TFX does, which has no place for another kind of store
            try:
                self._store = ExactStore(self._address.config)
            except RuntimeError as error:
                if attempt == _ATTEMPTS - 1:
                    raise self._address.lost(error) from None  # the cause would carry the unredacted text
                time.sleep(random.random())  # apart from the others that wait
            else:
                break
        self._users += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        """Disconnects. Raises StoreUnreachableError in the place of an error of a lost connection."""
        super().__exit__(kind, error, trace)
        if isinstance(error, LOST):
            raise self._address.lost(error) from None
