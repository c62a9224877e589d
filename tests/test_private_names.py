"""Private names of libraries are touched in `workarounds/` alone, and functions of theirs are replaced there alone."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
PACKAGES = ("hares", "models", "components", "pipeline", "kubeflow", "cli")
SOURCES = [path for package in PACKAGES for path in sorted((PROJECT / package).rglob("*.py"))]
LIBRARIES = {
    *("tfx", "tfx_bsl", "tensorflow_transform", "apache_beam", "tensorflow", "tensorflow_addons", "keras"),
    *("ml_metadata", "kfp"),
}
# What TFX's guide to custom components tells an executor to use.
OF_EXECUTORS = {"_log_startup", "_context", "_make_beam_pipeline", "_beam_pipeline_args"}
# Attributes of something other than `self`, though not of these libraries.
ALLOWED = {
    ("hares/buckets/gs.py", "self._client._http"),  # nor does its storage's
    ("hares/user_code.py", "os._exit"),
    ("kubeflow/vertex/api.py", "transport._session"),  # Google's clients offer no other way to their session
    ("kubeflow/vertex/api.py", "session._auth_request_session"),
}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported_names(tree: ast.AST) -> dict[str, str]:
    """What each name of a module stands for, where that comes from a library: its path there."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in LIBRARIES:
                    found[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIBRARIES:
            found.update({a.asname or a.name: f"{node.module}.{a.name}" for a in node.names})
    return found


def library_path(node: ast.expr, names: dict[str, str]) -> str | None:
    """The path of `a.b.c` where `a` comes from a library; else None."""
    if isinstance(node, ast.Attribute):
        above = library_path(node.value, names)
        return f"{above}.{node.attr}" if above else None
    return names.get(node.id) if isinstance(node, ast.Name) else None


@functools.cache
def class_at(path: str) -> type | None:
    """The class of a library at a path; None where the library is not installed."""
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return found if isinstance(found, type) else None
    return None


@functools.cache
def belongs_to(name: str, base: type) -> bool:
    """Whether a class of a library, or one above it, has an attribute of this name."""
    if hasattr(base, name):
        return True
    for above in base.__mro__:
        try:
            text = inspect.getsource(above)
        except (OSError, TypeError):
            continue
        if any(f"self.{name}{end}" in text for end in (" ", ":", ",", ".", ")", "=", "[", "\n")):
            return True
    return False


def touched(path: str, text: str) -> Iterator[str]:
    """Every private or replaced name of a library in a source, with its line."""
    tree = ast.parse(text)
    names = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls") and (path, f"{owner}.{node.attr}") not in ALLOWED:
                yield f"{path}:{node.lineno}: {owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIBRARIES:
            parts = {*str(node.module).split("."), *(alias.name for alias in node.names)}
            yield from (f"{path}:{node.lineno}: {part}" for part in sorted(parts) if is_private(part))
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "delattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                yield f"{path}:{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in (part for t in targets for part in getattr(t, "elts", [t])):
                if isinstance(target, ast.Attribute) and library_path(target, names):
                    yield f"{path}:{node.lineno}: {ast.unparse(target)} ="
        elif isinstance(node, ast.ClassDef):
            bases = [found for base in node.bases if (found := library_path(base, names))]
            yield from (f"{path}:{line}: self.{name}" for line, name in of_bases(node, bases))


def of_bases(node: ast.ClassDef, bases: list[str]) -> Iterator[tuple[int, str]]:
    """Private names that a class has from a library's class, or takes from it."""
    classes = [found for base in bases if (found := class_at(base))]
    for inner in ast.walk(node):
        name = ""
        if isinstance(inner, ast.Attribute) and ast.unparse(inner.value) in ("self", "cls"):
            name = inner.attr
        elif isinstance(inner, ast.FunctionDef):
            name = inner.name
        if is_private(name) and name not in OF_EXECUTORS and any(belongs_to(name, c) for c in classes):
            yield inner.lineno, name


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_private_names_are_touched_in_workarounds_alone(path: Path) -> None:
    found = list(touched(str(path.relative_to(PROJECT)), path.read_text(encoding="utf-8")))
    assert not found, "move it to workarounds/"


PLANTED = {
    "an attribute of a module": "from tfx.orchestration.portable import cache_utils\ncache_utils._get_outputs(1)",
    "an attribute of an object": "import tensorflow as tf\ntf.keras.optimizers.Adam()._create_all_weights([])",
    "an attribute of what a loop gives": "for o in x.__subclasses__():\n    o._add_argparse_args(parser)",
    "an import": "from apache_beam.utils import _thing",
    "a module": "import ml_metadata._private.x as y\ny._z",
    "by its name in a text": "from tfx import types\nsetattr(types, '_x', 1)",
    "a function replaced": "from tfx_bsl.coders import batch_util\nbatch_util.GetBatchElementsKwargs = None",
    "two functions replaced": "from tfx import types as t\nt.a, t.b = 1, 2",
    "a method overridden": (
        "from ml_metadata.metadata_store import MetadataStore\n"
        "class Store(MetadataStore):\n    def _call(self): ...\n"
    ),
    "an attribute of the class above": (
        "from tfx.orchestration import metadata\n"
        "class Mine(metadata.Metadata):\n    def users(self): return self._users\n"
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_one_is_found(planted: str) -> None:
    assert list(touched("pipeline/planted.py", PLANTED[planted]))


def test_names_of_our_own_are_let_be() -> None:
    text = (
        "from tfx.orchestration import metadata\n"
        "class Mine(metadata.Metadata):\n    def f(self):\n        self._mine = 1\n        return self._mine\n"
    )
    assert not list(touched("pipeline/planted.py", text))
