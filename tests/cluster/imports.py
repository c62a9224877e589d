"""Imports everything that our packages import, at their head or inside a function, and reports what is missing.

    python imports.py

A script of the standard library alone: run inside an image, or the folder that stands for one, it finds a package that
only the tests' environment has. Packages of an extra (`pip install hares-tfx[torch]`), and imports within
`try ... except ImportError`, may be missing.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

# They import what a user's encoder brings, as PyTorch or mteb.
BROUGHT = ("hares.adapters.", "hares.exchange.")
PACKAGES = ("hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds")


def first_party_modules() -> dict[str, Path]:
    """Our modules' names and files, as installed."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"{package} is not installed")
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            parts = [package, *path.relative_to(root).with_suffix("").parts]
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(source: str) -> Iterator[tuple[str, str]]:
    """Modules that a source file imports anywhere, with the name taken from each ("" for the module itself)."""
    tree = ast.parse(source)
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any("Import" in ast.unparse(h.type) for h in node.handlers if h.type)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)


def missing_imports() -> dict[str, str]:
    """What cannot be imported, with the error and who imports it."""
    modules = first_party_modules()
    brought = {name for name in modules if name.startswith(BROUGHT)}
    wanted: dict[tuple[str, str], str] = {(name, ""): name for name in modules if name not in brought}
    for name, path in modules.items():
        for imported in imports_of(path.read_text(encoding="utf-8")) if name not in brought else ():
            wanted.setdefault(imported, name)
    optional = _optional()
    failures: dict[str, str] = {}
    for (module, attribute), user in wanted.items():
        if module.partition(".")[0] in optional:
            continue
        try:
            loaded = importlib.import_module(module)
            if attribute and attribute != "*" and not hasattr(loaded, attribute):
                importlib.import_module(f"{module}.{attribute}")
        except ModuleNotFoundError as error:
            # Beam's module for Dask is there without Dask, and cannot be imported.
            if (error.name or "").partition(".")[0] not in optional:
                failures[_shown(module, attribute)] = f"{type(error).__name__}: {error} (imported by {user})"
        except Exception as error:  # a package may fail to load in any way, and each is a fault of the image
            failures[_shown(module, attribute)] = f"{type(error).__name__}: {error} (imported by {user})"
    return failures


def _shown(module: str, attribute: str) -> str:
    return f"{module}.{attribute}" if attribute else module


def _optional() -> set[str]:
    requirements = importlib.metadata.requires("hares-tfx") or []
    return {
        re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0].replace("-", "_")
        for text in requirements
        if "extra ==" in text
    }


if __name__ == "__main__":
    missing = missing_imports()
    print(json.dumps(missing, indent=1))
    sys.exit(1 if missing else 0)
