"""Importing a user's module: one that is installed, or one in the folder the command was called in."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from hares._user_code import UserCodeError


def import_user_module(name: str, spec: str) -> ModuleType:
    """Imports `name`, as `python -m` would find it.

    Raises:
        UserCodeError: there is no such module, or importing it fails; the message says why.
    """
    here = os.getcwd()
    if here not in sys.path:  # a console script's path begins with its own folder
        sys.path.insert(0, here)
        importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever the user's code raises
        raise UserCodeError(
            f"encoder {spec!r}: module {name!r} cannot be imported ({type(error).__name__}: {error}). "
            "Give its dotted name, and install it or call hares in the folder that holds it"
        ) from error
