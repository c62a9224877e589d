"""Readers on layouts made by hand: bad rows, other labels, other encodings, and splits of our own."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from hares.task import Clip, CorpusIndexError, Reason, Rejected, load_task, load_task_module, task_names
from hares.tasks import _nsynth, _split, magnatagatune, voxforge

pytestmark = pytest.mark.slow

ESC50_HEADER = "filename,fold,target,category,esc10,src_file,take\n"


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(name: str, root: Path) -> list[Clip | Rejected]:
    items: Iterator[Clip | Rejected] = load_task_module(name).read(root)
    return list(items)


def reasons(items: list[Clip | Rejected]) -> list[Reason]:
    return [item.reason for item in items if isinstance(item, Rejected)]


@pytest.mark.parametrize("name", task_names())
def test_an_empty_folder_names_what_is_missing(name: str, tmp_path: Path) -> None:
    for call in (load_task_module(name).index, lambda root: read(name, root)):
        with pytest.raises(CorpusIndexError, match=f"^{name}: "):
            call(tmp_path)


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    write(tmp_path / "meta/esc50.csv", "filename,target\n1-1-A-0.wav,0\n")
    message = (
        r"^esc50: meta/esc50.csv has no column 'fold', 'category', 'src_file'; found filename, target\. "
        r"Is this the original ESC-50 archive\?$"
    )
    with pytest.raises(CorpusIndexError, match=message):
        load_task_module("esc50").index(tmp_path)


def test_an_index_without_any_line(tmp_path: Path) -> None:
    write(tmp_path / "meta/esc50.csv", "")
    with pytest.raises(CorpusIndexError, match="found nothing"):
        load_task_module("esc50").index(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf16_is_refused_by_name(tmp_path: Path, encoding: str) -> None:
    write(tmp_path / "meta/esc50.csv", (ESC50_HEADER + "1-1-A-0.wav,1,0,dog,True,1,A\n").encode(encoding))
    with pytest.raises(
        CorpusIndexError, match=r"meta/esc50.csv is not UTF-8 text \(line 1\); if it is UTF-16"
    ):
        load_task_module("esc50").index(tmp_path)


def test_byte_order_mark_windows_line_ends_and_blank_lines(tmp_path: Path) -> None:
    rows = "\ufeff" + ESC50_HEADER + "1-1-A-0.wav,1,0,dog,True,1,A\n\n2-2-A-1.wav,2,1,rooster,True,2,A"
    write(tmp_path / "meta/esc50.csv", rows.replace("\n", "\r\n"))
    clips = read("esc50", tmp_path)
    assert [(c.path, c.labels, c.split) for c in clips if isinstance(c, Clip)] == [
        ("audio/1-1-A-0.wav", (0,), "fold1"),
        ("audio/2-2-A-1.wav", (1,), "fold2"),
    ]


def test_bad_rows_cost_themselves_only(tmp_path: Path) -> None:
    good = "1-1-A-0.wav,1,0,dog,True,1,A\n"
    bad = (
        "too,few\n"
        '"a stray quote,1,0,dog,True,1,A\n'
        "9-1-A-0.wav,9,0,dog,True,1,A\n"
        "1-1-A-1.wav,1,1,dog,True,1,A\n"
        "1-1-A-60.wav,1,60,trumpet,False,1,A\n"
    )
    write(tmp_path / "meta/esc50.csv", ESC50_HEADER + good + bad + good)
    items = read("esc50", tmp_path)
    assert sum(isinstance(item, Clip) for item in items) == 2
    assert reasons(items) == [Reason.BAD_ROW] * 4 + [Reason.UNKNOWN_LABEL]
    details = [item.detail for item in items if isinstance(item, Rejected)]
    assert details[0].startswith("meta/esc50.csv line 3: 2 fields instead of 7")
    assert "'fold'" not in details[2] and "fold '9'" in details[2]
    assert items[5].split == "fold1"


def test_latin_1_rows_are_read_as_the_bytes_they_are(tmp_path: Path) -> None:
    header = b"itemid,datasetid,hasbird\n"
    write(tmp_path / "ff1010bird_metadata_2018.csv", header + b"plain,ff1010bird,1\nh\xe9ron,ff1010bird,1\n")
    write(tmp_path / "warblrb10k_public_metadata_2018.csv", header + b"w,warblrb10k,1\n")
    write(tmp_path / "BirdVoxDCASE20k_csvpublic.csv", header + b"v,BirdVox-DCASE-20k,0\n")
    plain, heron = read("birdsong", tmp_path)[:2]
    assert isinstance(plain, Clip) and isinstance(heron, Clip)
    assert heron.path.encode("utf-8", "surrogateescape") == b"ff1010bird/wav/h\xe9ron.wav"
    assert heron.clip_id == "ff1010bird/wav/h\\xe9ron.wav"
    assert heron.group.encode() == b"ff1010bird/h\\xe9ron"


def birdsong(root: Path, count: int) -> None:
    header = "itemid,datasetid,hasbird\n"
    rows = "".join(f"{number},ff1010bird,{number % 7 == 0:d}\n" for number in range(count))
    write(root / "ff1010bird_metadata_2018.csv", header + rows)
    write(root / "warblrb10k_public_metadata_2018.csv", header + "w,warblrb10k,1\n")
    write(root / "BirdVoxDCASE20k_csvpublic.csv", header + "v,BirdVox-DCASE-20k,0\n")


def test_birdsong_split_is_a_fifth_and_does_not_move(tmp_path: Path) -> None:
    birdsong(tmp_path / "small", 1_000)
    birdsong(tmp_path / "large", 2_000)
    small = {c.clip_id: c.split for c in read("birdsong", tmp_path / "small") if isinstance(c, Clip)}
    large = {c.clip_id: c.split for c in read("birdsong", tmp_path / "large") if isinstance(c, Clip)}
    assert all(large[clip] == split for clip, split in small.items())
    assert sum(split == "test" for split in large.values()) / 2_000 == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("name", ["birdsong", "tut18"])
def test_a_split_file_of_the_user_comes_first(name: str, tmp_path: Path) -> None:
    if name == "birdsong":
        birdsong(tmp_path, 3)
        paths = [f"ff1010bird/wav/{number}.wav" for number in range(3)]
    else:
        paths = [f"audio/park-paris-1-{number}-a.wav" for number in range(3)]
        rows = "".join(f"{path}\tpark\tparis-1\ta\n" for path in paths)
        write(tmp_path / "meta.csv", "filename\tscene_label\tidentifier\tsource_label\n" + rows)
    write(tmp_path / "hares_split.csv", f"path,split\n{paths[0]},test\n{paths[1]},train\n")
    first, second, third = read(name, tmp_path)[:3]
    assert isinstance(first, Clip) and isinstance(second, Clip)
    assert (first.split, second.split) == ("test", "train")
    assert isinstance(third, Rejected) and third.reason is Reason.UNLISTED
    index = load_task_module(name).index(tmp_path)
    assert not index.split_is_official and "hares_split.csv" in index.deviations[0]
    write(tmp_path / "hares_split.csv", f"path,split\n{paths[0]},evaluation\n")
    with pytest.raises(CorpusIndexError, match="line 2: split 'evaluation'"):
        read(name, tmp_path)
    write(tmp_path / "hares_split.csv", f"path,split\n{paths[0]},test\n")
    with pytest.raises(CorpusIndexError, match=r"no row of hares_split.csv is of train\."):
        read(name, tmp_path)


@pytest.mark.parametrize("name", ["birdsong", "tut18"])
def test_the_authors_split_is_the_papers(name: str, tmp_path: Path) -> None:
    """Bare names, as a list made of the authors' folder may have them; the two files exclude each other."""
    if name == "birdsong":
        birdsong(tmp_path, 3)
        names = ["0", "1", "2"]
    else:
        names = [f"park-paris-1-{number}-a" for number in range(3)]
        rows = "".join(f"audio/{n}.wav\tpark\tparis-1\ta\n" for n in names)
        write(tmp_path / "meta.csv", "filename\tscene_label\tidentifier\tsource_label\n" + rows)
    module = load_task_module(name)
    (without,) = module.index(tmp_path).deviations
    assert "github.com/deepmind/slowfast_nfnets" in without and not module.index(tmp_path).split_is_official
    rows = "".join(f"{n},{part}\n" for n, part in zip(names, ("test", "train", "test"), strict=True))
    write(tmp_path / "authors_split.csv", "path,split\n" + rows)
    assert [item.split for item in read(name, tmp_path)[:3]] == ["test", "train", "test"]
    index = module.index(tmp_path)
    assert index.split_is_official and "not comparable" not in "".join(
        index.deviations + module.TASK.deviations
    )
    write(tmp_path / "hares_split.csv", "path,split\n" + rows)
    for call in (module.index, lambda root: read(name, root)):
        with pytest.raises(CorpusIndexError, match=r"authors_split.csv and hares_split.csv are both there"):
            call(tmp_path)


