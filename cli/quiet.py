"""Sends everything that libraries print or log to a file, and keeps the terminal for us.

TFX, Beam and TensorFlow log thousands of lines a run, some of them from C++ straight to the file descriptors, so the
descriptors themselves are pointed at the log.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from cli.terminal import Terminal
from hares._files import shown
from hares.links import no_link


class _Plain(logging.Formatter):
    """A log is read in a terminal: control characters in a message are shown, and its lines stay lines."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(shown, super().format(record).split("\n")))


@contextmanager
def logging_to(path: Path) -> Iterator[Terminal]:
    """Inside the block, stdout, stderr and all logging go to `path`; the console given still shows.

    Args:
        path: the log file; its folder is made.

    Raises:
        OSError: it cannot be written, or is a link.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    terminal = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    lines = open(path, "a", encoding="utf-8", opener=no_link)  # noqa: SIM115
    handler = logging.StreamHandler(lines)
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    with open(path, "ab", buffering=0, opener=no_link) as log, warnings.catch_warnings():
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)
        root.handlers = [handler]
        root.setLevel(logging.INFO)
        logging.captureWarnings(True)
        try:
            yield Terminal(file=terminal)
        finally:
            _flush(sys.stdout, 1)
            _flush(sys.stderr, 2)
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)
            logging.captureWarnings(False)
            root.handlers, root.level = handlers, level
            with contextlib.suppress(OSError):  # as in `_flush`
                lines.close()
            terminal.close()


def _flush(stream: TextIO, descriptor: int) -> None:
    """Flushes into the log. On a full disk what does not fit is dropped: how the command ended matters more."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        stream.flush()
