"""How long work inside a step tells whoever shows it how far it is.

A runner that shows progress sets a listener around a step; where none is set, nothing is shown. A context
variable, so that steps run side by side do not speak to each other's listener.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float, str], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Calls `listener(fraction done, text)` for what `tell` is told inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(fraction: float, text: str) -> None:
    """Says how far the step is, `fraction` from 0 to 1, and what there is to know besides."""
    listener = _listener.get()
    if listener is not None:
        listener(fraction, text)