def test_tut18_without_lists_keeps_places_together(tmp_path: Path) -> None:
    scenes = load_task("tut18").slots[0].classes
    rows = [
        f"audio/{scene}-paris-{place}-{n}-a.wav\t{scene}\tparis-{position * 4 + place}\ta"
        for position, scene in enumerate(scenes)
        for place in range(4)
        for n in range(3)
    ]
    write(tmp_path / "meta.csv", "filename\tscene_label\tidentifier\tsource_label\n" + "\n".join(rows))
    clips = [item for item in read("tut18", tmp_path) if isinstance(item, Clip)]
    assert len(clips) == 120
    for group in {clip.group for clip in clips}:
        assert len({clip.split for clip in clips if clip.group == group}) == 1
    for split in ("train", "test"):
        assert {clip.labels[0] for clip in clips if clip.split == split} == set(range(10))


def test_cover_classes_moves_what_it_must_and_no_more() -> None:
    groups = {f"g{number}": "train" for number in range(6)}
    pairs = [("g0", 0), ("g1", 0), ("g1", 1), ("g2", 1), ("g3", 2), ("g4", 3), ("g5", 3)]
    splits = dict(groups)
    moved = _split.cover_classes(splits, pairs)  # type: ignore[arg-type]
    assert moved <= 3 and splits["g3"] == "train"
    for label in (0, 1, 3):
        assert {splits[group] for group, of in pairs if of == label} == {"train", "test"}
    assert _split.cover_classes(splits, pairs) == 0  # type: ignore[arg-type]


