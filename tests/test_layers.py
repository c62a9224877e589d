"""The layers: workarounds <- hares, models <- components <- pipeline <- kubeflow <- cli. Imports point down only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
# hares uses TensorFlow for encoders and records, never a model of ours; models know nothing of the benchmark.
MAY_IMPORT = {
    "workarounds": {"workarounds"},
    "hares": {"hares", "workarounds"},
    "models": {"models", "workarounds"},
    "components": {"hares", "models", "components", "workarounds"},
    "pipeline": {"hares", "models", "components", "pipeline", "workarounds"},
    "kubeflow": {"hares", "models", "components", "pipeline", "kubeflow", "workarounds"},
    "cli": {"hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds"},
}
TFX_FREE = {"hares", "models"}
TFX = {
    "tfx",
    "tfx_bsl",
    "tensorflow_transform",
    "tensorflow_data_validation",
    "ml_metadata",
    "apache_beam",
    "kfp",
}
SOURCES = [path for package in MAY_IMPORT for path in sorted((PROJECT / package).rglob("*.py"))]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import; packages are imported by their names"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def imported_packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(path)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_imports_point_down(path: Path) -> None:
    layer = path.relative_to(PROJECT).parts[0]
    packages = imported_packages(path)
    upward = packages & (set(MAY_IMPORT) - MAY_IMPORT[layer])
    assert not upward, f"{path} imports {upward}, which is above {layer}"
    if layer in TFX_FREE:
        assert not packages & TFX, f"{path} imports {packages & TFX}; {layer} does without TFX"
        assert not imported_modules(path) & {f"workarounds.{name}" for name in (*TFX, "beam")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_what_is_imported_of_ours_is_there(path: Path) -> None:
    """mypy passes over modules that it does not find, ours among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in MAY_IMPORT:
            place = PROJECT.joinpath(*str(node.module).split("."))
            assert place.is_dir() or place.with_suffix(".py").is_file(), f"line {node.lineno}: {node.module}"


def test_tensorflow_addons_stays_behind_one_file() -> None:
    users = [str(p.relative_to(PROJECT)) for p in SOURCES if "tensorflow_addons" in imported_packages(p)]
    assert users == ["workarounds/addons.py"]
