"""Failures of commands: an exit code for each kind, and one line that says what to do."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path

from hares.version_lines import this_line, version_lines

# What another place solves, and what only a repair of the machine does.
_PLACE = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
    *(errno.ELOOP, errno.ENAMETOOLONG),
}
_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


class ExitCode(IntEnum):
    """The exit codes. 1 is for crashes, 2 for click's own usage errors."""

    OK = 0
    SETTINGS = 3  # a setting or option is wrong; nothing was read
    DATA = 4  # the data found cannot be used
    STEP = 5  # a step of the pipeline failed
    INTERRUPTED = 6  # stopped by a signal; run it again to go on
    NOT_BLESSED = 7  # the run is complete, the model did not pass
    STORE = 8  # the metadata store does not answer, or refuses us
    SERVICE = (
        9  # the cluster's API, a bucket's service or a server of data sets does not answer, or refuses us
    )
    BUSY = 10  # another run is at work in the workspace, or another evaluation in the output folder
    NOT_INSTALLED = 11  # a package that the command needs is not installed


class CommandError(Exception):
    """Ends a command with a message and an exit code."""

    def __init__(self, message: str, code: ExitCode):
        super().__init__(message)
        self.code = code


def not_installed(error: ModuleNotFoundError) -> CommandError:
    """A missing package as one line: with the benchmark alone installed, most commands lack one."""
    from hares.buckets import ExtraMissingError

    if isinstance(error, ExtraMissingError):
        return CommandError(str(error), ExitCode.NOT_INSTALLED)
    here, known = this_line(), version_lines()
    fitting = next((line for line in known if line.loads_here()), known[-1])
    python = "" if here and here.loads_here() else f" under Python {fitting.pythons[0]}"
    return CommandError(
        f"this command is of the pipeline, and {error.name} is not installed: install hares-tfx[pipeline]{python} "
        "(`make setup` in a checkout)",
        ExitCode.NOT_INSTALLED,
    )


@contextmanager
def store_failures() -> Iterator[None]:
    """Failures of the metadata store inside the block become one line: exit code 8, or 4 if there is no store."""
    from ml_metadata.errors import StatusError

    from pipeline.lineage.connection import StoreUnreachableError

    try:
        yield
    except FileNotFoundError as error:
        raise CommandError(str(error), ExitCode.DATA) from error
    except (StoreUnreachableError, StatusError) as error:
        raise CommandError(str(error).splitlines()[0], ExitCode.STORE) from error


def file_failure(error: OSError, place: str | None = None) -> CommandError | None:
    """An error of the file system as one line: exit code 3 if another place helps, 5 for a full disk, 9 for a bucket.

    Args:
        error: what was raised.
        place: the option and the path; None for the path that the error names.

    Returns:
        None for an error of another kind, which is a crash.
    """
    from hares.buckets import BucketError

    if isinstance(error, BucketError):
        return CommandError(str(error), ExitCode.SERVICE)
    where = place or error.filename
    if error.errno in _MACHINE:
        beginning = f"{where}: " if where else ""
        return CommandError(
            f"{beginning}{error.strerror}; the same command goes on once that is mended", ExitCode.STEP
        )
    if error.errno in _PLACE and where:
        remedy = (
            "choose a place that you may write to"
            if place
            else "get the right to it, or choose another place"
        )
        return CommandError(f"{where}: {error.strerror}; {remedy}", ExitCode.SETTINGS)
    return None


@contextmanager
def writing_to(path: Path, option: str) -> Iterator[None]:
    """Failures of the file system inside the block become one line that names the option and the path."""
    try:
        yield
    except OSError as error:
        failure = file_failure(error, f"{option} {path}")
        if failure is None:
            raise
        raise failure from error


def claim_folder(folder: Path, option: str) -> None:
    """Makes an output folder and checks that it is writable, before any work is done for it.

    Raises:
        CommandError: it cannot.
    """
    with writing_to(folder, option):
        _try_writing_in(folder)


def claim_file(path: Path, option: str) -> None:
    """As `claim_folder`, for a file; an existing one is left unchanged."""
    with writing_to(path, option):
        if path.is_dir():
            raise _error(errno.EISDIR)
        if not path.exists():
            _try_writing_in(path.parent)
        elif not os.access(path, os.W_OK):
            raise _error(errno.EACCES)


def _try_writing_in(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise _error(errno.ENOTDIR)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _error(code: int) -> OSError:
    return OSError(code, os.strerror(code))
