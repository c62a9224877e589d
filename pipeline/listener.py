"""How work inside a step reports its progress.

A runner that shows progress sets a listener around a step; without one, nothing is shown. It is a context variable, so
that steps that run side by side do not report to each other's listener.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Listener = Callable[[float, str], None]

_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Calls `listener(fraction done, text)` for every `tell` inside the block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell(fraction: float, text: str) -> None:
    """Reports how far the step is, as a fraction from 0 to 1, with a text for a person."""
    listener = _listener.get()
    if listener is not None:
        listener(fraction, text)
