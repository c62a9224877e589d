"""What a signal means to a run: an interruption, which is recorded, and after which the same command goes on."""

from __future__ import annotations

import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
GOES_ON = "the same command goes on where it stopped"


class RunInterruptedError(KeyboardInterrupt):
    """A signal ended a run. No Exception, so that nothing that handles failures takes it for one."""


class Interruptible:
    """Inside the block SIGTERM, as Ctrl-C, raises KeyboardInterrupt. A second signal ends the process at once.

    Libraries wrap what is raised within them into errors of their own (Beam, TensorFlow), as if the step had failed, or
    lose it (a finaliser): `requested` says whether a signal came, and `check` raises where it was lost. While the
    Trainer trains SIGTERM is its own (`models.training.loop`). Only the main thread may listen for signals; elsewhere
    nothing changes.
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Interruptible:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in _SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def check(self) -> None:
        """Raises RunInterruptedError where a signal has come."""
        if self.requested:
            raise RunInterruptedError(f"interrupted; {GOES_ON}")

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise KeyboardInterrupt
