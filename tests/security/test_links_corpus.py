"""Names and links of the wrong kind in all twelve layouts: nothing outside is read, and each is named on one line."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from fuzz.fuzz_layouts import check_listing, make_layouts, only_below
from hares import folder
from hares.corpus import check_corpus
from hares.decoding import AudioError, decode
from hares.files import shown
from hares.ingest import rejected_line
from hares.reading import audio_files, scan
from hares.task import Clip, Reason, Rejected, load_task, task_names

# Readers that take names from folders: an index cannot lead them anywhere.
BY_FOLDER = ("voxforge",)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("paths") / "corpus"
    make_layouts(root)
    return root


@pytest.fixture
def layout(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> tuple[str, Path]:
    """A task and a copy of its data set that a test may spoil."""
    task = request.param
    root = tmp_path / "data" / load_task(task).dataset
    shutil.copytree(template / load_task(task).dataset, root)
    (tmp_path / "outside").mkdir()
    shutil.copy(template / "tone.wav", tmp_path / "outside/secret.wav")
    return task, root


every_layout = pytest.mark.parametrize("layout", task_names(), indirect=True)


def clips(task: str, root: Path) -> list[Clip]:
    return [item for item in scan(task, root) if isinstance(item, Clip)]


def rejected(task: str, root: Path) -> list[Rejected]:
    found = [item for item in scan(task, root) if isinstance(item, Rejected)]
    for item in found:
        line = json.dumps(rejected_line(item))
        assert "\n" not in line and line.isprintable()
    return found


@every_layout
def test_a_recording_that_is_a_link_out(layout: tuple[str, Path], tmp_path: Path) -> None:
    task, root = layout
    victim = clips(task, root)[0]
    (root / victim.path).unlink()
    (root / victim.path).symlink_to(tmp_path / "outside/secret.wav")
    with only_below(os.path.realpath(root)):
        found = rejected(task, root)
    assert (victim.path, Reason.OUTSIDE) in [(item.path, item.reason) for item in found]
    assert victim.path not in [clip.path for clip in clips(task, root)]


@every_layout
def test_a_folder_of_recordings_that_is_a_link_out(layout: tuple[str, Path], tmp_path: Path) -> None:
    task, root = layout
    before = clips(task, root)
    # The first folder below the root that a usable clip is in, moved out as a whole.
    parts = before[0].path.split("/")
    place = parts[0] if parts[0] != "audio" or len(parts) == 2 else "/".join(parts[:2])
    if (root / place).joinpath("examples.json").exists():
        place = f"{place}/audio"  # NSynth: the index stays
    (root / place).rename(tmp_path / "outside/moved")
    (root / place).symlink_to(tmp_path / "outside/moved")
    with only_below(os.path.realpath(root)):
        found = rejected(task, root)
    assert any(
        item.reason is Reason.OUTSIDE and (item.path == place or item.path.startswith(f"{place}/"))
        for item in found
    )
    assert not [clip for clip in clips(task, root) if clip.path.startswith(f"{place}/")]


@every_layout
def test_an_index_that_is_a_link_out(layout: tuple[str, Path], tmp_path: Path) -> None:
    task, root = layout
    indexes = [p for p in root.rglob("*") if p.suffix in (".csv", ".json", ".txt", ".tsv") and p.is_file()]
    for index in indexes:
        index.rename(tmp_path / "outside" / index.name)
        index.symlink_to(tmp_path / "outside" / index.name)
    with only_below(os.path.realpath(root)):
        found = rejected(task, root)
    assert [item.reason for item in found][-1:] == [Reason.INDEX], found[-1:]
    assert "leads out of the data set's folder" in found[-1].detail
    assert str(tmp_path / "outside") not in found[-1].detail


@every_layout
def test_an_index_that_never_ends(layout: tuple[str, Path]) -> None:
    task, root = layout
    for index in [
        p for p in root.rglob("*") if p.suffix in (".csv", ".json", ".txt", ".tsv") and p.is_file()
    ]:
        index.unlink()
        os.mkfifo(index)
    assert rejected(task, root)[-1].reason is Reason.INDEX


ROWS = {
    "audioset": ("balanced_train_segments.csv", '{0}, 0.000, 10.000, "/m/09x0r"\n'),
    "birdsong": ("ff1010bird_metadata_2018.csv", "{0},1\n"),
    "tut18": ("meta.csv", "{0}\tpark\tparis-1\ta\n"),
    "esc50": ("meta/esc50.csv", "{0},1,0,dog,True,1,A\n"),
    "speech_commands_v1": ("testing_list.txt", "{0}\n"),
    "speech_commands_v2": ("testing_list.txt", "{0}\n"),
    "fluent_speech_commands": ("data/train_data.csv", "9,{0},speaker,text,activate,lights,kitchen\n"),
    "voxceleb1": ("iden_split.txt", "1 {0}\n"),
    "nsynth_instrument": ("nsynth-test/examples.json", None),
    "nsynth_pitch": ("nsynth-test/examples.json", None),
    "magnatagatune": ("annotations_final.csv", None),
}
NAMES = {
    "climbs": "../../outside/secret.wav",
    "climbs in a folder": "id10001/../../../../outside/secret.wav",
    "passwd": "../../../../../../../../etc/passwd",
    "absolute": "/etc/passwd",
    "long": "a" * 4_000,
    "not utf-8": os.fsdecode(b"h\xe9ron/\xff\xfe.wav"),
    "escape codes": "\x1b[2Jbed/x_nohash_0.wav",
    "line separator": "bed/a\u2028b_nohash_0.wav",
}


@pytest.mark.parametrize("layout", sorted(ROWS), indirect=True)
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_an_index_that_names_what_it_should_not(layout: tuple[str, Path], name: str) -> None:
    task, root = layout
    index, row = ROWS[task]
    before = rejected(task, root)
    text = (root / index).read_text(encoding="utf-8")
    if task.startswith("nsynth"):
        entry = {"pitch": 60, "instrument_family_str": "bass", "instrument_str": "i"}
        text = text.rstrip().removesuffix("}") + f", {json.dumps(name)}: {json.dumps(entry)}}}"
    elif task == "magnatagatune":
        fields = text.splitlines()[1].split("\t")
        text += "\t".join([*fields[:-1], f'"0/{name}"']) + "\n"
    else:
        assert row is not None
        text += row.format(name)
    (root / index).write_text(text, encoding="utf-8", errors="surrogateescape")
    with only_below(os.path.realpath(root)):
        found = rejected(task, root)
        usable = clips(task, root)
    added = Counter(map(str, found)) - Counter(map(str, before))
    assert added, "the row is not named"
    assert not [clip for clip in usable if ".." in clip.path or clip.path.startswith("/")]


@every_layout
def test_odd_names_on_the_disk(layout: tuple[str, Path], template: Path) -> None:
    task, root = layout
    place = (root / clips(task, root)[0].path).parent
    suffix = Path(clips(task, root)[0].path).suffix
    names = ["line\nbreak", "\x1b[2J", os.fsdecode(b"h\xe9ron"), "CASE", "case", "a" * 240]
    for name in names:
        shutil.copy(template / "tone.wav", place / f"{name}{suffix}")
    (place / f"nowhere{suffix}").symlink_to("nothing")
    counts: Counter[str] = Counter()
    check_listing(task, root, counts)
    items = list(scan(task, root))
    for name in names:
        here = [item for item in items if item.path == str((place / f"{name}{suffix}").relative_to(root))]
        assert len(here) == 1, (name, here)


def test_a_tree_of_recordings(template: Path, tmp_path: Path) -> None:
    root = tmp_path / "pretrain"
    (root / "a").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    for path in (root / "a/x.wav", root / "a/X.wav", root / "a/line\nbreak.wav", tmp_path / "outside/s.wav"):
        shutil.copy(template / "tone.wav", path)
    (root / "out.wav").symlink_to(tmp_path / "outside/s.wav")
    (root / "folder").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root)
    os.mkfifo(root / "pipe.wav")
    with only_below(os.path.realpath(root)):
        items = list(folder.scan(root))
    assert {(i.path, i.reason) for i in items if isinstance(i, Rejected)} == {
        ("out.wav", Reason.OUTSIDE),
        ("folder", Reason.OUTSIDE),
        ("circle", Reason.OUTSIDE),
        ("pipe.wav", Reason.UNDECODABLE),
    }
    assert [i.path for i in items if isinstance(i, Clip)] == ["a/X.wav", "a/line\nbreak.wav", "a/x.wav"]


def test_background_noise_that_is_a_link_out_is_not_opened(template: Path, tmp_path: Path) -> None:
    root = tmp_path / "speech_commands_v1"
    shutil.copytree(template / "speech_commands_v1", root)
    noise = next((root / "_background_noise_").iterdir())
    noise.unlink()
    noise.symlink_to(tmp_path / "not there, and never looked for.wav")
    found = [item for item in rejected("speech_commands_v1", root) if item.path.endswith(noise.name)]
    assert [item.reason for item in found] == [Reason.OUTSIDE]


def test_the_check_of_a_corpus_prints_one_line_a_file(template: Path, tmp_path: Path) -> None:
    shutil.copytree(template / "esc50", tmp_path / "esc50")
    (tmp_path / "esc50/audio/a\nb\x1b[2J.wav").write_bytes(b"not sound")
    (check,) = check_corpus(tmp_path, tasks=["esc50"])
    assert [item.path for item in check.examples] == [r"audio/a\nb\x1b[2J.wav"]


def test_shown() -> None:
    assert shown("a/b é 鳥.wav") == "a/b é 鳥.wav"
    assert shown("a\nb\r\t\x1b\x7f\u2028\u202e") == r"a\nb\r\t\x1b\x7f\u2028\u202e"
    assert shown(os.fsdecode(b"h\xe9")) == r"h\xe9"
    assert shown("\ud800").isprintable()


def test_audio_files_are_those_inside(template: Path) -> None:
    with pytest.raises(AudioError):
        decode(template / "esc50/meta/esc50.csv")
    assert len(list(audio_files(template / "esc50"))) >= 5
