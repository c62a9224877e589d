"""What all tests share: where the recordings are, and the order of the folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hares  # noqa: F401  # before TensorFlow, for which it sets something

# Files of whole pipeline runs take minutes. They begin, so that two workers end with short ones and at the same time.
BEGIN_WITH = ("pipeline", "kubeflow", "models")
SHARED = Path(os.environ.get("HARES_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared_corpus() -> Path:
    """The real recordings in the twelve native layouts."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        pytest.skip(f"no corpus of real recordings at {folder}: CONTRIBUTING.md says how to have one")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders folders, and nothing within them: xdist hands out files in this order."""
    tests = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0]
        return BEGIN_WITH.index(folder) if folder in BEGIN_WITH else len(BEGIN_WITH)

    items.sort(key=place)
