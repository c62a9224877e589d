"""Digest of the code that decides numbers: our modules, the data files they read, and the libraries they call.

TFX keys its cache on execution properties and input artifacts, and the cache of `hares evaluate` on what it is given.
Code behind an import path is neither: a changed model would be served from the cache. So each step's key holds a digest
of what its entry modules import, directly or not, and of nothing else: a change that cannot change a number must not
abandon a training of days.

- A module of ours counts by its syntax tree without docstrings: comments, docstrings and formatting decide nothing.
- A file that is not Python counts where a module declares it: `DATA_FILES = ("hares/tasks/data/...",)`.
- A library counts by its version (`LIBRARIES`), where a module of the closure imports it.
- What is found by a computed name (a task, a probe, an encoder) is named by the caller.
- What is imported for type checkers alone (`if TYPE_CHECKING:`) is not executed, and does not count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hares.digests import combined_digest, file_digest, tree_digest
from hares.version_lines import find_lock

FIRST_PARTY = frozenset({"hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds"})
PROJECT = Path(__file__).resolve().parents[1]
# One source has one digest, whichever Python reads it: from 3.13 on `ast.dump` leaves empty lists out by default.
_AS_PYTHON_3_10: dict[str, Any] = {"show_empty": True} if sys.version_info >= (3, 13) else {}

# Modules of ours that executors import and that decide no number: the types of artifacts, what is recorded of them,
# how Beam is started and ended, how a file is written or comes from a bucket, what a user's code may do to the process,
# and which lock file is whose. Neither they nor what only they import counts.
DECIDE_NOTHING = frozenset(
    {
        *("components", "components.artifacts", "components.beam_runner", "components.provenance"),
        *("hares.atomic_files", "hares.buckets", "hares.buckets.copies", "hares.buckets.stream"),
        *("hares.user_code", "hares.version_lines"),
    }
)

# By the name that a module imports, the packages whose versions can change a number. A library that is not here counts
# with the package that provides it; a test asks that every one that a step imports is here, so that it is a decision.
LIBRARIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Kernels, initialisers and random numbers; of the CUDA packages those that compute, where they are installed.
        "tensorflow": (
            "tensorflow", "keras", "tf-keras", "numpy", "ml-dtypes",
            "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-cufft-cu12",
        ),
        "tensorflow_addons": ("tensorflow-addons",),
        "torch": ("torch", "numpy"),
        "numpy": ("numpy",),
        "scipy": ("scipy", "numpy"),
        "sklearn": ("scikit-learn", "scipy", "numpy", "joblib", "threadpoolctl"),
        # The libraries in C that come with these are in `hares.decoding.decoder_versions`, with ffmpeg.
        "soundfile": ("soundfile",),
        "soxr": ("soxr",),
        "tensorflow_datasets": ("tensorflow-datasets",),
        # Records pass through Arrow. Beam decides which file they are in, and training asks for no file.
        "tensorflow_transform": ("tensorflow-transform", "tfx", "tfx-bsl", "pyarrow"),
        "tfx_bsl": ("tfx-bsl", "pyarrow"),
        # Our own steps: TFX hands them folders, and Beam hands out shards whose content is a function of the listing.
        "tfx": (),
        "apache_beam": (),
        "pyarrow": ("pyarrow",),
        "pyarrow_hotfix": (),  # refuses files
        "threadpoolctl": (),  # how many threads BLAS has
        "cffi": (),  # how soundfile and soxr reach their libraries
        # The looks of the report's page.
        "jinja2": (),
        "PIL": (),
    }
)  # fmt: skip


@dataclass
class Closure:
    """What decides the numbers of some modules.

    Attributes:
        modules: by name the files of our modules, and of the user's.
        data: files that those modules declare, as paths from the project's root.
        libraries: names of the libraries that they import.
    """

    modules: dict[str, Path] = field(default_factory=dict)
    data: set[str] = field(default_factory=set)
    libraries: set[str] = field(default_factory=set)


def closure(*modules: str, plugins: Iterable[Path] = ()) -> Closure:
    """All that `modules` import, directly or not.

    Args:
        modules: dotted names of our modules, or names of libraries.
        plugins: files outside the packages; what they import counts too, they themselves do not.

    Raises:
        ModuleNotFoundError: a module of ours that does not exist.
    """
    imported = [name for path in plugins for name in _parsed(path.read_bytes()).absolute("", False)]
    ours = [name for name in imported if _is_ours(name) and _our_file(name)]
    others = [name for name in imported if not _is_ours(name)]
    return _walk([*modules, *ours, *others], _our_file)


def code_digest(
    *modules: str, plugins: Iterable[tuple[Path, str]] = (), pins: Mapping[str, str] | None = None
) -> str:
    """SHA-256 (hex) of all that decides what `modules` compute.

    Args:
        modules: dotted names of our modules, or names of libraries; what is imported by a computed name has to be
            named here.
        plugins: path and SHA-256 (hex) of files outside the packages that belong to them: their bytes count, and what
            they import.
        pins: versions of the libraries, as `locked_versions` gives them, where the code runs elsewhere; None for those
            that are installed.

    Raises:
        ModuleNotFoundError: a module that does not exist.
    """
    given = sorted(plugins, key=lambda plugin: plugin[1])
    found = closure(*modules, plugins=[path for path, _ in given])
    return combined_digest(
        sources={name: _digest_of(path) for name, path in found.modules.items()},
        data={name: file_digest(PROJECT / name) for name in found.data},
        plugins=[digest for _, digest in given],
        libraries=versions_of(found.libraries, pins),
    )


def is_our_module(name: str) -> bool:
    """Whether one of our modules has this dotted name."""
    return _our_file(name) is not None


def source_digest(module: str) -> str:
    """SHA-256 (hex) of a module of the user's: its bytes, those of the modules it imports, and their libraries.

    A module of an installed package stands for the whole package.

    Raises:
        ValueError: there is no such module.
    """
    path = _file_on_path(module)
    if path is None:
        raise ValueError(f"no source for module {module!r}; is its folder the one hares was called in?")
    if _installed(path):
        return _package_digest(module.split(".")[0], path)
    found = _walk([module], _file_on_path)
    return combined_digest(
        sources={name: _digest_of(path) for name, path in found.modules.items()},
        data={name: file_digest(PROJECT / name) for name in found.data},
        libraries=versions_of(found.libraries),
    )


def versions_of(libraries: Iterable[str], pins: Mapping[str, str] | None = None) -> dict[str, str]:
    """Versions, by package, of all installed packages that can change what `libraries` compute.

    Args:
        libraries: names as they are imported.
        pins: versions by package; None for those that are installed.
    """
    packages = {
        name
        for library in libraries
        for name in (LIBRARIES[library] if library in LIBRARIES else _providers(library))
    }
    version = _installed_version if pins is None else pins.get
    return {name: found for name in sorted(packages) if (found := version(name))}


def locked_versions() -> dict[str, str]:
    """Versions that this line's lock file pins, by package: those of the container image, whatever is installed here.

    Raises:
        FileNotFoundError: the lock file is neither beside the code nor installed with it.
        LookupError: no lock file is for this Python.
    """
    pins = re.findall(r"^([\w.-]+)(?:\[.*?\])?==([^\s;]+)", find_lock().read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


@dataclass(frozen=True)
class _Parsed:
    """What a source says: the digest of its syntax tree, what it imports, and the data files it declares."""

    digest: str
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]  # level, module, names
    data: tuple[str, ...]

    def absolute(self, name: str, is_package: bool) -> list[str]:
        """Names that are, or may be, imported modules, as seen from the module `name`."""
        package = name if is_package else name.rpartition(".")[0]
        found = []
        for level, module, names in self.imports:
            base = importlib.util.resolve_name("." * level + module, package) if level else module
            found += [base, *(f"{base}.{one}" for one in names)]
        return found


@functools.lru_cache(maxsize=1024)
def _parsed(source: bytes) -> _Parsed:
    tree = ast.parse(source)
    reader = _Reader()
    reader.visit(tree)
    text = ast.dump(_WithoutTexts().visit(tree), **_AS_PYTHON_3_10)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return _Parsed(digest, tuple(reader.imports), tuple(reader.data))


class _Reader(ast.NodeVisitor):
    """Gathers imports and declared data files."""

    def __init__(self) -> None:
        self.imports: list[tuple[int, str, tuple[str, ...]]] = []
        self.data: list[str] = []

    def visit_Import(self, node: ast.Import) -> None:
        self.imports += [(0, alias.name, ()) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self.imports.append((node.level, node.module or "", tuple(alias.name for alias in node.names)))

    def visit_If(self, node: ast.If) -> None:
        checking = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for part in node.orelse if checking else (node.test, *node.body, *node.orelse):
            self.visit(part)

    def visit_Assign(self, node: ast.Assign) -> None:
        if any(isinstance(target, ast.Name) and target.id == "DATA_FILES" for target in node.targets):
            self.data += ast.literal_eval(node.value)
        self.generic_visit(node)


class _WithoutTexts(ast.NodeTransformer):
    """Takes away strings that stand alone, which do nothing: docstrings, and others that explain.

    Also the parameters of types that Python 3.12 notes everywhere, where there are none.
    """

    def visit(self, node: ast.AST) -> Any:
        if getattr(node, "type_params", None) == []:
            del node.type_params  # type: ignore[attr-defined]
        return super().visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node


def _walk(names: Iterable[str], file_of: Callable[[str], Path | None]) -> Closure:
    found = Closure()
    asked, pending = set(names), list(names)
    while pending:
        name = pending.pop()
        if name in found.modules:
            continue
        path = file_of(name)
        if name in DECIDE_NOTHING and path == _our_file(name):
            continue
        if path is None and name in asked and _is_ours(name):
            raise ModuleNotFoundError(f"no source for module {name}")
        if path is None or _installed(path):
            _note_library(found, name)
            continue
        parsed = _parsed(path.read_bytes())
        found.modules[name] = path
        found.data |= set(parsed.data)
        pending += parsed.absolute(name, path.name == "__init__.py")
        pending += [name.rpartition(".")[0]] if "." in name else []
    return found


def _note_library(found: Closure, name: str) -> None:
    library = name.split(".")[0]
    if library and not _is_ours(name) and library not in sys.stdlib_module_names:
        found.libraries.add(library)


def _is_ours(name: str) -> bool:
    return name.split(".")[0] in FIRST_PARTY


def _our_file(name: str) -> Path | None:
    """File of a module of ours, without importing it (that would cost what the module imports)."""
    if not _is_ours(name):
        return None
    base = PROJECT.joinpath(*name.split("."))
    return next((path for path in (base / "__init__.py", base.with_suffix(".py")) if path.is_file()), None)


def _file_on_path(name: str) -> Path | None:
    """File of a module that Python would import under this name. Looking for a submodule imports its package."""
    top = name.split(".")[0]
    try:
        if top != name and (home := _file_on_path(top)) and _installed(home):
            return home  # a library's modules are not looked at one by one
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    origin = Path(spec.origin) if spec and spec.origin else None
    return origin if origin and origin.suffix == ".py" and origin.is_file() else None


def _below_ours(path: Path) -> bool:
    return path.is_relative_to(PROJECT) and path.relative_to(PROJECT).parts[0] in FIRST_PARTY


def _installed(path: Path) -> bool:
    """Whether a file is a library's: of Python's own, or of an installed package that is not ours."""
    if _below_ours(path):
        return False
    homes = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "purelib", "platlib")}
    return not homes.isdisjoint(path.resolve().parents)


def _package_digest(package: str, path: Path) -> str:
    """Digest of an installed package, or of a module that is one file: its files, and the libraries it imports."""
    folder = next((parent for parent in path.parents if parent.name == package), None)
    sources = [path] if folder is None else sorted(folder.rglob("*.py"))
    found = Closure()
    for source in sources:
        for name in _parsed(source.read_bytes()).absolute(package, True):
            _note_library(found, name)
    return combined_digest(
        # Compiled files come and go as modules are imported.
        files=file_digest(path) if folder is None else tree_digest(folder, without="__pycache__"),
        libraries=versions_of(found.libraries - {package}),
    )


def _digest_of(path: Path) -> str:
    """Ours by their syntax trees. A user's file by its bytes: it may read its own text."""
    return _parsed(path.read_bytes()).digest if _below_ours(path) else file_digest(path)


def _installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _providers(library: str) -> tuple[str, ...]:
    return tuple(sorted({name.lower() for name in _installed_packages().get(library, ())}))


@functools.cache
def _installed_packages() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()
