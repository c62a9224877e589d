"""The part of requirements.lock that the product needs to run, without the packages of tests and linters.

    python runtime_lock.py requirements.lock setup.py > runtime.lock
    python runtime_lock.py requirements.lock setup.py pip wheel > build.lock        only these packages

The lock file says under each package which packages require it ("via"). A package is kept if this chain leads to one of
setup.py's INSTALL_REQUIRES, BUCKETS or PIPELINE. The image's build runs this script before our packages are installed,
so it uses only the standard library.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)")
_PROJECT = "hares-tfx"
_LISTS = ("INSTALL_REQUIRES", "BUCKETS", "PIPELINE")
_OTHER_EXTRA = re.compile(r"""extra == ["'](?!pipeline["'])""")


@dataclass(frozen=True)
class Pin:
    """A locked package: normalised name, version, the packages that require it, and its lines."""

    name: str
    version: str
    via: tuple[str, ...]
    lines: tuple[str, ...]


def normalise(name: str) -> str:
    """A distribution's name as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock(text: str) -> dict[str, Pin]:
    """The pins in a lock file from `uv pip compile --generate-hashes`, by normalised name.

    Raises:
        ValueError: a line belongs to no package.
    """
    blocks: list[list[str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if _PIN.match(line):
            blocks.append([line])
        elif blocks and (not line.strip() or line.startswith(" ")):
            blocks[-1].append(line)
        elif line.strip() and not line.startswith("#"):
            raise ValueError(
                f"lock file, line {number}: got {line!r}, expected `name==version` and its hashes"
            )
    return {pin.name: pin for pin in map(_pin, blocks)}


def reached(pins: Mapping[str, Pin], names: Iterable[str]) -> set[str]:
    """The packages `names` and all that they require."""
    brings: dict[str, set[str]] = {}
    for pin in pins.values():
        for parent in pin.via:
            brings.setdefault(parent, set()).add(pin.name)
    found = set(names)
    pending = sorted(found)
    while pending:
        new = brings.get(pending.pop(), set()) - found
        found |= new
        pending += sorted(new)
    return found


def required_names(requirements: Iterable[str]) -> set[str]:
    """The packages named by requirements, without those of extras other than `pipeline`."""
    plain = (text for text in requirements if not _OTHER_EXTRA.search(text))
    return {normalise(re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]) for text in plain}


def runtime_pins(lock: str, setup: str) -> list[Pin]:
    """The pins that setup.py's INSTALL_REQUIRES, BUCKETS and PIPELINE reach, in the lock file's order.

    Args:
        lock: text of requirements.lock.
        setup: text of setup.py.

    Raises:
        ValueError: setup.py lacks one of the lists, or a requirement in them is not locked.
    """
    pins = read_lock(lock)
    wanted = _required(setup)
    if missing := sorted(wanted - set(pins)):
        raise ValueError(
            f"setup.py requires {', '.join(missing)}, which requirements.lock lacks: run `make lock`"
        )
    kept = reached(pins, wanted)
    return [pin for pin in pins.values() if pin.name in kept]


def _pin(lines: list[str]) -> Pin:
    match = _PIN.match(lines[0])
    assert match is not None
    via: list[str] = []
    for line in lines[1:]:
        comment = line.strip()
        if comment.startswith("#"):
            parent = comment.lstrip("# ").removeprefix("via").strip().partition(" ")[0]
            if parent and normalise(parent) != _PROJECT:
                via.append(normalise(parent.partition("[")[0]))
    return Pin(normalise(match[1]), match[2], tuple(via), tuple(lines))


def _required(setup: str) -> set[str]:
    lists: dict[str, list[str]] = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in ast.parse(setup).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in _LISTS
    }
    if missing := [name for name in _LISTS if name not in lists]:
        raise ValueError(f"setup.py has no list {missing[0]}, which decides the packages of the image")
    return required_names([requirement for name in _LISTS for requirement in lists[name]])


if __name__ == "__main__":
    for kept in runtime_pins(*(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3])):
        if not sys.argv[3:] or kept.name in sys.argv[3:]:
            print("\n".join(kept.lines))
