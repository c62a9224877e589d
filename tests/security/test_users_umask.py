"""Files are as readable as the user's umask says, whoever writes them: no more under 077, no less under 022."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fuzz.fuzz_layouts import make_layouts

pytest.importorskip("ml_metadata")

from cli.lineage_page import write_page
from cli.quiet import logging_to
from hares.atomic_files import write_atomically
from hares.embedding.cache import EmbeddingCache
from hares.lock import held
from hares.synthesis import make_corpus
from kits.lineage_stores import StoreWriter, create_store
from kubeflow.watch import Watch
from models.weights import save_arrays
from pipeline.lineage.connection import store_address
from pipeline.lineage.page.data import PageLimits
from pipeline.workspace import Workspace

pytestmark = pytest.mark.slow

PROJECT = Path(__file__).resolve().parents[2]
PRIVATE = {"run.lock", "lock"}  # who may read a lock could hold it


def log(place: Path) -> None:
    with logging_to(place / "logs/run.log"):
        print("a line")


def lock(place: Path) -> None:
    with held(place / "run.lock"):
        pass


def page(place: Path) -> None:
    writer = StoreWriter(create_store(place / "metadata.sqlite"))
    writer.context("pipeline_run", "run", start="s", status="complete")
    write_page(store_address("", place / "metadata.sqlite"), place / "lineage.html", PageLimits())


def ledger(place: Path) -> None:
    Watch(str(place / "span-{SPAN}"), "_SUCCESS", place, ["true", "{OUTPUT}"])._write({"1": "run"})


def cache_log(place: Path) -> None:
    cache = SimpleNamespace(_folder=place / "cache")
    EmbeddingCache.log(cache, "found", "key", "esc50", "test", 0)  # type: ignore[arg-type]


WRITERS: dict[str, Callable[[Path], object]] = {
    "report": lambda place: write_atomically(place / "report.json", "{}"),
    "weights": lambda place: save_arrays({"w": np.ones(3)}, str(place / "weights.npz")),
    "log": log,
    "lock": lock,
    "store and page": page,
    "stores": lambda place: Workspace(place).note_store("mysql://hares@db/hares"),
    "kept": lambda place: Workspace(place).keep("schema", "examples.pbtxt", "text"),
    "ledger": ledger,
    "log of the cache": cache_log,
    "corpus": lambda place: make_corpus(place / "corpus", scale=0.01),
}  # fmt: skip


@pytest.fixture(params=[0o077, 0o022, 0o002, 0o027])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def wrong(folder: Path, umask: int) -> list[tuple[str, str]]:
    """Files and folders that are not as readable as new ones are."""
    found = []
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        full = 0o777 if path.is_dir() else 0o644 if path.suffix == ".sqlite" else 0o666  # SQLite's own
        if mode != (0o600 if path.name in PRIVATE else full & ~umask):
            found.append((str(path.relative_to(folder)), oct(mode)))
    return found


@pytest.mark.parametrize("name", [name for name in WRITERS if name != "corpus"])
def test_a_writer_follows_the_umask(name: str, umask: int, tmp_path: Path) -> None:
    place = tmp_path / "w"
    place.mkdir(mode=0o777)
    WRITERS[name](place)
    assert any(place.rglob("*")) and wrong(place, umask) == []


def test_a_corpus_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        WRITERS["corpus"](tmp_path)
    finally:
        os.umask(before)
    assert wrong(tmp_path, 0o077) == []


def test_an_evaluation_follows_the_umask(tmp_path: Path) -> None:
    """In a process of its own, with everything that libraries write: report, predictions, pictures, cache, log."""
    make_layouts(tmp_path / "corpus")
    place = tmp_path / "w"
    place.mkdir()
    command = [
        sys.executable, "-m", "cli.main", "evaluate", "--encoder", "log_mel", "--corpus", str(tmp_path / "corpus"),
        "--tasks", "esc50", "--protocol", "quick", "--output", str(place / "out"), "--cache", str(place / "cache"),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=PROJECT, umask=0o077, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 4), done.stdout + done.stderr
    assert (place / "out/report.json").is_file() and len(list(place.rglob("*"))) > 8
    assert wrong(place, 0o077) == []
