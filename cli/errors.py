"""One exit code for each kind of failure, and one line that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """What `$?` says. 1 is left to crashes that nobody foresaw, 2 to click's own usage errors."""

    OK = 0
    SETTINGS = 3  # a setting or option is wrong; nothing was read
    DATA = 4  # the data found cannot be used
    STEP = 5  # a step of the pipeline failed
    INTERRUPTED = 6  # stopped by a signal; run it again to go on
    NOT_BLESSED = 7  # the run is complete, the model did not pass
    STORE = 8  # the metadata store does not answer, or refuses us
    SERVICE = 9  # the cluster's API does not answer, or refuses us
    BUSY = 10  # another run is at work in the workspace


class CommandError(Exception):
    """Ends a command with a message and an exit code."""

    def __init__(self, message: str, code: ExitCode):
        super().__init__(message)
        self.code = code


@contextmanager
def store_failures() -> Iterator[None]:
    """Failures of the metadata store within it become one line: exit code 8, or 4 where there is no store."""
    from ml_metadata.errors import StatusError

    from pipeline.lineage.connection import StoreUnreachableError

    try:
        yield
    except FileNotFoundError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except (StoreUnreachableError, StatusError) as error:
        raise CommandError(str(error).splitlines()[0], ExitCode.STORE) from error
