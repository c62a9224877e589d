"""What can go wrong under a step: each cause is put in place while the run is stopped, and taken away afterwards.

| cause | how |
|---|---|
| SIGKILL, SIGTERM | the signal |
| disk full | the workspace is a tmpfs; its size is set to what it holds, so that the next block is one too many |
| read-only output | `artifacts/`, `checkpoints/` and `pushed/` become read-only bind mounts; the store stays writable |
| store locked | another connection holds SQLite's EXCLUSIVE lock, for at most `HELD_SECONDS` |
| out of memory | RLIMIT_AS is set to what the process has mapped, so that nothing more can be |
| clock going back | libfaketime sets the process's clock a day back; monotonic clocks and files keep theirs |

The machine's own clock is never touched. Mounts are made in a mount namespace of this program's own (`__main__`), and
end with it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from glob import glob
from pathlib import Path

HELD_SECONDS = 60.0
_DAY = 86_400
_ROOM = "512m"
_OUTPUTS = ("artifacts", "checkpoints", "pushed")
# Takes the lock, says so, and holds it until its stdin ends.
_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
_LIBFAKETIME = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1",
                "/usr/local/lib/faketime/libfaketimeMT.so.1")  # fmt: skip


class NotPossibleHereError(RuntimeError):
    """The machine lacks what a cause needs; the message says what."""


class Cause:
    """One thing that goes wrong. `folder` is the workspace, `scratch` a folder for the cause's own files."""

    name: str
    held_seconds = float("inf")  # taken away after so long, should the run still be waiting

    def __init__(self, folder: Path, scratch: Path):
        self.folder = folder
        self.scratch = scratch

    def environment(self) -> Mapping[str, str]:
        """Variables that the run is started with. Raises NotPossibleHereError."""
        return {}

    def prepare(self) -> None:
        """Before the run starts."""

    def apply(self, pid: int) -> bool:
        """Puts the cause in place under a stopped process; False where it has to run a little further first."""
        raise NotImplementedError

    def remove(self) -> None:
        """Takes it away."""


class _Signal(Cause):
    number: signal.Signals

    def apply(self, pid: int) -> bool:
        os.kill(pid, self.number)
        return True


class Kill(_Signal):
    name = "SIGKILL"
    number = signal.SIGKILL


class Terminate(_Signal):
    name = "SIGTERM"
    number = signal.SIGTERM


class DiskFull(Cause):
    name = "disk full"

    def apply(self, pid: int) -> bool:
        found = os.statvfs(self.folder)
        used = (found.f_blocks - found.f_bfree) * found.f_frsize
        mount("-o", f"remount,size={used}", str(self.folder))
        return True

    def remove(self) -> None:
        mount("-o", f"remount,size={_ROOM}", str(self.folder))


class ReadOnly(Cause):
    name = "read-only output"

    def prepare(self) -> None:
        for name in _OUTPUTS:
            (self.folder / name).mkdir(exist_ok=True)

    def apply(self, pid: int) -> bool:
        for name in _OUTPUTS:
            path = str(self.folder / name)
            mount("--bind", path, path)
            mount("-o", "remount,bind,ro", path)
        return True

    def remove(self) -> None:
        for name in _OUTPUTS:
            unmount(self.folder / name)


class StoreLocked(Cause):
    name = "store locked"
    held_seconds = HELD_SECONDS
    _holder: subprocess.Popen[bytes] | None = None

    def apply(self, pid: int) -> bool:
        # A process of its own: the kernel gives up all of a process's locks on a file when it closes the file once.
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(self.folder / "metadata.sqlite")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert holder.stdout is not None
        if not holder.stdout.readline():  # the run is in a transaction of its own
            holder.wait()
            return False
        self._holder = holder
        return True

    def remove(self) -> None:
        if self._holder is not None:
            self._holder.communicate()
            self._holder = None


class OutOfMemory(Cause):
    name = "out of memory"

    def apply(self, pid: int) -> bool:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[0])
        mapped = pages * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (mapped, mapped))
        return True


class ClockBack(Cause):
    name = "clock going back"

    @property
    def _offset(self) -> Path:
        return self.scratch / "clock-offset"

    def environment(self) -> Mapping[str, str]:
        found = [path for pattern in _LIBFAKETIME for path in glob(pattern)]
        if not found:
            raise NotPossibleHereError("libfaketime is not installed (Debian: apt-get install libfaketime)")
        return {
            "LD_PRELOAD": found[0],
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",  # the corpus' times are part of its fingerprint
        }

    def prepare(self) -> None:
        self._offset.write_text("+0\n", encoding="utf-8")

    def apply(self, pid: int) -> bool:
        part = self._offset.with_suffix(".part")
        part.write_text(f"-{_DAY}\n", encoding="utf-8")
        os.replace(part, self._offset)
        return True


CAUSES: tuple[type[Cause], ...] = (
    Kill,
    Terminate,
    DiskFull,
    ReadOnly,
    StoreLocked,
    OutOfMemory,
    ClockBack,
)


def mount(*arguments: str) -> None:
    """`mount`, in this program's own namespace."""
    subprocess.run(["mount", *arguments], check=True)


def unmount(path: Path) -> None:
    """Ends a mount; one that is still in use disappears from the tree and ends with its last user."""
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def mount_workspace(folder: Path) -> None:
    """An empty tmpfs at `folder`, in the place of whatever was mounted there."""
    folder.mkdir(parents=True, exist_ok=True)
    while os.path.ismount(folder):
        unmount(folder)
        time.sleep(0.01)
    mount("-t", "tmpfs", "-o", f"size={_ROOM}", "tmpfs", str(folder))


def continue_process(pid: int) -> None:
    """Lets a stopped process go on; one that is gone is left alone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
