"""The records of where data sets come from, against TensorFlow Datasets' own sums and the layouts that readers know."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from urllib.parse import urlsplit

import pytest

from fuzz.fuzz_layouts import make_layouts
from hares import downloads
from hares.connection import refuse_address
from hares.downloads import load_download
from hares.get import left_to_do
from hares.task import load_task, task_names
from hares.unpack import first_names

RECORDS = sorted(info.name for info in iter_modules(downloads.__path__) if not info.name.startswith("_"))
DATASETS = sorted({load_task(name).dataset for name in task_names()} & {*RECORDS})
# TensorFlow Datasets names files by these.
OF_TFDS = {
    "nsynth": "datasets/nsynth/checksums.tsv",
    "speech_commands_v1": "datasets/speech_commands/checksums.tsv",
    "speech_commands_v2": "datasets/speech_commands/checksums.tsv",
    "voxceleb1": "url_checksums/voxceleb.txt",
    "voxforge": "url_checksums/voxforge.txt",
}


def sums_of_tfds(path: str) -> Iterator[tuple[str, int, str]]:
    """Address, bytes and SHA-256 of each file that a builder fetches."""
    spec = find_spec("tensorflow_datasets")
    assert spec is not None and spec.origin is not None
    for line in (Path(spec.origin).parent / path).read_text().splitlines():
        url, size, sha256, _ = line.split("\t")
        yield url, int(size), sha256


def test_a_record_is_of_a_tasks_data_set_and_the_papers_tasks_have_all() -> None:
    assert RECORDS == DATASETS and len(RECORDS) == 11  # twelve tasks, of which two share NSynth


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_data_set_says_how_to_come_by_it(dataset: str) -> None:
    record = load_download(dataset)
    assert record is not None and record.room
    assert record.by_hand or all(file.url for file in record.files)
    for file in record.files:
        assert not file.url or (not refuse_address(file.url) and record.source)
        assert re.fullmatch("([0-9a-f]{64})?", file.sha256) and re.fullmatch("([0-9a-f]{32})?", file.md5)
    for part in record.by_hand:
        assert f"{dataset}/" in part.what and part.there


@pytest.mark.parametrize("dataset", OF_TFDS)
def test_addresses_sizes_and_digests_are_those_of_tensorflow_datasets(dataset: str) -> None:
    record = load_download(dataset)
    assert record is not None and record.source.startswith("TensorFlow Datasets")
    served = {(file.url, file.size, file.sha256) for file in record.files}
    assert served and served <= set(sums_of_tfds(OF_TFDS[dataset]))


def test_nothing_is_left_to_do_where_a_corpus_is(tmp_path: Path) -> None:
    make_layouts(tmp_path)
    for dataset in DATASETS:
        record = load_download(dataset)
        assert record is not None and left_to_do(record, tmp_path / dataset) == ()
        assert len(left_to_do(record, tmp_path / "nowhere")) == len(record.by_hand)


def test_only_one_address_is_from_elsewhere() -> None:
    others = {
        file.url
        for dataset in set(DATASETS) - set(OF_TFDS)
        for file in getattr(load_download(dataset), "files", ())
        if file.url
    }
    assert others == {"https://github.com/karoldvl/ESC-50/archive/master.zip"}  # the README's own link


def test_a_file_without_encryption_has_a_digest() -> None:
    for dataset in DATASETS:
        for file in getattr(load_download(dataset), "files", ()):
            assert urlsplit(file.url).scheme != "http" or file.sha256, file


def test_the_folders_of_an_archive_of_magnatagatune_are_known() -> None:
    assert first_names(load_task("magnatagatune")) >= {"annotations_final.csv", *"0123456789abcdef"}


@pytest.mark.parametrize("name", ["no_such_set", "__init__", "../esc50", "_speech_commands", ""])
def test_a_task_of_ones_own_has_no_record(name: str) -> None:
    assert load_download(name) is None
