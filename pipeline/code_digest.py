"""Digest of the source code behind a component, so that TFX's cache sees a change of code.

TFX keys its cache on execution properties and input artifacts. Code behind an import path
(`run_fn="pipeline.called_by_name.training.run_fn"`) is neither: a changed model would be served from cache. So each
component gets the digest of the first-party modules its entry point imports, directly or not, and of the lock file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading sources needs no TensorFlow
    from models.plugin import Plugin

FIRST_PARTY = frozenset({"hares", "models", "components", "pipeline", "kubeflow", "cli"})
PROJECT = Path(__file__).resolve().parents[1]
# Where the lock file is not beside the packages (an installed wheel), these settle the numbers.
NUMERIC_LIBRARIES = (
    "tensorflow", "tfx", "tensorflow-transform", "apache-beam", "numpy", "scikit-learn", "soundfile", "soxr",
)  # fmt: skip


def code_digest(*modules: str, plugins: Iterable[Plugin] = ()) -> str:
    """SHA-256 over the sources of `modules` and all first-party modules they import, and the lock file.

    Args:
        modules: dotted names; modules that are imported by a computed name have to be named here.
        plugins: files outside the packages that belong to them: their bytes, and the modules of ours they import.

    Raises:
        ModuleNotFoundError: a module that does not exist.
    """
    digest = hashlib.sha256(_environment().encode())
    imported: list[str] = []
    for plugin in sorted(plugins, key=lambda p: p.digest):
        digest.update(f"\nplugin {plugin.digest}\n".encode())
        imported += _first_party_imports("", Path(plugin.path))
    for name, path in sorted(_closure([*modules, *imported]).items()):
        digest.update(f"\n{name}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _closure(modules: Iterable[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name in found:
            continue
        path = _source(name)
        if path is None:
            raise ModuleNotFoundError(f"no source for module {name}")
        found[name] = path
        pending += _first_party_imports(name, path)
        package = name.rpartition(".")[0]
        if package:
            pending.append(package)
    return found


def _first_party_imports(name: str, path: Path) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            candidates = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            candidates = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for candidate in candidates:
            if candidate.split(".")[0] in FIRST_PARTY and _source(candidate):
                yield candidate


@functools.cache
def _source(name: str) -> Path | None:
    """File of a first-party module, without importing it (that would cost what the module imports)."""
    base = PROJECT.joinpath(*name.split("."))
    for path in (base / "__init__.py", base.with_suffix(".py")):
        if path.is_file():
            return path
    return None


def _environment() -> str:
    lock = PROJECT / "requirements.lock"
    if lock.is_file():
        return hashlib.sha256(lock.read_bytes()).hexdigest()
    return " ".join(f"{name}=={importlib.metadata.version(name)}" for name in NUMERIC_LIBRARIES)
