"""Archives as the data sets are handed out, packed from small layouts: unpacked, the clips are those of the folders."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from fuzz.fuzz_layouts import copy_layout, make_layouts
from hares.corpus import check_corpus
from hares.files import walk_files
from hares.reading import scan
from hares.task import Clip, Rejected, load_task
from hares.tasks._speech_commands import TEST_SETS
from hares.tasks.speech_commands_v1 import CLASSES
from hares.unpack import Unpacked, first_names, unpack

TEST_SET = TEST_SETS["v0.01"]
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unpack") / "corpus"
    make_layouts(root)
    return root


def splits(task: str, root: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Split, labels and file name of every clip."""
    return sorted(
        (item.split, item.labels, Path(item.path).stem) for item in scan(task, root) if isinstance(item, Clip)
    )


def put_into_zip(folder: Path, archive: Path, prefix: str) -> None:
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, f"{prefix}/{path.relative_to(folder).as_posix()}")
    shutil.rmtree(folder)


def put_into_tar(folder: Path, archive: Path, prefix: str, mode: str = "w:gz") -> None:
    with tarfile.open(archive, mode) as file:  # type: ignore[call-overload]
        file.add(folder, prefix)
    shutil.rmtree(folder)


def birdsong(root: Path) -> None:
    """The three zips of DCASE 2018 task 3: `ff1010bird_wav.zip` and two others, each with `wav/`."""
    archives = ("ff1010bird_wav", "warblrb10k_public_wav", "BirdVox-DCASE-20k")
    for folder, archive in zip(("ff1010bird", "warblrb10k", "BirdVox-DCASE-20k"), archives, strict=True):
        put_into_zip(root / folder / "wav", root / f"{archive}.zip", "wav")
        (root / folder).rmdir()


def voxceleb1(root: Path) -> None:
    """Its two zips, each with `wav/`."""
    (root / "test").mkdir()
    (root / "wav/id10001").rename(root / "test/id10001")
    put_into_zip(root / "test", root / "vox1_test_wav.zip", "wav")
    put_into_zip(root / "wav", root / "vox1_dev_wav.zip", "wav")


def voxforge(root: Path) -> None:
    """A tgz a session, in the site's tree."""
    for session in sorted(path for path in root.glob("*/*") if path.is_dir()):
        put_into_tar(session, session.with_name(f"{session.name}.tgz"), session.name)


def nsynth_pitch(root: Path) -> None:
    """`nsynth-train.jsonwav.tar.gz`."""
    for part in ("train", "valid", "test"):
        put_into_tar(root / f"nsynth-{part}", root / f"nsynth-{part}.jsonwav.tar.gz", f"nsynth-{part}")


def esc50(root: Path) -> None:
    """A zip in a tar."""
    put_into_zip(root / "audio", root / "audio.zip", "audio")
    with tarfile.open(root / "audio.tar", "w") as file:
        file.add(root / "audio.zip", "./audio.zip")
    (root / "audio.zip").unlink()


def tut18(root: Path) -> None:
    """Zips of one folder, which is that of the whole data set."""
    top = "TUT-urban-acoustic-scenes-2018-development"
    put_into_zip(root / "audio", root / f"{top}.audio.1.zip", f"{top}/audio")
    with zipfile.ZipFile(root / f"{top}.meta.zip", "w") as file:
        for name in ("meta.csv", "evaluation_setup/fold1_train.txt", "evaluation_setup/fold1_evaluate.txt"):
            file.write(root / name, f"{top}/{name}")
            (root / name).unlink()


def speech_commands_v1(root: Path) -> None:
    """`speech_commands_v0.02.tar.gz` without a folder around it, and the archive of the test set beside it."""
    for word in ("_silence_", "_unknown_", *CLASSES[:10]):
        (root / TEST_SET / word).mkdir(parents=True)
        shutil.copy(next(root.glob("yes/*.wav")), root / TEST_SET / word / "t_x0_nohash_0.wav")
    put_into_tar(root / TEST_SET, root.parent / f"{TEST_SET}.tar.gz", ".")
    put_into_tar(root, root.parent / "speech_commands_v0.01.tar.gz", ".")
    root.mkdir()
    for archive in root.parent.glob("*.tar.gz"):
        archive.rename(root / archive.name)


def magnatagatune(root: Path) -> None:
    """One zip of the folders 0 to f, as its three parts make when they are joined."""
    with zipfile.ZipFile(root / "mp3.zip", "w") as file:
        for path in sorted(root.glob("?/*")):
            file.write(path, path.relative_to(root).as_posix())
            path.unlink()


_PACKS = (birdsong, voxceleb1, voxforge, nsynth_pitch, esc50, tut18, speech_commands_v1, magnatagatune)
PACKED = {pack.__name__: pack for pack in _PACKS}


