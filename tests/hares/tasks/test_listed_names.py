"""Names as lists made elsewhere have them, and layouts that people really have: the clips are the same.

The sweeps are over all tasks on one small layout of each (`fuzz_layouts`): what a task lists must not depend on the
form in which its index names the files, and no form may move a clip to another split.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz.fuzz_layouts import copy_layout, make_layouts
from hares.corpus import check_corpus
from hares.reading import scan
from hares.task import Clip, Reason, Rejected, task_names

NAME = re.compile(r"[\w./-]+\.(?:wav|mp3)")  # in all indexes but those that name clips without a suffix
BY_NAME = ("esc50", "fluent_speech_commands", "magnatagatune", "tut18", "voxceleb1")
BY_LIST = ("speech_commands_v1", "speech_commands_v2")
FORMS: dict[str, Callable[[str], str]] = {
    "dot": lambda name: f"./{name}",
    "data set": lambda name: f"data-set/{name}",
    "other machine": lambda name: f"/home/me/data/data-set/{name}",
    "windows": lambda name: "D:\\data\\" + name.replace("/", "\\"),
    "blank": lambda name: f"{name} ",
    "doubled": lambda name: name.replace("/", "//"),
    "suffix": lambda name: name[:-3] + name[-3:].upper(),
    "case": lambda name: name.rpartition("/")[0] + "/" * ("/" in name) + name.rpartition("/")[2].upper(),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("names") / "corpus"
    make_layouts(root)
    return root


def splits(task: str, root: Path) -> dict[str, str]:
    """Split by clip."""
    return {item.clip_id: item.split for item in scan(task, root) if isinstance(item, Clip)}


def rejected(task: str, root: Path) -> list[Rejected]:
    return [item for item in scan(task, root) if isinstance(item, Rejected)]


def indexes(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.suffix in (".csv", ".txt", ".tsv", ".json")]


@pytest.mark.parametrize("form", sorted(FORMS))
@pytest.mark.parametrize("task", (*BY_NAME, *BY_LIST))
def test_the_form_of_a_name_changes_nothing(task: str, form: str, template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, task, tmp_path)
    before, known = splits(task, root), len(rejected(task, root))
    for index in indexes(root):
        index.write_text(NAME.sub(lambda found: FORMS[form](found[0]), index.read_text()))
    assert splits(task, root) == before
    assert len(rejected(task, root)) == known


@pytest.mark.parametrize("task", task_names())
def test_line_ends_of_windows_change_nothing(task: str, template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, task, tmp_path)
    before = splits(task, root)
    for index in indexes(root):
        index.write_bytes(index.read_bytes().replace(b"\n", b"\r\n"))
    assert splits(task, root) == before


@pytest.mark.parametrize("task", BY_LIST)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("_nohash_", "-nohash-"),  # no row names a file
        lambda text: re.sub(
            "_nohash_[0-9]+", "_nohash_9", text, count=20
        ),  # the speakers' other clips are there
        lambda text: text.replace("/", ":"),
        lambda text: text.replace(".wav", ""),
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "".join(text.splitlines(keepends=True)[:3]),
        lambda text: "".join(text.splitlines(keepends=True)[3:]),
        lambda text: text.replace("\n", "\nnonsense\n", 1),
    ],
    ids=[
        "no file",
        "other numbers",
        "no folders",
        "no suffix",
        "empty",
        "half",
        "end lost",
        "beginning lost",
        "a row of nonsense",
    ],
)
def test_a_list_that_would_put_test_clips_into_training_is_refused(
    task: str, spoil: Callable[[str], str], template: Path, tmp_path: Path
) -> None:
    root = copy_layout(template, task, tmp_path)
    index = root / "testing_list.txt"
    index.write_text(spoil(index.read_text()))
    (item,) = scan(task, root)
    assert isinstance(item, Rejected) and item.reason is Reason.INDEX and "testing_list.txt" in item.detail


def test_a_clip_in_both_lists_is_refused(template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "speech_commands_v1", tmp_path)
    first = (root / "testing_list.txt").read_text().splitlines()[0]
    with open(root / "validation_list.txt", "a") as file:
        file.write(f"{first}\n")
    (item,) = rejected("speech_commands_v1", root)
    assert item.reason is Reason.INDEX


def test_rows_of_a_split_file_that_name_nothing_are_absent(template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "birdsong", tmp_path)
    before = splits("birdsong", root)
    text = (root / "hares_split.csv").read_text()
    (root / "hares_split.csv").write_text(text.replace("\n", "\n./elsewhere/", 2) + "wav/gone.wav,test\n")
    assert splits("birdsong", root) == before
    (item,) = rejected("birdsong", root)
    assert (item.path, item.reason, item.split) == ("wav/gone.wav", Reason.ABSENT, "test")


@pytest.mark.parametrize("word", ["eval", "Test", "", "dev"])
def test_a_word_that_is_no_split_refuses_the_task(word: str, template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "birdsong", tmp_path)
    text = (root / "hares_split.csv").read_text()
    (root / "hares_split.csv").write_text(text.replace(",test\n", f",{word}\n", 1))
    (check,) = check_corpus(None, {"birdsong": root}, ["birdsong"], decode_audio=False)
    assert check.error and "hares_split.csv" in check.error and check.clips == 0


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("magnatagatune", "val_gt_mtt.tsv"),
        ("magnatagatune", "test_gt_mtt.tsv"),
        ("tut18", "evaluation_setup/fold1_train.txt"),
        ("tut18", "evaluation_setup/fold1_evaluate.txt"),
    ],
)
def test_lists_that_make_one_split_are_all_there_or_none(
    task: str, name: str, template: Path, tmp_path: Path
) -> None:
    root = copy_layout(template, task, tmp_path)
    (root / name).unlink()
    (item,) = scan(task, root)
    assert isinstance(item, Rejected) and item.reason is Reason.INDEX and name in item.detail


SEGMENT = re.compile(r"^([^#,\n]+), ([0-9.]+), ([0-9.]+), ", re.M)
AUDIOSET: dict[str, Callable[[str, str, float, float], str]] = {
    "seconds": lambda part, video, start, end: f"{part}/Y{video}_{start:.3f}_{end:.3f}.flac",
    "whole seconds": lambda part, video, start, end: f"{part}/{video}_{start:.0f}_{end:.0f}.flac",
    "milliseconds": lambda part, video, start, end: (
        f"{part}/{video}_{1000 * start:.0f}_{1000 * end:.0f}.flac"
    ),
    "start": lambda part, video, start, end: f"{part}/{video}_{start:.0f}.wav",
    "segments": lambda part, video, start, end: f"{part}_segments/Y{video}.wav",
    "parts": lambda part, video, start, end: f"{part}_segments/part00/{video}.flac",
    "flat": lambda part, video, start, end: f"{video}.mp3",
    "short": lambda part, video, start, end: f"{part.replace('balanced', 'bal')}/{video}.m4a",
    "kaggle": lambda part, video, start, end: f"../{'valid' if part == 'eval' else 'train'}_wav/{video}.wav",
    "video": lambda part, video, start, end: f"{part}/{video}.mp4",
    "upper": lambda part, video, start, end: f"{part}/{video}.FLAC",
    "other root": lambda part, video, start, end: f"../audios/{part}/{video}.WAV",
}


@pytest.mark.parametrize("form", sorted(AUDIOSET))
def test_audioset_as_its_downloaders_name_it(form: str, template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "audioset", tmp_path)
    before = sorted(splits("audioset", root).values())
    for part in ("balanced_train", "eval"):
        for video, start, end in SEGMENT.findall((root / f"{part}_segments.csv").read_text()):
            place = root / "audio" / AUDIOSET[form](part, video, float(start), float(end))
            place.parent.mkdir(parents=True, exist_ok=True)
            (root / f"audio/{part}/{video}.flac").rename(place)
    assert sorted(splits("audioset", root).values()) == before
    assert not rejected("audioset", root)


def test_an_audioset_clip_that_is_there_twice_is_taken_from_its_own_folder(tmp_path: Path) -> None:
    for part, video in (("balanced_train", "aaaaaaaaaaa"), ("eval", "bbbbbbbbbbb")):
        (tmp_path / f"{part}_segments.csv").write_text(f'{video}, 0.000, 10.000, "/m/09x0r"\n')
        for folder in ("audio/bal_train", "audio/eval", "audio/flat"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / f"{video}.wav").touch()
    clips = [item.path for item in scan("audioset", tmp_path) if isinstance(item, Clip)]
    assert clips == ["audio/bal_train/aaaaaaaaaaa.wav", "audio/eval/bbbbbbbbbbb.wav"]
    assert len(rejected("audioset", tmp_path)) == 4


MOVES: dict[str, tuple[str, dict[str, str]]] = {
    "voxceleb of two archives": ("voxceleb1", {"wav/id10001": "test/wav/id10001", "wav": "dev/wav"}),
    "voxceleb as unpacked": ("voxceleb1", {"wav": "vox1_dev_wav/wav"}),
    "birdsong as unpacked": (
        "birdsong",
        {"ff1010bird": "ff1010bird_wav", "warblrb10k/wav": "warblrb10k_public_wav/wav"},
    ),
    "voxforge as downloaded": (
        "voxforge",
        {
            "en": "downloads/SpeechCorpus/Trunk/Audio/Main/16kHz_16bit",
            "de": "downloads/de/Trunk/Audio/Main/16kHz_16bit",
        },
    ),
}


@pytest.mark.parametrize("name", sorted(MOVES))
def test_a_folder_as_its_archives_unpack(name: str, template: Path, tmp_path: Path) -> None:
    task, moves = MOVES[name]
    root = copy_layout(template, task, tmp_path)
    before = sorted(splits(task, root).values())
    for old, new in moves.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)
    assert sorted(splits(task, root).values()) == before
    assert not rejected(task, root)


FOUND = {
    "voxceleb of two archives": r"{dev,test}/wav/*/*/*.wav ",
    "voxceleb as unpacked": r"vox1_dev_wav/wav/*/*/*.wav ",
    "birdsong as unpacked": r"{BirdVox-DCASE-20k,ff1010bird_wav,warblrb10k_public_wav}/wav/*.wav ",
    "voxforge as downloaded": r"downloads/{SpeechCorpus,de}/Trunk/Audio/Main/16kHz_16bit/*/wav/*.wav ",
}


@pytest.mark.parametrize("name", sorted(FOUND))
def test_the_check_names_the_layout_that_it_found(name: str, template: Path, tmp_path: Path) -> None:
    task, moves = MOVES[name]
    root = copy_layout(template, task, tmp_path)
    for old, new in moves.items():
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        (root / old).rename(root / new)
    (check,) = check_corpus(None, {task: root}, [task], decode_audio=False)
    assert any(layout.startswith(FOUND[name]) for layout in check.layouts), check.layouts
    counts = [int(layout.rpartition("(")[2].rstrip(")")) for layout in check.layouts]
    assert sum(counts) == check.clips and counts == sorted(counts, reverse=True)


@pytest.mark.parametrize("suffix", [".FLAC", ".m4a"])
@pytest.mark.parametrize("task", sorted({*BY_NAME, "birdsong", "nsynth_pitch"}))
def test_recordings_that_were_coded_again_are_found(
    task: str, suffix: str, template: Path, tmp_path: Path
) -> None:
    root = copy_layout(template, task, tmp_path)
    before = sorted(splits(task, root).values())
    for path in list(root.rglob("*.wav")) + list(root.rglob("*.mp3")):
        path.rename(path.with_suffix(suffix))
    assert sorted(splits(task, root).values()) == before


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ("audioset", "train-00000-of-00010.parquet"),
        ("nsynth_pitch", "nsynth-train.tfrecord"),
        ("voxforge", "speaker-20100101-abc.tgz"),
        ("voxceleb1", "vox1_dev_wav.zip"),
        ("esc50", "ESC-50-master.zip"),
    ],
)
def test_what_is_packed_is_said_in_one_sentence(
    task: str, named: str, template: Path, tmp_path: Path
) -> None:
    """No recording is there: the task cannot be used, and its error says what was looked for and what is there."""
    root = copy_layout(template, task, tmp_path)
    for path in list(root.rglob("*")):
        if path.is_file() and (path not in indexes(root) or task in ("nsynth_pitch", "voxforge")):
            path.unlink()
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    (root / named).write_bytes(b"packed")
    (check,) = check_corpus(None, {task: root}, [task], decode_audio=False)
    assert check.error and named in check.error and check.clips == 0
    assert "unpack" in check.error.lower() and len(check.error) < 600
    assert not check.examples


def test_recordings_under_other_names_are_said_in_one_sentence(template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "esc50", tmp_path)
    for number, path in enumerate(sorted((root / "audio").iterdir())):
        path.rename(root / "audio" / f"clip{number}.wav")
    (check,) = check_corpus(None, {"esc50": root}, ["esc50"], decode_audio=False)
    assert check.error and "audio/clip0.wav" in check.error and "audio/1-" in check.error


def test_voxforge_sessions_that_are_listed_and_absent(template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "voxforge", tmp_path)
    urls = [
        f"http://site/{path.parent.name}/{path.name}.tgz"
        for path in sorted(root.glob("*/*"))
        if path.is_dir()
    ]
    (root / "voxforge_urls.txt").write_text("\n".join(urls) + "\n")
    before = splits("voxforge", root)
    gone = sorted(path for path in root.glob("*/*") if path.is_dir())[::3]
    for path in gone:
        shutil.rmtree(path)
    items = rejected("voxforge", root)
    assert {item.path for item in items} == {path.relative_to(root).as_posix() for path in gone}
    assert all(item.reason is Reason.ABSENT for item in items)
    assert splits("voxforge", root).items() <= before.items()
    by_session = {clip_id.rpartition("/wav/")[0]: split for clip_id, split in before.items()}
    assert {item.path: item.split for item in items} == {
        path: by_session[path] for path in (item.path for item in items)
    }


@pytest.mark.parametrize("row", ["http://site/en/speaker-2010", "nonsense", "http://site/en/"])
def test_a_list_of_voxforge_that_is_cut_off_is_refused(row: str, template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "voxforge", tmp_path)
    with open(root / "voxforge_urls.txt", "a") as file:
        file.write(row)
    (item,) = rejected("voxforge", root)
    assert item.reason is Reason.INDEX


def test_archives_beside_folders_are_named_and_counted(template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "voxforge", tmp_path)
    (root / "voxforge_urls.txt").unlink()
    session = next(path for path in sorted((root / "de").iterdir()) if path.is_dir())
    (root / f"de/{session.name}.tgz").write_bytes(b"unpacked: its folder is there")
    for number in range(3):
        (root / f"de/other{number}-20100101-abc.tgz").write_bytes(b"packed")
    (item,) = rejected("voxforge", root)
    assert (item.path, item.reason) == ("de/other0-20100101-abc.tgz", Reason.UNLISTED) and "3" in item.detail


def test_a_folder_of_recordings_that_is_a_link_out_is_said(template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, "audioset", tmp_path)
    (root / "audio").rename(tmp_path / "elsewhere")
    (root / "audio").symlink_to(tmp_path / "elsewhere")
    (check,) = check_corpus(None, {"audioset": root}, ["audioset"], decode_audio=False)
    assert check.error or set(check.rejected) == {"outside_corpus"}
    assert "out of the data set" in f"{check.error} {check.examples}"
