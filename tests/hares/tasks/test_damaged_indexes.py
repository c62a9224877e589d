"""Indexes that were cut off, packed, or are something else: a partial index never gives a score without a word."""

from __future__ import annotations

import gzip
import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fuzz.fuzz_layouts import Listing, check_listing, make_layouts
from hares.corpus import check_corpus
from hares.ingest import build_manifest, count_listed
from hares.reading import scan
from hares.task import Reason, Rejected, load_task, task_names

UNUSED = (
    "class_labels_indices.csv",
    "speaker_demographics.csv",
    "clip_info_final.csv",
    "vox1_meta.csv",
    "fold1_test.txt",
)
CUTS = 8  # of each index, at bytes and at line ends each


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[Path]]]:
    root = tmp_path_factory.mktemp("damaged") / "corpus"
    indexes = make_layouts(root)
    return root, {
        task: [path for path in paths if path.name not in UNUSED] for task, paths in indexes.items()
    }


def listing(task: str, root: Path, before: Listing | None = None) -> tuple[Listing, Counter[str]]:
    counts: Counter[str] = Counter()
    return check_listing(task, root / load_task(task).dataset, counts, before), counts


@pytest.mark.parametrize("task", task_names())
def test_an_index_that_breaks_off_loses_nothing_without_a_word(
    task: str, layouts: tuple[Path, dict[str, list[Path]]]
) -> None:
    """Cut at bytes, a line is hardly ever whole: the task is refused. Cut at line ends, what is lost is named."""
    root, indexes = layouts
    before, _ = listing(task, root)
    source = random.Random(task)
    for index in indexes[task]:
        whole = index.read_bytes()
        ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")][:-1]
        if index.suffix == ".json":
            ends = []
        places = [source.randrange(1, len(whole) - 2) for _ in range(CUTS)]
        for place in {*places, *source.sample(ends, min(CUTS, len(ends)))}:
            index.write_bytes(whole[:place])
            try:
                now, counts = listing(task, root, before)
            finally:
                index.write_bytes(whole)
            assert counts["(refused)"] or counts["(named)"], f"{index.name} cut at {place}: {counts}"
            if index.suffix == ".json":
                assert counts["(refused)"] and not now.clips, f"{index.name} cut at {place}"


@pytest.mark.parametrize("task", task_names())
@pytest.mark.parametrize(
    "kind",
    ["gzip", "utf-16", "page", "lfs", "zip", "empty", "folder"],
)
def test_what_is_no_index_refuses_the_task(
    task: str, kind: str, layouts: tuple[Path, dict[str, list[Path]]]
) -> None:
    root, indexes = layouts
    index = indexes[task][-1]
    whole = index.read_bytes()
    bad = {
        "gzip": gzip.compress(whole),
        "utf-16": whole.decode().encode("utf-16"),
        "page": b"\n<!DOCTYPE html>\n<html><body>Quota exceeded, a b, c\n</body></html>\n",
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        "zip": b"PK\x03\x04" + whole,
        "empty": b"",
    }
    try:
        if kind == "folder":
            index.unlink()
            index.mkdir()
        else:
            index.write_bytes(bad[kind])
        (item,) = scan(task, root / load_task(task).dataset)
        (check,) = check_corpus(root, None, [task], decode_audio=False)
    finally:
        if index.is_dir():
            index.rmdir()
        index.write_bytes(whole)
    assert isinstance(item, Rejected) and item.reason is Reason.INDEX and index.name in item.detail
    assert check.error == item.detail and check.clips == 0


@pytest.mark.parametrize("task", task_names())
def test_a_byte_order_mark_and_no_line_break_at_the_end_are_no_damage(
    task: str, layouts: tuple[Path, dict[str, list[Path]]]
) -> None:
    root, indexes = layouts
    before, _ = listing(task, root)
    for index in indexes[task]:
        whole = index.read_bytes()
        index.write_bytes(b"\xef\xbb\xbf" + whole.rstrip(b"\n"))
        try:
            now, _ = listing(task, root)
        finally:
            index.write_bytes(whole)
        assert now == before, index.name


def test_an_audioset_list_with_fewer_segments_than_it_says(
    layouts: tuple[Path, dict[str, list[Path]]], tmp_path: Path
) -> None:
    root = tmp_path / "audioset"
    shutil.copytree(layouts[0] / "audioset", root)
    index = root / "eval_segments.csv"
    rows = [line for line in index.read_text().splitlines() if not line.startswith("#")]
    for said, refused in ((len(rows), False), (len(rows) + 1, True)):
        index.write_text(
            f"# Segments csv\n# num_ytids=9, num_segs={said}, num_x=2\n" + "\n".join(rows) + "\n"
        )
        items = [item for item in scan("audioset", root) if isinstance(item, Rejected)]
        assert [item.reason for item in items] == [Reason.INDEX] * refused


def test_a_cut_row_adds_no_class(layouts: tuple[Path, dict[str, list[Path]]], tmp_path: Path) -> None:
    """Fluent Speech Commands takes classes from its rows: "kitch" at the end of a cut file is none."""
    root = tmp_path / "fluent_speech_commands"
    shutil.copytree(layouts[0] / "fluent_speech_commands", root)
    index = root / "data/train_data.csv"
    lines = index.read_text().splitlines(keepends=True)
    last = next(number for number, line in enumerate(lines) if line.endswith("kitchen\n"))
    index.write_text("".join(lines[: last + 1])[: -len("en\n")])
    (item,) = scan("fluent_speech_commands", root)
    assert isinstance(item, Rejected) and item.reason is Reason.INDEX


def test_the_manifest_of_a_refused_task_says_why(
    layouts: tuple[Path, dict[str, list[Path]]], tmp_path: Path
) -> None:
    root = tmp_path / "nsynth"
    shutil.copytree(layouts[0] / "nsynth", root)
    index = root / "nsynth-test/examples.json"
    index.write_text(index.read_text()[:-20])
    sources = {"nsynth_pitch": str(root)}
    listed, rejected = count_listed(sources, ["train", "test"])
    assert not listed and [line["reason"] for line in rejected] == ["index_error"]
    manifest, _ = build_manifest(sources, ["train", "test"], [], rejected)
    assert manifest["split_is_official"] is False and "examples.json" in str(manifest["deviations"])


def test_an_object_after_the_object_is_damage(
    layouts: tuple[Path, dict[str, list[Path]]], tmp_path: Path
) -> None:
    root = tmp_path / "nsynth"
    shutil.copytree(layouts[0] / "nsynth", root)
    index = root / "nsynth-test/examples.json"
    index.write_text(index.read_text() + "{}")
    (item,) = scan("nsynth_pitch", root)
    assert isinstance(item, Rejected) and item.reason is Reason.INDEX
