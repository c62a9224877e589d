"""Packages of the user's with the names of ours: one of the two hides the other, and the error says nothing of it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.errors import CommandError, ExitCode

# Those of every command but `hares evaluate`. Others install a `kubeflow` too, which only commands on clusters mind.
OF_A_RUN = ("hares", "models", "components", "pipeline")
_PACKAGES = (*OF_A_RUN, "kubeflow", "cli")
_HOME = Path(__file__).resolve().parents[1]


def check_ours(*packages: str) -> None:
    """Checks that packages of ours would be imported from our own place.

    Raises:
        CommandError: another package of that name comes first.
    """
    for name in packages:
        found = _place_in_use(name)
        if found is not None and found != _HOME / name:
            raise CommandError(
                f"the package {name!r} in {found} hides that of hares in {_HOME / name}; rename it, or take its folder "
                "out of PYTHONPATH",
                ExitCode.SETTINGS,
            )


def hidden_package(error: BaseException) -> str:
    """What to add to an error that comes of an import from a package with the name of one of ours; else ""."""
    for cause in _causes(error):
        if isinstance(cause, ImportError) and (cause.name or "").partition(".")[0] in _PACKAGES:
            name = str(cause.name).partition(".")[0]
            ours, used = _HOME / name, _place_in_use(name)
            if used not in (None, ours):
                return f". The package {name!r} in {used} hides that of hares in {ours}: rename it"
            yours = next(_others(name), None)
            hides = f", which hides yours in {yours}" if yours else ""
            return f". {name!r} is a package of hares, in {ours}{hides}: give yours another name"
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _place_in_use(name: str) -> Path | None:
    """The folder (or file) that `import name` gives, or has given."""
    module = sys.modules.get(name)
    spec = module.__spec__ if module is not None else importlib.util.find_spec(name)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0] if folders else str(spec.origin)).resolve()


def _others(name: str) -> Iterator[Path]:
    """Packages and modules of that name which are not ours, in the order in which Python would find them."""
    for folder in dict.fromkeys([os.getcwd(), *sys.path]):
        for place in (Path(folder) / name, Path(folder) / f"{name}.py"):
            if place.exists() and place.resolve() != _HOME / name:
                yield place.resolve()