def test_voxforge_split_is_that_of_tensorflow_datasets() -> None:
    theirs = pytest.importorskip("tensorflow_datasets.audio.voxforge")
    speakers = {f"speaker{number}" for number in range(1_000)}
    shares = [("train", 0.7), ("validation", 0.1), ("test", 0.2)]
    expected = theirs._get_inter_splits_by_group([(s, s) for s in speakers], shares, 0)
    ours = voxforge.tfds_split(speakers)
    for split, members in expected.items():
        assert {speaker for speaker, part in ours.items() if part == split} == members


def test_voxforge_with_the_list_of_tensorflow_datasets_is_official(tmp_path: Path) -> None:
    names = [f"speaker{number}" for number in range(50)]
    urls = "".join(
        f'"http://host/en/Trunk/Audio/Main/16kHz_16bit/{name}-20100101-abc.tgz"\n' for name in names
    )
    write(tmp_path / "voxforge_urls.txt", urls)
    for name in (*names[:5], "stranger"):
        write(tmp_path / f"en/{name}-20100101-abc/wav/a1.wav", "")
    index = load_task_module("voxforge").index(tmp_path)
    assert not index.split_is_official, "the list lacks a session that is there: it may have lost rows"
    (tmp_path / "en/stranger-20100101-abc").rename(tmp_path / "en-stranger")
    index = load_task_module("voxforge").index(tmp_path)
    assert index.split_is_official and not index.deviations
    (tmp_path / "en-stranger").rename(tmp_path / "en/stranger-20100101-abc")
    items = read("voxforge", tmp_path)
    expected = voxforge.tfds_split(set(names))
    assert {c.group: c.split for c in items if isinstance(c, Clip)} == {n: expected[n] for n in names[:5]}
    assert reasons(items) == [Reason.UNLISTED] + [Reason.ABSENT] * 45
    assert {item.path for item in items if isinstance(item, Rejected)} >= {f"en/{names[49]}-20100101-abc"}


