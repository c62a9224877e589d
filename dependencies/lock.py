"""The lock files, read: every package with its version and the digests of its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LOCK = PROJECT / "requirements.lock"
# The benchmark alone, for every Python that it supports.
BENCHMARK_LOCK = PROJECT / "requirements-benchmark.lock"
# What the extra `torch` adds to it: gigabytes that only an import of PyTorch's archives needs.
TORCH_LOCK = PROJECT / "requirements-torch.lock"
# What the image for GPUs adds to it.
GPU_LOCK = PROJECT / "requirements-gpu.lock"
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """A locked package; `sha256` are the digests of the files that may be installed for it."""

    name: str
    version: str
    sha256: tuple[str, ...]


def read_lock(path: Path = LOCK) -> list[Pin]:
    """The packages of a lock file, in its order.

    Raises:
        ValueError: a line that is neither a pin with digests nor a comment, or a package without a digest.
    """
    pins = []
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        found = _PIN.match(line)
        hashes = tuple(_HASH.findall(line))
        if found is None or not hashes:
            raise ValueError(f"{path.name}: got {line[:80]!r}; expected name==version with --hash=sha256:...")
        pins.append(Pin(found["name"], found["version"], hashes))
    return pins
