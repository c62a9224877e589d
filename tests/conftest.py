"""What all tests share: where the recordings are, and the order of the folders."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import hares  # noqa: F401  # before TensorFlow, for which it sets something

# Files of whole pipeline runs take minutes. They begin, so that two workers end with short ones and at the same time.
BEGIN_WITH = ("test_current.py", "pipeline", "kubeflow", "models")
SHARED = Path(os.environ.get("HARES_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session", autouse=True)
def no_filters() -> Iterator[None]:
    """ML Metadata 1.15 refuses what 1.21 refuses, in the words of its library: nothing here may need it.

    A lineage subgraph begins at nodes that such a filter names, so there is none either. With the benchmark alone there
    is no ML Metadata.
    """
    if importlib.util.find_spec("ml_metadata") is None:
        yield
        return
    from ml_metadata import errors
    from ml_metadata.metadata_store import MetadataStore

    def call(self: MetadataStore, name: str, request: Any, response: Any) -> None:
        options = getattr(request, "options", None)
        filters = name == "GetLineageSubgraph" or getattr(options, "filter_query", "")
        if filters:
            raise errors.UnimplementedError("filter_query is not supported - ZetaSQL dependency removed")
        of_library(self, name, request, response)

    of_library = MetadataStore._call_method
    MetadataStore._call_method = call
    yield
    MetadataStore._call_method = of_library


@pytest.fixture(scope="session")
def shared_corpus() -> Path:
    """The real recordings in the twelve native layouts."""
    folder = SHARED / "corpus"
    if not folder.is_dir():
        pytest.skip(f"no corpus of real recordings at {folder}: CONTRIBUTING.md says how to have one")
    return folder


@pytest.fixture
def corpus(tmp_path) -> Path:
    """Two data sets in their native layouts: tones whose pitch tells the class."""
    root = tmp_path / "corpus"
    noise = np.random.default_rng(0)

    def tone(path: Path, hertz: float, seconds: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        time_ = np.arange(round(seconds * 16_000)) / 16_000
        wave = 0.3 * np.sin(2 * np.pi * hertz * time_) + 0.01 * noise.standard_normal(time_.size)
        soundfile.write(path, wave, 16_000, subtype="PCM_16")

    commands = root / "speech_commands_v2"
    tested, validated = [], []
    for kind, word in enumerate(("yes", "no", "up")):
        for speaker in range(9):
            name = f"{word}/{speaker:08x}_nohash_0.wav"
            tone(commands / name, 300.0 * (kind + 1), 0.9)
            if speaker >= 5:
                (tested if speaker < 8 else validated).append(name)
    (commands / "testing_list.txt").write_text("\n".join(tested) + "\n")
    (commands / "validation_list.txt").write_text("\n".join(validated) + "\n")
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for kind in range(2):
            name = f"{fold}-{1000 + fold}{kind}-A-{kind}.wav"
            tone(root / "esc50/audio" / name, 500.0 * (kind + 1), 2.0)
            rows.append(f"{name},{fold},{kind},{('dog', 'rooster')[kind]},False,{1000 + fold}{kind},A")
    (root / "esc50/meta").mkdir(parents=True)
    (root / "esc50/meta/esc50.csv").write_text("\n".join(rows) + "\n")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders folders, and nothing within them: xdist hands out files in this order."""
    tests = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(tests).parts[0]
        return BEGIN_WITH.index(folder) if folder in BEGIN_WITH else len(BEGIN_WITH)

    items.sort(key=place)
