"""Packages of the user's with the names of ours. One of the two hides the other, and Python's error does not say so.

The `hares` script imports our own packages first (`hares_command`); `python -m cli.main` does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.errors import CommandError, ExitCode
from hares_command import HOME, PACKAGES, place_of

# Every command but `hares evaluate` needs these. Other projects install a `kubeflow` too, which matters to the commands
# for clusters alone.
OF_A_RUN = ("hares", "models", "components", "pipeline", "workarounds")


def check_ours(*packages: str) -> None:
    """Checks that packages of ours would be imported from our own place.

    Raises:
        CommandError: another package of that name comes first.
    """
    for name in packages:
        found = place_of(name)
        if found is not None and found != HOME / name:
            raise CommandError(
                f"the package {name!r} in {found} hides that of hares in {HOME / name}; rename it, or take its folder "
                "out of PYTHONPATH",
                ExitCode.SETTINGS,
            )


def hidden_package(error: BaseException) -> str:
    """What to add to the error of an import from a package with the name of one of ours; "" for any other error."""
    for cause in _causes(error):
        if isinstance(cause, ImportError) and (cause.name or "").partition(".")[0] in PACKAGES:
            name = str(cause.name).partition(".")[0]
            ours, used = HOME / name, place_of(name)
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


def _others(name: str) -> Iterator[Path]:
    """Packages and modules of that name that are not ours, in the order in which Python would find them."""
    for folder in dict.fromkeys([os.getcwd(), *sys.path]):
        for place in (Path(folder) / name, Path(folder) / f"{name}.py"):
            if place.exists() and place.resolve() != HOME / name:
                yield place.resolve()
