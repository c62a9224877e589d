"""Importing and running code that the user brought: it may fail, but not end the process or change it."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any, NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class UserCodeError(ValueError):
    """The user's code failed, or tried to end the process. What it printed and its traceback are worth reading."""


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Keeps code of the user's that runs inside the block from ending the process or changing what others rely on.

    Afterwards the current folder, the standard streams and the handlers of SIGINT and SIGTERM are what they were. There
    is no standard input: a question would wait for ever behind a terminal that shows nothing of it.

    Args:
        what: the code, for the message.

    Raises:
        UserCodeError: it called `sys.exit` or `os._exit`, or raised what only those raise, a KeyboardInterrupt that
            nobody asked for among it.
    """
    interrupted: list[int] = []
    with _same_folder(), _same_streams(), _same_handlers(interrupted), _no_way_out():
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and interrupted:
                raise
            raise UserCodeError(
                f"{what}: its code wanted to end the process ({type(error).__name__}: {error}). Keep "
                "parse_args(), sys.exit() and other parts of a script under `if __name__ == '__main__':`"
            ) from error


@contextmanager
def _same_folder() -> Iterator[None]:
    folder = os.open(".", os.O_PATH | os.O_DIRECTORY)  # one that was moved has no name to go back to
    try:
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)


@contextmanager
def _same_streams() -> Iterator[None]:
    before = sys.stdin, sys.stdout, sys.stderr
    with open(os.devnull, encoding="utf-8") as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


@contextmanager
def _same_handlers(received: list[int]) -> Iterator[None]:
    """Appends the signals that arrive to `received` and hands them on. Only the main thread may listen."""
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        before[number](number, frame)

    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in before.items():
            if callable(handler):
                signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in before.items():
            # One that was installed from C cannot be put back; one that has done its work may have put another in its
            # place, as `hares.interruption` does so that a second signal ends the process.
            if handler is not None and (not received or signal.getsignal(number) is note):
                signal.signal(number, handler)


@contextmanager
def _no_way_out() -> Iterator[None]:
    """`os._exit` as `sys.exit`, but in child processes, whose end it is meant to be."""
    process, leave = os.getpid(), os._exit

    def refuse(status: int) -> NoReturn:
        if os.getpid() != process:
            leave(status)
        raise SystemExit(status)

    os._exit = refuse
    try:
        yield
    finally:
        os._exit = leave


def import_user_module(name: str, spec: str) -> ModuleType:
    """Imports `name`, as `python -m` would find it.

    Raises:
        UserCodeError: there is no such module, or importing it fails; the message says why.
    """
    here = os.getcwd()
    if here not in sys.path:  # a console script's path begins with its own folder
        sys.path.insert(0, here)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises
        raise UserCodeError(
            f"encoder {spec!r}: module {name!r} cannot be imported ({type(error).__name__}: {error}). "
            "Give its dotted name, and install it or call hares in the folder that holds it"
        ) from error
