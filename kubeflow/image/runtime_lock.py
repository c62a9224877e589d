"""The part of a lock file that the product needs to run, without the packages of tests and linters.

    python runtime_lock.py requirements.lock setup.py > runtime.lock
    python runtime_lock.py requirements.lock setup.py pip wheel > build.lock        only these packages

The lock file says under each package which packages require it ("via"). A package is kept if this chain leads to one of
setup.py's INSTALL_REQUIRES, BUCKETS or PIPELINE, and its marker does not keep it for another Python or system. The
image's build runs this script before our packages are installed, so it uses only the standard library.
"""

from __future__ import annotations

import ast
import operator
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

_PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)(?: ; ([^\\]+))?")
_PROJECT = "hares-tfx"
_LISTS = ("INSTALL_REQUIRES", "BUCKETS", "PIPELINE")
_OTHER_EXTRA = re.compile(r"""extra == ["'](?!pipeline["'])""")
# What markers ask of the machine that this runs on.
_HERE = {
    "python_version": ".".join(platform.python_version_tuple()[:2]),
    "python_full_version": platform.python_version(),
    "sys_platform": sys.platform,
    "platform_machine": platform.machine(),
    "platform_python_implementation": platform.python_implementation(),
    "implementation_name": sys.implementation.name,
}
_COMPARED = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip


@dataclass(frozen=True)
class Pin:
    """A locked package: normalised name, version, marker, the packages that require it, and its lines."""

    name: str
    version: str
    marker: str
    via: tuple[str, ...]
    lines: tuple[str, ...]


def normalise(name: str) -> str:
    """A distribution's name as package indexes compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()


def holds(marker: str, here: Mapping[str, str] = MappingProxyType(_HERE)) -> bool:
    """Whether an environment marker holds, as `python_version < "3.11" and sys_platform == "linux"`.

    Args:
        marker: the text after a requirement's semicolon; an empty one always holds.
        here: the values of the marker's names.

    Raises:
        ValueError: it asks for something that this does not know.
    """

    def value(node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):
            return (all if isinstance(node.op, ast.And) else any)(map(value, node.values))
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            left, right = node.left, node.comparators[0]
            if isinstance(left, ast.Name) and left.id in here and isinstance(right, ast.Constant):
                ours, theirs = here[left.id], str(right.value)
                compare: Callable[[Any, Any], bool] | None = _COMPARED.get(type(node.ops[0]))
                if compare and left.id.endswith("version"):
                    return compare(_release(ours), _release(theirs))
                if compare in (operator.eq, operator.ne):
                    return bool(compare(ours, theirs))
        raise ValueError(f"marker {marker!r}: {ast.unparse(node)!r} is not understood")

    return not marker.strip() or value(ast.parse(marker.strip(), mode="eval").body)


def read_lock(text: str) -> dict[str, Pin]:
    """The pins in a lock file from `uv pip compile --generate-hashes` that are for this machine, by normalised name.

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
    return {pin.name: pin for pin in map(_pin, blocks) if holds(pin.marker)}


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
        lock: text of the lock file of this Python's line.
        setup: text of setup.py.

    Raises:
        ValueError: setup.py lacks one of the lists, or a requirement in them is not locked.
    """
    pins = read_lock(lock)
    wanted = _required(setup)
    if missing := sorted(wanted - set(pins)):
        raise ValueError(
            f"setup.py requires {', '.join(missing)}, which the lock file lacks: run `make lock`"
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
    return Pin(normalise(match[1]), match[2], (match[3] or "").strip(), tuple(via), tuple(lines))


def _release(version: str) -> tuple[int, ...]:
    """A version's numbers without zeros at the end: 3.13 is 3.13.0."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _required(setup: str) -> set[str]:
    lists: dict[str, list[str]] = {
        ast.unparse(node.targets[0]): ast.literal_eval(node.value)
        for node in ast.parse(setup).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in _LISTS
    }
    if missing := [name for name in _LISTS if name not in lists]:
        raise ValueError(f"setup.py has no list {missing[0]}, which decides the packages of the image")
    requirements = (requirement.partition(";") for name in _LISTS for requirement in lists[name])
    return required_names([text for text, _, marker in requirements if holds(marker)])


if __name__ == "__main__":
    for kept in runtime_pins(*(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:3])):
        if not sys.argv[3:] or kept.name in sys.argv[3:]:
            print("\n".join(kept.lines))
