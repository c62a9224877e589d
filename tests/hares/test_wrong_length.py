"""A file that is longer than the clip that its index lists: cut where it must be the whole recording, else named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from hares.corpus import check_corpus
from hares.decoding import AudioError, Limits, decode
from hares.ingest import Entry, ShardSummary, read_shard
from hares.reading import part_to_read, scan
from hares.task import Clip, Reason

RATE = 16_000


def ramp(path: Path, length: float) -> None:
    """A recording whose samples say where in it they are: one more each tenth of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    steps = np.arange(round(length * RATE)) // (RATE // 10)
    soundfile.write(path, (steps + 1).astype(np.int16), RATE)


def clip(length: float | None, offset: float | None) -> Clip:
    return Clip("a", "a.wav", (0,), "train", "a", length=length, offset=offset)


@pytest.mark.parametrize(
    ("found", "length", "offset", "part"),
    [
        (10.0, 10.0, 30.0, (0.0, None)),
        (10.9, 10.0, 30.0, (0.0, None)),
        (9.0, 10.0, 30.0, (0.0, None)),
        (180.0, 10.0, 30.0, (30.0, 10.0)),
        (180.0, 10.0, 0.0, (0.0, 10.0)),
        (20.0, 10.0, 0.0, (0.0, 10.0)),
        (40.0, 10.0, 30.0, (30.0, 10.0)),
        (39.5, 10.0, 30.0, (30.0, 10.0)),
        (20.0, 10.0, 30.0, None),  # neither the segment nor a recording that holds it
        (20.0, 10.0, 10.0, None),  # the video, or ten seconds too many
        (60.0, 5.0, None, None),
        (14.0, 5.0, None, (0.0, None)),
        (60.0, None, None, (0.0, None)),
    ],
)
def test_what_is_read(
    tmp_path: Path,
    found: float,
    length: float | None,
    offset: float | None,
    part: tuple[float, float | None] | None,
) -> None:
    ramp(tmp_path / "a.wav", found)
    if part is not None:
        assert part_to_read(clip(length, offset), tmp_path / "a.wav", Limits()) == part
        return
    with pytest.raises(AudioError) as caught:
        part_to_read(clip(length, offset), tmp_path / "a.wav", Limits())
    assert caught.value.reason is Reason.WRONG_LENGTH


def audioset(root: Path) -> None:
    rows = [("whole", 30, 180.0), ("cut", 30, 10.0), ("odd", 30, 20.0)]
    ramp(root / "audio/eval/test.wav", 10.0)
    (root / "eval_segments.csv").write_text('test, 0.000, 10.000, "/m/09x0r"\n')
    for video, _, length in rows:
        ramp(root / f"audio/balanced_train/{video}.wav", length)
    lines = "".join(f'{video}, {start}.000, {start + 10}.000, "/m/09x0r"\n' for video, start, _ in rows)
    (root / "balanced_train_segments.csv").write_text(lines)


@pytest.mark.parametrize("decode_audio", [True, False])
def test_a_corpus_check_counts_the_segment(tmp_path: Path, decode_audio: bool) -> None:
    audioset(tmp_path)
    (check,) = check_corpus(None, {"audioset": tmp_path}, ["audioset"], decode_audio)
    assert check.rejected == {"wrong_length": 1} and check.clips == 3
    assert check.hours == pytest.approx(30 / 3600, rel=1e-3)


def test_a_shard_holds_the_segment(tmp_path: Path) -> None:
    audioset(tmp_path)
    clips = [item for item in scan("audioset", tmp_path) if isinstance(item, Clip) and item.split == "train"]
    summary = ShardSummary("train", 0)
    entries = [Entry("audioset", found) for found in clips]
    made = {
        example.clip_id: example.waveform
        for example, *_ in read_shard(entries, {"audioset": str(tmp_path)}, summary)
    }
    assert {Path(name).stem: len(samples) for name, samples in made.items()} == {
        "cut": 10 * RATE,
        "whole": 10 * RATE,
    }
    whole = next(samples for name, samples in made.items() if "whole" in name)
    assert (whole[0], whole[-1]) == (301, 400), "not the stretch from 30 s to 40 s"
    assert [line["reason"] for line in summary.rejected] == ["wrong_length"]
    assert len(decode(tmp_path / "audio/balanced_train/whole.wav")) == 180 * RATE


@pytest.mark.parametrize(
    ("task", "name", "length", "reason"),
    [
        ("esc50", "audio/1-1-A-0.wav", 60.0, "wrong_length"),
        ("tut18", "audio/park-paris-1-1-a.wav", 300.0, "wrong_length"),
        ("magnatagatune", "0/x-0-29.mp3", 20.0, None),
    ],
)
def test_kinds_with_one_length(
    tmp_path: Path, task: str, name: str, length: float, reason: str | None
) -> None:
    ramp(tmp_path / name.replace(".mp3", ".wav"), length)
    from hares.tasks import magnatagatune

    if task == "esc50":
        (tmp_path / "meta").mkdir()
        (tmp_path / "meta/esc50.csv").write_text(
            "filename,fold,target,category,esc10,src_file,take\n1-1-A-0.wav,1,0,dog,True,1,A\n"
        )
    elif task == "tut18":
        (tmp_path / "meta.csv").write_text(f"filename\tscene_label\tidentifier\n{name}\tpark\tparis-1\n")
    else:
        tags = magnatagatune.TAGS
        row = "\t".join(["1", *("1" for _ in tags), name])
        (tmp_path / "annotations_final.csv").write_text(
            "\t".join(["clip_id", *tags, "mp3_path"]) + f"\n{row}\n"
        )
    (check,) = check_corpus(None, {task: tmp_path}, [task])
    assert check.rejected == ({reason: 1} if reason else {})
    assert (check.error is None) == (reason is None)


def test_a_track_of_magnatagatune_is_cut_as_its_name_says(tmp_path: Path) -> None:
    from hares.tasks import magnatagatune

    tags = magnatagatune.TAGS
    row = "\t".join(["1", *("1" for _ in tags), "0/x-59-88.mp3"])
    (tmp_path / "annotations_final.csv").write_text("\t".join(["clip_id", *tags, "mp3_path"]) + f"\n{row}\n")
    ramp(tmp_path / "0/x-59-88.wav", 240.0)
    (item,) = scan("magnatagatune", tmp_path)
    assert isinstance(item, Clip)
    assert part_to_read(item, tmp_path / item.path, Limits()) == (59.0, 29.0)
