"""This machine: ffmpeg, room on the disk, memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kubeflow.doctor.finding import Finding, Severity, Subject

_GB = 1e9
# A run of the preset `demo` leaves less than this in its workspace, and peaks below this in memory (docs/measurements
# gives both for larger ones): with less than these nothing of use can be run.
LEAST_DISK, LEAST_MEMORY = 2 * _GB, 2 * _GB
_MEMINFO = Path("/proc/meminfo")


def check_ffmpeg(subject: Subject) -> Iterator[Finding]:
    """Ffmpeg is installed; it decodes m4a and the like."""
    if subject.target == "local" and shutil.which("ffmpeg") is None:
        yield Finding(
            "ffmpeg", Severity.WARNING, "ffmpeg",
            "it is not on the PATH: clips in m4a cannot be read (wav, flac, ogg and mp3 can)",
            "install it, as in `apt-get install ffmpeg`, or convert such clips",
        )  # fmt: skip


def check_disk(subject: Subject) -> Iterator[Finding]:
    """The workspace's disk has enough space."""
    folder = subject.workspace.absolute()
    there = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), None)
    if there is None:
        return
    free = shutil.disk_usage(there).free
    if free < LEAST_DISK:
        yield Finding(
            "disk", Severity.FATAL, f"--workspace {subject.workspace}",
            f"{free / _GB:.1f} GB are free on its disk, and a run needs {LEAST_DISK / _GB:.0f} GB or more",
            "make room, or give a workspace on another disk",
        )  # fmt: skip


def check_memory(subject: Subject) -> Iterator[Finding]:
    """A local run has enough memory."""
    if subject.target != "local":
        return
    free = available_memory(_MEMINFO)
    if free is not None and free < LEAST_MEMORY:
        yield Finding(
            "memory", Severity.WARNING, "memory",
            f"{free / _GB:.1f} GB are free, and a run needs {LEAST_MEMORY / _GB:.0f} GB or more",
            "close other programs, or run on a larger machine",
        )  # fmt: skip


def available_memory(meminfo: Path) -> float | None:
    """Bytes that are still available: the kernel's estimate, or less if a cgroup sets a limit.

    Args:
        meminfo: Linux's /proc/meminfo; without it the result is None.
    """
    if not meminfo.is_file():
        return None
    rows = dict(
        line.split(":", 1) for line in meminfo.read_text(encoding="utf-8").splitlines() if ":" in line
    )
    free = float(rows["MemAvailable"].split()[0]) * 1024
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and os.access(limit, os.R_OK):
        text = limit.read_text(encoding="utf-8").strip()
        if text != "max":
            free = min(free, float(text) - float(used.read_text(encoding="utf-8")))
    return free