def test_voxceleb_rows(tmp_path: Path) -> None:
    write(
        tmp_path / "iden_split.txt",
        "1 id10001/abc/00001.wav\n3 id11251/abc/00001.wav\n4 id10001/abc/00002.wav\n2 id19999/abc/00001.wav\n1 oops\n",
    )
    items = read("voxceleb1", tmp_path)
    clips = [item for item in items if isinstance(item, Clip)]
    assert [(c.path, c.labels, c.split, c.group) for c in clips] == [
        ("wav/id10001/abc/00001.wav", (0,), "train", "id10001/abc"),
        ("wav/id11251/abc/00001.wav", (1250,), "test", "id11251/abc"),
    ]
    assert reasons(items) == [Reason.BAD_ROW, Reason.UNKNOWN_LABEL, Reason.BAD_ROW]


def nsynth(root: Path, train: str) -> None:
    for part in ("valid", "test"):
        write(root / f"nsynth-{part}/examples.json", "{}")
    write(root / "nsynth-train/examples.json", train)


def note(pitch: object = 60, family: object = "bass") -> dict[str, object]:
    return {"pitch": pitch, "instrument_family_str": family, "instrument_str": "x_001", "qualities": [0] * 10}


def test_nsynth_entries_across_windows_are_those_of_json(tmp_path: Path) -> None:
    entries = {f"note_{n}-{'é' * (n % 7)}": note(n % 128, "x" * (n % 900)) for n in range(1_500)}
    for indent, ascii_only in ((None, True), (4, False)):
        text = json.dumps(entries, indent=indent, ensure_ascii=ascii_only)
        assert len(text) > 3 * (1 << 16)
        write(tmp_path / "a.json", text)
        assert list(_nsynth.entries("nsynth_pitch", tmp_path, "a.json")) == list(entries.items())


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": {}', '{"a": {} "b": {}}', '{"a" {}}', '{"a": {"pitch": 1', "{1: 2}"]
)
def test_nsynth_half_a_json_is_an_index_error(tmp_path: Path, text: str) -> None:
    nsynth(tmp_path, text)
    with pytest.raises(CorpusIndexError, match=r"nsynth-train/examples.json is not one JSON object"):
        read("nsynth_pitch", tmp_path)


def test_nsynth_entries_that_are_no_notes(tmp_path: Path) -> None:
    nsynth(tmp_path, json.dumps({"a": note(), "b": 3, "c": {"pitch": 3}, "d": note(128), "e": note(-1)}))
    items = read("nsynth_pitch", tmp_path)
    assert reasons(items) == [Reason.BAD_ROW] * 2 + [Reason.UNKNOWN_LABEL] * 2
    assert reasons(read("nsynth_instrument", tmp_path)) == [Reason.BAD_ROW] * 2
    assert isinstance(items[0], Clip) and items[0].path == "nsynth-train/audio/a.wav"


def annotations(root: Path, rows: dict[int, tuple[str, set[str]]]) -> None:
    columns = ("clip_id", *reversed(magnatagatune.TAGS), "bongos", "mp3_path")
    lines = ["\t".join(f'"{column}"' for column in columns)]
    for number, (path, tags) in rows.items():
        values = ["1" if tag in tags else "0" for tag in columns[1:-1]]
        lines.append("\t".join(f'"{value}"' for value in (str(number), *values, path)))
    write(root / "annotations_final.csv", "\n".join(lines) + "\n")


