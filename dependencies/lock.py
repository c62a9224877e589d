"""The lock files, read: every package with its version and the digests of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from hares.version_lines import this_lock, version_lines
from kubeflow.image.runtime_lock import holds

PROJECT = Path(__file__).resolve().parents[1]
# Of this Python's line.
LOCK = PROJECT / this_lock()
# The benchmark alone, for every Python that it supports.
BENCHMARK_LOCK = PROJECT / "requirements-benchmark.lock"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?) --hash)?")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """A locked package.

    Attributes:
        sha256: digests of the files that may be installed for it.
        marker: for which Pythons and systems it is; "" for all.
    """

    name: str
    version: str
    sha256: tuple[str, ...]
    marker: str = ""


def torch_lock(lock: Path = LOCK) -> Path:
    """What the extra `torch` adds to a line's lock: gigabytes that only an import of PyTorch's archives needs."""
    return lock.with_name(lock.name.replace("requirements", "requirements-torch", 1))


def gpu_lock(lock: Path = LOCK) -> Path:
    """What the image for GPUs adds to a line's lock."""
    return lock.with_name(lock.name.replace("requirements", "requirements-gpu", 1))


def all_locks() -> tuple[Path, ...]:
    """The locks of all lines, and the benchmark's."""
    lines = [PROJECT / line.lock for line in version_lines()]
    return (*(one for lock in lines for one in (lock, torch_lock(lock), gpu_lock(lock))), BENCHMARK_LOCK)


def pins_here(path: Path = LOCK) -> list[Pin]:
    """The packages of a lock file that are for this Python and system."""
    return [pin for pin in read_lock(path) if holds(pin.marker)]


def read_lock(path: Path = LOCK) -> list[Pin]:
    """The packages of a lock file, in its order; a package may have a version for each Python.

    Raises:
        ValueError: a line that is neither a pin with digests nor a comment, or a package without a digest.
    """
    pins = []
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in re.sub(r" *\\\n *", " ", text).splitlines():
        if not line.strip():
            continue
        found = _PIN.match(line)
        hashes = tuple(_HASH.findall(line))
        if found is None or not hashes:
            raise ValueError(f"{path.name}: got {line[:80]!r}; expected name==version with --hash=sha256:...")
        pins.append(Pin(found["name"], found["version"], hashes, found["marker"] or ""))
    return pins