@pytest.mark.parametrize("task", sorted(PACKED))
def test_an_archive_becomes_the_folder_that_is_read(task: str, template: Path, tmp_path: Path) -> None:
    root = copy_layout(template, task, tmp_path)
    before = splits(task, root)
    PACKED[task](root)
    assert not any(isinstance(item, Clip) for item in scan(task, root))
    first = first_names(load_task(task))
    found = list(unpack(root, first))
    assert found and not any(one.problem for one in found)
    if task == "speech_commands_v1":  # its test set is another with the archive
        before = [item for item in before if item[0] == "train" and item[1] != (11,)]
        after = splits(task, root)
        assert [item for item in after if item[0] == "train" and item[1] != (11,)] == before
        assert sum(item[0] == "test" for item in after) == 12
    else:
        assert splits(task, root) == before
        assert not [
            item for item in scan(task, root) if isinstance(item, Rejected)
        ]  # no archive is "not read"
    written = {
        path: entry.stat().st_mtime_ns for path, entry in walk_files(root) if not path.endswith(".unpacked")
    }
    assert [one.files for one in unpack(root, first)] == [one.files for one in found]
    after = {path: entry.stat().st_mtime_ns for path, entry in walk_files(root)}
    assert {path: after[path] for path in written} == written  # nothing is written twice


def segments(root: Path) -> dict[str, Path]:
    """AudioSet's recordings by list and video."""
    return {
        path.stem: path for part in ("balanced_train", "eval") for path in (root / "audio" / part).iterdir()
    }


def test_parquet_of_hugging_face(template: Path, tmp_path: Path) -> None:
    """agkphysics/AudioSet's columns: video_id, audio {bytes, path}, labels, human_labels; data/bal_train/00.parquet."""
    root = copy_layout(template, "audioset", tmp_path)
    before = splits("audioset", root)
    for part, short in (("balanced_train", "bal_train"), ("eval", "eval")):
        paths = sorted((root / "audio" / part).iterdir())
        rows = [
            {
                "video_id": path.stem,
                "audio": {"bytes": path.read_bytes(), "path": f"audio/{short}/{path.name}"},
                "labels": ["/m/09x0r"],
                "human_labels": ["Speech"],
            }
            for path in paths
        ]
        (root / "data" / short).mkdir(parents=True)
        for number in range(2):
            pq.write_table(pa.Table.from_pylist(rows[number::2]), root / f"data/{short}/{number:02}.parquet")
    shutil.rmtree(root / "audio")
    found = list(unpack(root))
    assert [one.problem for one in found] == [""] * 4
    assert splits("audioset", root) == before
    (check,) = check_corpus(None, {"audioset": root}, ["audioset"])
    assert check.layouts[0].startswith("data/{bal_train,eval}/{00,01}/*.") and not check.rejected


def test_parquet_without_names_of_files_takes_ids_and_contents(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.zeros(800, np.int16), 16_000, format="FLAC")
    rows = [{"id": "one", "sound": {"bytes": buffer.getvalue(), "path": None}}]
    sound = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("sound", sound)])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "a.parquet")
    assert list(unpack(tmp_path)) == [Unpacked("a.parquet", "a", 1)]
    assert (tmp_path / "a/one.flac").read_bytes() == buffer.getvalue()


MALICE = """
import os, sys, warnings
warnings.simplefilter("ignore")
from hares.unpack import unpack
{before}
import pyarrow as pa, pyarrow.parquet as pq

class Payload:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1] + "/ran",)

class Typed(pa.PyExtensionType):
    def __init__(self):
        pa.PyExtensionType.__init__(self, pa.int8())
    def __reduce__(self):
        return Payload().__reduce__()

column = pa.ExtensionArray.from_storage(Typed(), pa.array([1], pa.int8()))
os.mkdir(sys.argv[1])
pq.write_table(pa.table({{"audio": column}}), sys.argv[1] + "/a.parquet")
try:
    print([one.problem for one in unpack(__import__("pathlib").Path(sys.argv[1]))])
except OSError as error:
    print(error)
print("ran", os.path.isdir(sys.argv[1] + "/ran"))
"""


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("", "Disallowed deserialization"),
        ("sys.modules['pyarrow_hotfix'] = None", "pip install pyarrow-hotfix"),
    ],
)
def test_parquet_that_holds_code_is_refused(before: str, said: str, tmp_path: Path) -> None:
    code = MALICE.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data")],
        cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert said in done.stdout and "ran False" in done.stdout, done.stdout + done.stderr


def test_shards_of_webdataset(template: Path, tmp_path: Path) -> None:
    """`<key>.flac` beside `<key>.json` in numbered tars without folders."""
    root = copy_layout(template, "audioset", tmp_path)
    before = splits("audioset", root)
    for part in ("balanced_train", "eval"):
        with tarfile.open(root / f"audio/{part}-000000.tar", "w") as file:
            for path in sorted((root / "audio" / part).iterdir()):
                path.with_suffix(".json").write_text("{}")
                file.add(path, path.name)
                file.add(path.with_suffix(".json"), f"{path.stem}.json")
        shutil.rmtree(root / "audio" / part)
    assert not any(one.problem for one in unpack(root))
    assert splits("audioset", root) == before