def test_magnatagatune_by_folder_and_by_list(tmp_path: Path) -> None:
    rows = {
        1: ("0/x-1-0-29.mp3", {"guitar", "choral", "bongos"}),
        2: ("b/y-0-29.mp3", set()),
        3: ("c/z-0-29.mp3", {"bongos"}),
        4: ("d/w-0-29.mp3", {"slow"}),
        5: ("z/w-0-29.mp3", {"slow"}),
    }
    annotations(tmp_path, rows)
    items = read("magnatagatune", tmp_path)
    clips = [item for item in items if isinstance(item, Clip)]
    assert [(c.labels, c.split, c.group) for c in clips] == [
        ((0, 49), "train", "0/x-1"),
        ((), "train", "b/y"),
        ((), "validation", "c/z"),
        ((2,), "test", "d/w"),
    ]
    assert reasons(items) == [Reason.BAD_ROW]
    write(tmp_path / "train_gt_mtt.tsv", "4\t[0, 1]\n")
    write(tmp_path / "val_gt_mtt.tsv", "2\t[0, 1]\n")
    write(tmp_path / "test_gt_mtt.tsv", "1\t[0, 1]\n")
    listed = read("magnatagatune", tmp_path)
    assert {c.path[0]: c.split for c in listed if isinstance(c, Clip)} == {
        "0": "test",
        "b": "validation",
        "d": "train",
    }
    assert reasons(listed) == [Reason.UNLISTED, Reason.BAD_ROW]


def test_audioset_finds_a_clip_in_any_form(tmp_path: Path) -> None:
    rows = '# YTID, start_seconds, end_seconds, positive_labels\n{}, 0.000, 10.000, "/m/09x0r,/m/05zppz,/m/nope"\n'
    write(tmp_path / "balanced_train_segments.csv", rows.format("--aE2O5G5WE"))
    write(tmp_path / "eval_segments.csv", rows.format("4jBgLMrTx5A") + 'x, 0, 1, "/m/nope"\nshort, 1\n')
    write(tmp_path / "audio/balanced_train/Y--aE2O5G5WE.wav", "")
    write(tmp_path / "audio/eval/4jBgLMrTx5A.m4a", "")
    first, second, third, bad = read("audioset", tmp_path)
    assert isinstance(first, Clip) and isinstance(second, Clip) and isinstance(third, Clip)
    assert (first.path, first.labels, first.split) == (
        "audio/balanced_train/Y--aE2O5G5WE.wav",
        (0, 1),
        "train",
    )
    assert (second.path, second.split) == ("audio/eval/4jBgLMrTx5A.m4a", "test")
    assert third.labels == ()
    assert isinstance(bad, Rejected) and bad.reason is Reason.BAD_ROW
    assert "only the balanced part" in load_task_module("audioset").index(tmp_path).deviations[0]
    write(tmp_path / "unbalanced_train_segments.csv", rows.format("zzzzzzzzzzz"))
    assert load_task_module("audioset").index(tmp_path).deviations == ()
    assert len(read("audioset", tmp_path)) == 5


def test_reading_does_not_hold_what_it_has_read(tmp_path: Path) -> None:
    with open(tmp_path / "iden_split.txt", "w") as file:
        for number in range(200_000):
            file.write(f"{number % 3 + 1} id{10_001 + number % 1_251}/video{number}/00001.wav\n")
    clips = load_task_module("voxceleb1").read(tmp_path)
    next(clips)
    tracemalloc.start()
    assert sum(1 for _ in islice(clips, 20_000)) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    assert sum(1 for _ in clips) == 179_999


def test_nsynth_is_read_through_a_window(tmp_path: Path) -> None:
    entry = json.dumps(note())
    with open(tmp_path / "a.json", "w") as file:
        file.write("{" + ",\n".join(f'"note-{number}": {entry}' for number in range(30_000)) + "}")
    tracemalloc.start()
    assert sum(1 for _ in _nsynth.entries("nsynth_pitch", tmp_path, "a.json")) == 30_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "a.json").stat().st_size > 3_000_000
    assert peak < 1_000_000
