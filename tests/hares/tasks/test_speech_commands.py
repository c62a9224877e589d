"""Speech Commands' readers: its two lists, the test set of twelve classes, and silence.

The archive of the test set is made as it is: `yes/<speaker>_nohash_0.wav`,
`_unknown_/<word>_<speaker>_nohash_0.wav.wav`, `_silence_/<n>.wav`, with v0.02's proportions (4,890 clips, of which 408
are unknown words and as many silence).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.corpus import check_corpus
from hares.metrics import chance_accuracy
from hares.reading import scan
from hares.task import Clip, CorpusIndexError, Reason, Rejected, load_task, load_task_module
from hares.tasks._speech_commands import WORDS_V1, WORDS_V2
from hares.tasks.speech_commands_v1 import CLASSES, KEYWORDS

ARCHIVE = "speech_commands_test_set_v0.02"


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def noise(root: Path, **recordings: float) -> None:
    for name, length in recordings.items():
        path = root / f"_background_noise_/{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.zeros(round(length * 16_000), np.int16), 16_000)


def words(root: Path, names: tuple[str, ...], train: int = 1, test: int = 1) -> Path:
    """Every word said by `train` speakers, by one of validation and by `test` that testing_list.txt names."""
    lists: dict[str, list[str]] = {"": [], "validation": [], "testing": []}
    for split, speakers in (("", train), ("validation", 1), ("testing", test)):
        for word in names:
            for number in range(speakers):
                path = f"{word}/{split[:1] or 'a'}{number}_nohash_0.wav"
                touch(root / path)
                lists[split].append(path)
    for split in ("validation", "testing"):
        (root / f"{split}_list.txt").write_text("".join(f"{path}\n" for path in lists[split]))
    return root


def archive(root: Path, keywords: int, unknown: int, silence: int) -> None:
    for word in KEYWORDS:
        for number in range(keywords):
            touch(root / ARCHIVE / word / f"t{number}_nohash_0.wav")
    for number in range(unknown):
        touch(root / ARCHIVE / "_unknown_" / f"marvin_t{number}_nohash_0.wav.wav")
    for number in range(silence):
        touch(root / ARCHIVE / "_silence_" / f"{number}.wav")


def clips(root: Path, name: str = "speech_commands_v1") -> list[Clip]:
    return [item for item in scan(name, root) if isinstance(item, Clip)]


def rejected(root: Path, name: str = "speech_commands_v1") -> list[Rejected]:
    return [item for item in scan(name, root) if isinstance(item, Rejected)]


def of_test(root: Path) -> Counter[str]:
    return Counter(CLASSES[clip.labels[0]] for clip in clips(root) if clip.split == "test")


def test_the_test_set_is_its_own_archive(tmp_path: Path) -> None:
    words(tmp_path, WORDS_V2, train=3, test=10)
    noise(tmp_path, running_tap=61, white_noise=60)
    archive(tmp_path, keywords=10, unknown=10, silence=10)
    found = of_test(tmp_path)
    assert found == {**dict.fromkeys(KEYWORDS, 10), "unknown": 10, "silence": 10}
    train = [clip.labels for clip in clips(tmp_path) if clip.split == "train"]
    test = [clip.labels for clip in clips(tmp_path) if clip.split == "test"]
    assert (
        CLASSES[max(set(train), key=train.count)[0]] == "silence"
    )  # 118 cuts of noise beside 75 unknown words
    assert chance_accuracy(train, test) == pytest.approx(1 / 12)
    spoken = [clip.labels for clip in clips(tmp_path) if clip.split == "train" and not clip.duration]
    assert chance_accuracy(spoken, test) == pytest.approx(10 / 120)  # always "unknown"
    index = load_task_module("speech_commands_v1").index(tmp_path)
    assert index.split_is_official and index.deviations == (
        f"{ARCHIVE} has 120 clips, and its archive 4,890",
    )
    assert Counter(item.reason for item in rejected(tmp_path)) == {Reason.LEFT_OUT: 10 * len(WORDS_V2)}


def test_the_archives_speakers_are_those_of_the_words(tmp_path: Path) -> None:
    words(tmp_path, WORDS_V2)
    archive(tmp_path, keywords=1, unknown=2, silence=1)
    groups = {clip.path: clip.group for clip in clips(tmp_path)}
    assert groups[f"{ARCHIVE}/_unknown_/marvin_t1_nohash_0.wav.wav"] == "t1"
    assert groups[f"{ARCHIVE}/yes/t0_nohash_0.wav"] == "t0"
    assert groups[f"{ARCHIVE}/_silence_/0.wav"] == ""


def test_silence_beside_the_archive_is_that_of_tensorflow_datasets(tmp_path: Path) -> None:
    """Its builder: `for start in range(0, len(audio_samples) - SAMPLE_RATE, SAMPLE_RATE // 2)`."""
    words(tmp_path, WORDS_V2)
    archive(tmp_path, keywords=1, unknown=1, silence=1)
    noise(tmp_path, running_tap=3.2, white_noise=2.0)
    cuts = [clip for clip in clips(tmp_path) if clip.duration]
    for name, split, length in (("running_tap", "validation", 3.2), ("white_noise", "train", 2.0)):
        expected = [start / 16_000 for start in range(0, round(length * 16_000) - 16_000, 8_000)]
        own = [clip for clip in cuts if name in clip.path]
        assert [clip.start for clip in own] == expected and {clip.split for clip in own} == {split}


def test_an_archive_that_lacks_a_class_is_refused(tmp_path: Path) -> None:
    words(tmp_path, WORDS_V2)
    archive(tmp_path, keywords=1, unknown=1, silence=0)
    with pytest.raises(
        CorpusIndexError, match=f"{ARCHIVE} has no clips in _silence_. Unpack {ARCHIVE}.tar.gz"
    ):
        list(load_task_module("speech_commands_v1").read(tmp_path))


def test_without_the_archive_the_proportion_is_input_datas(tmp_path: Path) -> None:
    """ceil(a tenth of the keywords) unknown words and as much silence, from 250 unknown words that are listed."""
    words(tmp_path, WORDS_V2, test=10)
    noise(tmp_path, running_tap=61, white_noise=60, pink_noise=20)
    found = of_test(tmp_path)
    assert found == {**dict.fromkeys(KEYWORDS, 10), "unknown": 10, "silence": 10}
    assert found["unknown"] / found.total() == pytest.approx(1 / 12)
    index = load_task_module("speech_commands_v1").index(tmp_path)
    assert not index.split_is_official
    assert f"unpack {ARCHIVE}.tar.gz to {ARCHIVE}/" in index.deviations[0]
    assert Counter(item.reason for item in rejected(tmp_path)) == {Reason.LEFT_OUT: 240}
    unknown = {clip.path for clip in clips(tmp_path) if clip.split == "test" and clip.labels == (10,)}
    assert len({path.partition("/")[0] for path in unknown}) > 4  # of many words
    (tmp_path / "bed/a9_nohash_0.wav").touch()  # another training clip moves none of them
    assert {clip.path for clip in clips(tmp_path) if clip.split == "test" and clip.labels == (10,)} == unknown


def test_silence_of_our_test_set_is_cut_in_blocks_of_time(tmp_path: Path) -> None:
    words(tmp_path, WORDS_V1, test=20)  # 20 cuts are wanted of 6 + 1 seconds of noise
    noise(tmp_path, long=60.5, short=1)
    (tmp_path / "_background_noise_/text.wav").write_text("no sound")
    silence = [clip for clip in clips(tmp_path) if clip.duration]
    assert {CLASSES[clip.labels[0]] for clip in silence} == {"silence"}
    long = [clip for clip in silence if clip.path.endswith("long.wav")]
    assert Counter(clip.split for clip in long) == {"train": 48, "validation": 6, "test": 17}
    assert [clip.start for clip in long if clip.split != "test"] == list(range(54))
    of_test = [clip.start for clip in long if clip.split == "test"]
    assert (of_test[0], of_test[-1]) == (54, 59) and np.diff(of_test) == pytest.approx(5 / 16, abs=0.001)
    assert long[7].clip_id == "_background_noise_/long.wav#7-8"
    assert [clip.split for clip in silence if clip.path.endswith("short.wav")] == ["test"]  # once, not thrice
    assert Reason.UNDECODABLE in {item.reason for item in rejected(tmp_path)}


def test_the_lists_split_the_words(tmp_path: Path) -> None:
    words(tmp_path, ("yes", "marvin", "quark"))
    with open(tmp_path / "testing_list.txt", "a") as file:
        file.write("yes/gone_nohash_0.wav\n")
    found = {clip.path: clip for clip in clips(tmp_path)}
    assert found["yes/a0_nohash_0.wav"].split == "train"
    assert found["yes/t0_nohash_0.wav"].split == "test"
    assert found["yes/v0_nohash_0.wav"].split == "validation"
    assert found["yes/t0_nohash_0.wav"].group == "t0"
    assert CLASSES[found["marvin/a0_nohash_0.wav"].labels[0]] == "unknown"
    reasons = Counter(item.reason for item in rejected(tmp_path))
    assert reasons == {Reason.UNKNOWN_LABEL: 3, Reason.ABSENT: 1}


def test_versions_are_told_apart(tmp_path: Path) -> None:
    v1, v2 = words(tmp_path / "v1", WORDS_V1), words(tmp_path / "v2", WORDS_V2)
    first, second = load_task_module("speech_commands_v1"), load_task_module("speech_commands_v2")
    assert "the words are v0.01's" in first.index(v1).deviations[0]
    assert not any("v0.01's" in said for said in first.index(v2).deviations)
    assert not second.index(v2).deviations
    assert "is it v0.01?" in second.index(v1).deviations[0]
    archive(v1, 1, 1, 1)
    assert f"the words are v0.01's and the test set is {ARCHIVE}" in first.index(v1).deviations


def test_the_archive_is_no_word_of_the_second_task(tmp_path: Path) -> None:
    root = words(tmp_path, WORDS_V2)
    archive(root, keywords=2, unknown=1, silence=1)
    found = clips(root, "speech_commands_v2")
    assert Counter(clip.split for clip in found) == {"train": 35, "validation": 35, "test": 35}
    assert Counter(item.reason for item in rejected(root, "speech_commands_v2")) == {Reason.LEFT_OUT: 22}
    assert load_task("speech_commands_v2").num_classes == 35


def test_corpus_check_says_which_test_set_it_is(tmp_path: Path) -> None:
    words(tmp_path / "speech_commands_v1", WORDS_V2)
    (check,) = check_corpus(tmp_path, tasks=["speech_commands_v1"], decode_audio=False)
    assert not check.split_is_official and any(ARCHIVE in said for said in check.deviations)
