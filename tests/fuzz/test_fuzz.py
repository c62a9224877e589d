"""Changed recordings and index files of all twelve layouts: no crash, no hang, everything bad named.

A small run of what `run_fuzz.py` does at length, with hypothesis to shrink what fails, and the files under `corpus/`
that once found a fault.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.fuzz_layouts import Listing, check_listing, make_layouts
from fuzz.fuzz_mutations import (
    NUMBERS,
    OPERATIONS,
    TOKENS,
    Change,
    audio_seeds,
    ffmpeg_seeds,
    mutated,
    random_changes,
    seconds_by_ffmpeg,
    with_ogg_sums,
)
from hares.decoding import AudioError, decode, decode_each
from hares.task import SAMPLE_RATE, Reason, load_task, task_names

pytestmark = pytest.mark.slow

CORPUS = Path(__file__).with_name("corpus")
SEEDS = audio_seeds()
CHANGES = st.lists(
    st.builds(
        Change,
        st.sampled_from(OPERATIONS),
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.sampled_from(NUMBERS), st.integers(0, 2**32 - 1)),
        st.integers(1, 4_096),
    ),
    min_size=1,
    max_size=4,
)
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
DAMAGE = (Reason.DECODER_DIED, Reason.TOO_SLOW, Reason.TOO_LARGE)


def named(found: object) -> None:
    if isinstance(found, AudioError):
        assert found.reason not in DAMAGE, found
        assert str(found)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Path]]]:
    root = tmp_path_factory.mktemp("layouts") / "corpus"
    return root, make_layouts(root)


@pytest.fixture(scope="module")
def before(layouts: tuple[Path, dict[str, list[Path]]]) -> dict[str, Listing]:
    """What each task lists while nothing is changed."""
    root, _ = layouts
    return {task: check_listing(task, root / load_task(task).dataset, Counter()) for task in task_names()}


def test_the_seeds_are_sound_and_a_right_checksum_is_left_alone(tmp_path: Path) -> None:
    for suffix, data in SEEDS:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(data)
        assert len(decode(path)) >= 4_000
        if suffix == ".ogg":
            assert with_ogg_sums(data) == data
            assert with_ogg_sums(data[:-1] + bytes([data[-1] ^ 1])) != data


def test_every_layout_is_usable_before_it_is_changed(
    layouts: tuple[Path, dict[str, list[Path]]],
) -> None:
    root, indexes = layouts
    assert sorted(indexes) == sorted(task_names()) and all(indexes.values())
    for task in task_names():
        counts: Counter[str] = Counter()
        check_listing(task, root / load_task(task).dataset, counts)
        assert counts["usable"] > 5
        assert not set(counts) - {"usable", "unlisted", "left_out"}, counts


def test_recordings_by_number(tmp_path: Path) -> None:
    def files() -> Iterator[tuple[Path, float, None]]:
        for number in range(10 * len(SEEDS)):
            suffix, data = SEEDS[number % len(SEEDS)]
            changed = mutated(data, random_changes(random.Random(f"test/{number}")))
            path = tmp_path / f"{number}{suffix}"
            path.write_bytes(with_ogg_sums(changed) if suffix == ".ogg" else changed)
            yield path, 0.0, None

    counts: Counter[str] = Counter()
    for found in decode_each(files()):
        named(found)
        counts[found.reason.value if isinstance(found, AudioError) else "decoded"] += 1
    assert counts.total() == 10 * len(SEEDS) and len(counts) >= 4, counts


def test_no_recording_is_shorter_than_with_ffmpeg(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg on the PATH")
    seeds, decoded = [*audio_seeds(1.0), *ffmpeg_seeds(1.0)], 0
    paths = []
    for number in range(2 * len(seeds)):
        suffix, data = seeds[number % len(seeds)]
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(mutated(data, random_changes(random.Random(f"ffmpeg/{number}"))))
        paths.append(path)
    for path, found in zip(paths, decode_each((path, 0.0, None) for path in paths), strict=True):
        named(found)
        if not isinstance(found, AudioError):
            decoded += 1
            assert len(found) / SAMPLE_RATE > seconds_by_ffmpeg(path) - 0.1, path
    assert decoded > 10


@settings(max_examples=60, **QUIET)
@given(place=st.integers(0, len(SEEDS) - 1), changes=CHANGES)
def test_recordings(tmp_path_factory: pytest.TempPathFactory, place: int, changes: list[Change]) -> None:
    suffix, data = SEEDS[place]
    path = tmp_path_factory.getbasetemp() / f"fuzzed{suffix}"
    path.write_bytes(mutated(data, changes))
    try:
        assert len(decode(path)) >= 400
    except AudioError as error:
        named(error)


@pytest.mark.parametrize("task", task_names())
@settings(max_examples=12, **QUIET)
@given(choice=st.integers(0, 50), changes=CHANGES)
def test_indexes(
    layouts: tuple[Path, dict[str, list[Path]]],
    before: dict[str, Listing],
    task: str,
    choice: int,
    changes: list[Change],
) -> None:
    root, indexes = layouts
    path = indexes[task][choice % len(indexes[task])]
    whole = path.read_bytes()
    path.write_bytes(mutated(whole, changes))
    try:
        check_listing(task, root / load_task(task).dataset, Counter(), before[task])
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("task", task_names())
def test_every_hostile_token_in_every_index(
    layouts: tuple[Path, dict[str, list[Path]]], before: dict[str, Listing], task: str
) -> None:
    """One token at a time, in turn at the start, in the middle and at the end of one index."""
    root, indexes = layouts
    path = indexes[task][0]
    whole = path.read_bytes()
    for number in range(len(TOKENS)):
        path.write_bytes(mutated(whole, [Change("token", (0.0, 0.4, 0.999)[number % 3], number, 1)]))
        check_listing(task, root / load_task(task).dataset, Counter(), before[task])
    path.write_bytes(whole)


@pytest.mark.parametrize("path", sorted(CORPUS.glob("audio/*")), ids=lambda path: path.name)
def test_recordings_that_found_a_fault(path: Path) -> None:
    expected = json.loads((CORPUS / "expected.json").read_text())[path.name]
    with pytest.raises(AudioError) as caught:
        decode(path)
    assert caught.value.reason.value == expected


@pytest.mark.parametrize("path", sorted(CORPUS.glob("index/*")), ids=lambda path: path.name)
def test_indexes_that_found_a_fault(layouts: tuple[Path, dict[str, list[Path]]], path: Path) -> None:
    """The name is `what was wrong.task.index's name`."""
    _, task, name = path.name.split(".", 2)
    root, indexes = layouts
    (index,) = [found for found in indexes[task] if found.name == name][:1]
    whole = index.read_bytes()
    index.write_bytes(path.read_bytes())
    try:
        check_listing(task, root / load_task(task).dataset, Counter())
    finally:
        index.write_bytes(whole)


def test_the_corpus_is_small() -> None:
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000
