"""Signals become interruptions, once; whoever listened before listens again afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hares.interruption import Interruptible, RunInterruptedError

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_an_interruption_even_where_a_library_wraps_it(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruptible() as interruption:
        assert not interruption.requested
        with pytest.raises(RuntimeError, match="while running 'Ingest'"):
            try:
                os.kill(os.getpid(), number)
                signal.sigtimedwait([], 5)  # the handler runs here at the latest
            except KeyboardInterrupt as error:
                raise RuntimeError("KeyboardInterrupt [while running 'Ingest']") from error
        assert interruption.requested
    assert signal.getsignal(number) is before


def test_an_interruption_that_a_library_lost_is_raised_at_the_next_check() -> None:
    with Interruptible() as interruption:
        interruption.check()
        with contextlib.suppress(KeyboardInterrupt):  # as a finaliser does
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 5)
        with pytest.raises(RunInterruptedError):
            interruption.check()
    assert not issubclass(RunInterruptedError, Exception), "a failure of a cell it is not"


def test_a_second_signal_ends_the_process_at_once() -> None:
    program = """
import os, signal
from hares.interruption import Interruptible
with Interruptible():
    for _ in range(2):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.sigtimedwait([], 5)
        except KeyboardInterrupt:
            print("swallowed", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "swallowed\n")


def test_outside_of_the_main_thread_nothing_changes() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside() -> None:
        with Interruptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]
