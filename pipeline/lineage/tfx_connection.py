"""TFX's connection to the store, which tells failures of the store from failures of a step.

When a server dies during a run, TFX shows whatever ML Metadata's C++ part says of its socket, in the middle of some
step. Here it becomes one error that names the store and the remedy. TFX connects several times a step, and retries for
about five seconds. A step that is computing holds no connection, so a server may restart meanwhile.
"""

from __future__ import annotations

import random
import time
from types import TracebackType

from ml_metadata.metadata_store import MetadataStore

from pipeline.lineage.connection import LOST, StoreAddress
from workarounds.ml_metadata import PatchedStore
from workarounds.tfx import Metadata

_ATTEMPTS = 10


class TfxConnection(Metadata):
    """`tfx.orchestration.metadata.Metadata` of an address; entering and using it raise StoreUnreachableError."""

    def __init__(self, address: StoreAddress):
        super().__init__(address.config)
        self._address = address

    def open_store(self) -> MetadataStore:
        """Connects. Raises StoreUnreachableError if the server does not answer for some five seconds."""
        for attempt in range(1, _ATTEMPTS + 1):  # as TFX does
            try:
                return PatchedStore(self._address.config)
            except RuntimeError as error:
                if attempt == _ATTEMPTS:
                    raise self._address.lost(error) from None  # the cause would carry the unredacted text
                time.sleep(random.random())  # apart from the others that wait
        raise AssertionError("unreachable")

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
