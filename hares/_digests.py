"""Content digests of encoders: the same digest means the same embeddings, whatever the name or folder.

A class name, a path or a time stamp says nothing of weights. What settles an embedding is the bytes of the
weights, the source that reads them, and the versions of the libraries that compute.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hares._files import walk_files

_BLOCK_BYTES = 1 << 17
_LIBRARIES = ("numpy", "tensorflow", "torch", "soxr")


def combined_digest(**parts: Any) -> str:
    """SHA-256 (hex) of named parts, values that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def file_digest(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file. Raises OSError where it cannot be read."""
    digest = hashlib.sha256()
    # One for all of the file, small enough for a core's own cache.
    block = memoryview(bytearray(_BLOCK_BYTES))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def tree_digest(path: Path) -> str:
    """SHA-256 (hex) of a file, or of the names and bytes of all files below a folder."""
    if not path.is_dir():
        return file_digest(path)
    files = [(name, file_digest(Path(entry.path))) for name, entry in walk_files(path) if entry.is_file()]
    return combined_digest(files=files)


def library_versions() -> dict[str, str]:
    """Versions of the libraries that compute embeddings, of those that are installed."""
    installed = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return {name: installed[name] for name in _LIBRARIES if name in installed}


def source_digest(module: str) -> str:
    """SHA-256 (hex) of a module's source and of the modules it imports that are no installed library.

    A module of an installed package stands for the whole package.

    Raises:
        ValueError: there is no such module.
    """
    sources: dict[str, str] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        if name in sources:
            continue
        path = _source(name)
        if path is None:
            if name == module:
                raise ValueError(
                    f"no source for module {module!r}; is its folder the one hares was called in?"
                )
            continue
        if _installed(path):
            if name.split(".")[0] == module.split(".")[0]:
                sources[name] = _package_digest(path, name)
            continue
        sources[name] = file_digest(path)
        pending += _imports(path, name)
        pending += [name.rpartition(".")[0]] if "." in name else []
    return combined_digest(sources=sources)


def _source(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    origin = Path(spec.origin) if spec and spec.origin else None
    return origin if origin and origin.suffix == ".py" and origin.is_file() else None


def _installed(path: Path) -> bool:
    homes = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
    return any(home in path.resolve().parents for home in homes)


def _package_digest(path: Path, name: str) -> str:
    """Digest of all sources of the installed package that `path`, module `name`, belongs to."""
    depth = name.count(".") - (path.name != "__init__.py")
    if depth < 0:
        return file_digest(path)
    files = sorted(path.parents[depth].rglob("*.py"))
    return combined_digest(files=[(str(f.relative_to(path.parents[depth])), file_digest(f)) for f in files])


def _imports(path: Path, name: str) -> Iterator[str]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
