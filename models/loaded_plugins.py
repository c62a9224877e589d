"""Files of a user's own that were loaded as plugins: which they are, and what they define.

`sys.modules` is the register, as it is for every other module: a process that has loaded a plugin knows its encoders,
and no list of ours can disagree with it. `models/plugin.py` loads them.
"""

from __future__ import annotations

import sys
from types import ModuleType

PREFIX = "hares_plugin_"  # of the module names under which plugins are loaded


def plugin_modules() -> tuple[ModuleType, ...]:
    """The plugins that this process has loaded, sorted by module name."""
    return tuple(module for name, module in sorted(sys.modules.items()) if name.startswith(PREFIX))


def plugin_module_with_encoder(name: str) -> str | None:
    """Module name of the plugin that defines encoder `name`, if any does."""
    found = (m.__name__ for m in plugin_modules() if name in getattr(m, "ENCODERS", {}))
    return next(found, None)


def plugin_module_with_objective(name: str) -> str | None:
    """Module name of the plugin that defines objective `name`, if any does."""
    found = (
        m.__name__ for m in plugin_modules() if name == getattr(getattr(m, "OBJECTIVE", None), "name", None)
    )
    return next(found, None)
