"""Entry point of the `hares` command. Its name is unmistakable, and it imports the standard library alone.

A package of the user's on PYTHONPATH may have the name of one of ours (`cli`, `models`, ...) and would hide it. So our
packages are found in our own place, before Python searches its path. `hares evaluate` is an exception: an encoder may
bring a package of its own with such a name, so only what that command needs is ours.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

HOME = Path(__file__).resolve().parent
PACKAGES = ("hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds")
_OF_EVALUATE = ("hares", "cli")
_WRONG_SETTING = 3  # `cli.errors.ExitCode.SETTINGS`


class OurPackages:
    """Finds some of our packages in our own place (a finder of `sys.meta_path`)."""

    def __init__(self, names: Collection[str]):
        self._names = frozenset(names)

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of the packages; None for any other module."""
        return PathFinder.find_spec(name, [str(HOME)], target) if name in self._names else None


def packages_of(arguments: Sequence[str]) -> tuple[str, ...]:
    """The packages that have to be ours for a command line."""
    return _OF_EVALUATE if arguments[:1] == ["evaluate"] else PACKAGES


def place_of(name: str) -> Path | None:
    """The folder (or file) that `import name` finds or has found."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0] if folders else str(spec.origin)).resolve()


def main() -> None:
    """Runs the command with our own packages."""
    names = packages_of(sys.argv[1:])
    hidden = [name for name in names if place_of(name) not in (None, HOME / name)]
    for name in sys.modules.keys() & hidden:
        sys.stderr.write(
            f"hares: a package {name!r}, loaded at Python's start, hides that of hares in {HOME / name}; rename it\n"
        )
        sys.exit(_WRONG_SETTING)
    if hidden:  # processes that the command starts find ours first too
        rest = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(HOME), *([rest] if rest else [])])
    sys.meta_path.insert(0, OurPackages(names))

    from cli.main import main as run

    run()


if __name__ == "__main__":
    main()