@pytest.mark.slow
def test_tfrecords_of_nsynth(template: Path, tmp_path: Path) -> None:
    """The features that TensorFlow Datasets' builder reads: note_str, audio as floats, pitch, instrument_str, ..."""
    import tensorflow as tf

    root = copy_layout(template, "nsynth_pitch", tmp_path)
    before = {task: splits(task, root) for task in ("nsynth_pitch", "nsynth_instrument")}
    for part in ("train", "valid", "test"):
        folder = root / f"nsynth-{part}"
        notes = json.loads((folder / "examples.json").read_text())
        with tf.io.TFRecordWriter(str(root / f"nsynth-{part}.tfrecord")) as file:
            for note, fields in notes.items():
                samples, _ = soundfile.read(folder / f"audio/{note}.wav", dtype="float32")
                example = tf.train.Example()
                feature = example.features.feature
                feature["audio"].float_list.value.extend(samples)
                feature["note_str"].bytes_list.value.append(note.encode())
                for name, value in fields.items():
                    if isinstance(value, int):
                        feature[name].int64_list.value.append(value)
                    elif isinstance(value, str):
                        feature[name].bytes_list.value.append(value.encode())
                file.write(example.SerializeToString())
        sounds = {path.name: path.read_bytes() for path in (folder / "audio").iterdir()}
        shutil.rmtree(folder)
        with tarfile.open(root / f"nsynth-{part}.tfrecord.tar", "w") as file:
            file.add(root / f"nsynth-{part}.tfrecord", f"nsynth-{part}.tfrecord")
        (root / f"nsynth-{part}.tfrecord").unlink()
        if part == "test":
            assert not any(one.problem for one in unpack(root))
            for name, content in sounds.items():
                own, _ = soundfile.read(io.BytesIO(content), dtype="int16")
                np.testing.assert_array_equal(soundfile.read(folder / "audio" / name, dtype="int16")[0], own)
    assert {task: splits(task, root) for task in before} == before


@pytest.mark.parametrize("name", ["../out.wav", "/tmp/out.wav", "a/../../out.wav", "a\\out.wav"])
def test_what_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with zipfile.ZipFile(root / "a.zip", "w") as file:
        file.writestr("good.wav", b"good")
        file.writestr(name, b"bad")
    with tarfile.open(root / "b.tar", "w") as tar:
        link = tarfile.TarInfo("inside")
        link.type, link.linkname = tarfile.SYMTYPE, "../.."
        tar.addfile(link)
        member = tarfile.TarInfo(name)
        member.size = 3
        tar.addfile(member, io.BytesIO(b"bad"))
    first, second = unpack(root)
    assert first.files == 1 and "leads out of the archive's folder" in first.problem
    assert second.files == 0 and "inside is a link" in second.problem
    assert (root / "a/good.wav").read_bytes() == b"good"
    assert {path.name for path in tmp_path.rglob("*")} == {"root", "a.zip", "b.tar", "a", "good.wav"}


def test_a_folder_that_is_a_link_out_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/sub").symlink_to(tmp_path / "outside")
    with zipfile.ZipFile(tmp_path / "root/a.zip", "w") as file:
        file.writestr("sub/x.wav", b"bad")
        file.writestr("y.wav", b"good")
    (found,) = unpack(tmp_path / "root")
    assert found.files == 1 and "sub/x.wav leads out" in found.problem
    assert not any((tmp_path / "outside").iterdir())


def test_files_of_the_user_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/list.txt").write_text("corrected by hand")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("list.txt", "as it was")
        file.writestr("other.txt", "other")
    (found,) = unpack(tmp_path)
    assert "list.txt is there already with another content" in found.problem and found.files == 1
    assert (tmp_path / "a/list.txt").read_text() == "corrected by hand"


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz", "a.parquet"])
def test_a_broken_archive_is_named_and_the_others_are_unpacked(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as file:
        file.writestr("x.wav", b"x")
    (tmp_path / name).write_bytes(b"no archive at all")
    found = {one.archive: one for one in unpack(tmp_path)}
    assert "is broken" in found[name].problem and not found["whole.zip"].problem


def test_an_archive_that_was_cut_off_gives_its_first_files(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as file:
        for number in range(40):
            member = tarfile.TarInfo(f"{number:02}.wav")
            member.size = 2_000
            file.addfile(member, io.BytesIO(bytes(2_000)))
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:50_300])
    (found,) = unpack(tmp_path)
    assert "is broken" in found.problem
    for path in (tmp_path / "a").glob("*") if (tmp_path / "a").is_dir() else []:
        assert path.stat().st_size == 2_000  # no half of a file


def test_an_archive_of_another_kind_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    (found,) = unpack(tmp_path)
    assert "by its own program" in found.problem


@pytest.mark.parametrize("name", ["x.tfrecord.tar.part", "x.tfrecord.tar.part.from", "x.zip.part"])
def test_what_is_still_being_fetched_is_let_be(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"half")
    assert list(unpack(tmp_path)) == []
