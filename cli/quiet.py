"""Keeps the terminal free: what libraries print or log goes to a file, or nowhere in a command without a log.

TFX, Beam and TensorFlow log thousands of lines a run, some of them from C++ straight to the file descriptors, so the
descriptors themselves are redirected to the log. A command without a log only turns logging down, so that the last
words of a process that C++ aborts are still seen.
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
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from cli.terminal import Terminal

# C++ reads these when it is loaded. TensorFlow's level 3 shows fatal errors only, glog's 2 (ML Metadata) errors too.
_TENSORFLOW, _LEVELS = "TF_CPP_MIN_LOG_LEVEL", {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "2"}


def turn_libraries_down() -> None:
    """Silences libraries that are imported after this call, unless the environment asks for their logs."""
    for name, level in _LEVELS.items():
        os.environ.setdefault(name, level)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())  # without any, Python and TensorFlow take stderr


class _Plain(logging.Formatter):
    """Shows control characters in messages, because logs are read in terminals; line breaks stay."""

    def format(self, record: logging.LogRecord) -> str:
        from hares.files import shown

        return "\n".join(map(shown, super().format(record).split("\n")))


@contextmanager
def logging_to(path: Path) -> Iterator[Terminal]:
    """Inside the block, stdout, stderr and all logging go to `path`; the console given still shows.

    Args:
        path: the log file; its folder is made.

    Raises:
        OSError: it cannot be written, or is a link.
    """
    from cli.terminal import Terminal  # here, so that `hares --help` is quick
    from hares.atomic_files import no_link

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
    if os.environ.get(_TENSORFLOW) == _LEVELS[_TENSORFLOW]:
        del os.environ[_TENSORFLOW]  # the log is for all of it, where TensorFlow is not imported yet
    with open(path, "ab", buffering=0, opener=no_link) as log, warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("default")
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
    """Flushes into the log. On a full disk the rest is dropped: how the command ended matters more."""
    try:
        stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)
        stream.flush()
