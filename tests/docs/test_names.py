"""Files, folders and programs of this repository that the pages name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kits.pages import DOCS, PROJECT

PAGES = [*sorted(PROJECT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
PACKAGES = (
    "hares",
    "models",
    "components",
    "pipeline",
    "kubeflow",
    "cli",
    "workarounds",
    "dependencies",
    "benchmarks",
    "tests",
)
_PATH = re.compile(rf"`((?:{'|'.join(PACKAGES)})/[\w./-]*)(?:::\w+)?`")
_MODULE = re.compile(r"python -m ((?:benchmarks|dependencies|kubeflow|fuzz|kits)[\w.]*)")


def missing(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    paths = [name for name in _PATH.findall(text) if not re.search(r"NAME|drums|nearest_mean", name)]
    modules = [name.replace(".", "/") for name in _MODULE.findall(text)]
    programs = [
        name
        for name in modules
        if not any(
            (PROJECT / root / name).with_suffix(".py").is_file() or (PROJECT / root / name).is_dir()
            for root in ("", "tests")
        )
    ]
    return [name for name in paths if not (PROJECT / name).exists()] + programs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_what_a_page_names_is_there(page: Path) -> None:
    assert not missing(page)


def test_pages_that_the_code_names_are_there() -> None:
    """Messages and comments send the reader to pages."""
    sources = [
        PROJECT / "Makefile",
        PROJECT / "setup.py",
        PROJECT / "bootstrap.sh",
        PROJECT / "pyproject.toml",
    ]
    sources += [
        path for package in PACKAGES for path in (PROJECT / package).rglob("*") if path.suffix in (".py", "")
    ]
    named = {
        page
        for path in sources
        if path.is_file()
        for page in re.findall(
            r"docs/[\w/]+\.(?:md|json)", path.read_text(encoding="utf-8", errors="replace")
        )
    }
    assert named and not [page for page in named if not (PROJECT / page).is_file()]
