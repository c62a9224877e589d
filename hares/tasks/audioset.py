"""AudioSet: tagging with 527 labels, scored by an MLP probe with one hidden layer of 512 (paper appendix A).

The probe trains on 3 s crops with example mixing, batch 128, 200k steps; a test clip's score is the mean over
ten equally spaced, overlapping 3 s subclips. The metric is mAP.

The index files are the official segment lists. Sound is looked for in all folders, in files named by the YouTube
id as the common download tools name them: with or without a `Y` before the id, with or without the segment's
times after it (`_30`, `_30_40`, `_30.000_40.000`, `_30000_40000`). A file is the segment already cut out, or the
whole video, of which the segment is cut (`hares.reading.part_to_read`). `data/audioset_labels.csv` is AudioSet's
class_labels_indices.csv (Google LLC, CC-BY-4.0), unchanged.
Labels of the ontology that are not among its 527 are not classes of the task and are left out of a clip's
labels.

Deviation: videos go from YouTube. The paper had 1.9 million clips; whatever is missing is reported as absent.
"""

from __future__ import annotations

import csv
import os
import re
from array import array
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from hares.buckets import Place
from hares.files import clip_id_of, name_hash
from hares.reading import audio_files
from hares.task import Clip, CorpusIndexError, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows

DATA_FILES = ("hares/tasks/data/audioset_labels.csv",)


def official_labels() -> str:
    """The text of AudioSet's own list of its classes."""
    return Path(__file__).with_name("data").joinpath(Path(DATA_FILES[0]).name).read_text(encoding="utf-8")


def _label_table() -> dict[str, str]:
    """Machine id to display name, in the order of the class ids."""
    return {row["mid"]: row["display_name"] for row in csv.DictReader(official_labels().splitlines())}


_NAMES = _label_table()
_LABEL_IDS = {mid: label for label, mid in enumerate(_NAMES)}

TASK = Task(
    name="audioset",
    domain="environment",
    title="AudioSet, audio tagging",
    dataset="audioset",
    slots=(Slot("tags", tuple(_NAMES.values())),),
    label_kind="multi",
    metric="mAP",
    probe="mlp",
    mixed=True,
    train_crop=3.0,
    evaluation="equally_spaced",
    evaluation_crop=3.0,
    clip_seconds=None,
    batch_size=128,
    steps=200_000,
    paper_samples=1_900_000,
    paper_classes=527,
    split_is_official=True,
    layout=(
        "balanced_train_segments.csv",
        "unbalanced_train_segments.csv (where there)",
        "eval_segments.csv",
        "audio/{balanced_train,unbalanced_train,eval}/{id}.{flac,wav,m4a,...}",
    ),
    licence="labels CC-BY-4.0; recordings belong to their authors",
    url="https://research.google.com/audioset/",
    citation="J Gemmeke et al., Audio Set: An ontology and human-labeled dataset for audio events, 2017",
    deviations=("videos removed from YouTube since the paper are missing from any later copy",),
)

_DAY = 86_400.0
_PROMISE = re.compile(r"#.*\bnum_segs=([0-9]{1,9})\b")
_SPLITS: dict[str, Split] = {"balanced_train": "train", "unbalanced_train": "train", "eval": "test"}


def index(root: Place) -> TaskIndex:
    """The 527 labels and the official lists. Raises CorpusIndexError if a list is absent or not text."""
    deviations = () if "unbalanced_train" in _lists(root) else ("only the balanced part of the training set",)
    for table in _lists(root).values():
        _rows.check(root, table)
    return TaskIndex(TASK.slots, split_is_official=True, deviations=deviations)


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips, list by list.

    Raises:
        CorpusIndexError: a needed list is absent or no text, or has fewer segments than its own comments say.
    """
    sounds = _Sounds(root)
    for name, table in _lists(root).items():
        count = 0
        for count, row in enumerate(_rows.rows(root, table), 1):  # noqa: B007
            yield row if isinstance(row, Rejected) else _clip(sounds, name, table, row)
        if count < (promised := _promised(root, table)):
            raise CorpusIndexError(
                f"audioset: {table.path} has {count} segments and says num_segs={promised}: it is cut off. "
                f"{table.remedy} Of a part that was chosen on purpose, remove the line with num_segs."
            )


def _promised(root: Place, table: _rows.Table) -> int:
    """The number of segments that a list's comments give; 0 where they give none."""
    with (root / table.path).open(encoding="utf-8-sig", errors="surrogateescape") as file:
        for line in islice(file, 3):
            if found := _PROMISE.match(line):
                return int(found[1])
    return 0


def _lists(root: Place) -> dict[str, _rows.Table]:
    columns = ("YTID", "start_seconds", "end_seconds", "positive_labels")
    remedy = "Get the segment lists from research.google.com/audioset/download.html."
    names = [n for n in _SPLITS if n != "unbalanced_train" or (root / f"{n}_segments.csv").exists()]
    return {n: _rows.Table("audioset", f"{n}_segments.csv", columns, remedy, header=False) for n in names}


def _clip(sounds: _Sounds, name: str, table: _rows.Table, row: _rows.Row) -> Clip | Rejected:
    video = row.fields["YTID"].strip()
    if not video or "/" in video:
        return _rows.bad_row(table, row, f"{video!r} is not a YouTube id")
    start, end = _second(row.fields["start_seconds"]), _second(row.fields["end_seconds"])
    if start is None or end is None or end <= start:
        return _rows.bad_row(table, row, "start_seconds and end_seconds are not two times in order")
    mids = [mid.strip() for mid in row.fields["positive_labels"].split(",")]
    labels = tuple(sorted({_LABEL_IDS[mid] for mid in mids if mid in _LABEL_IDS}))
    path = sounds.find(name, video, start, end) or f"audio/{name}/{video}.flac"
    return Clip(
        *(clip_id_of(path), path, labels, _SPLITS[name], clip_id_of(video)), length=end - start, offset=start
    )


def _second(text: str) -> float | None:
    """A time in seconds, None where it is none."""
    try:
        time = float(text)
    except ValueError:
        return None
    return time if 0 <= time < _DAY else None


class _Sounds:
    """The audio files of the data set by their names, in 12 bytes each: there may be two million."""

    def __init__(self, root: Place) -> None:
        self._places: list[tuple[str, str]] = []  # folders and suffixes that occur together
        numbers: dict[tuple[str, str], int] = {}
        hashes, places = array("Q"), array("L")
        for path in audio_files(root):
            folder, _, name = path.rpartition("/")
            stem, suffix = os.path.splitext(name)
            if (folder, suffix) not in numbers:
                numbers[folder, suffix] = len(self._places)
                self._places.append((folder, suffix))
            hashes.append(name_hash(stem))
            places.append(numbers[folder, suffix])
        found = np.frombuffer(hashes, np.uint64) if hashes else np.zeros(0, np.uint64)
        order = np.argsort(found, kind="stable")
        self._hashes = found[order]
        self._place_of = np.array(places, np.uint32)[order]

    def find(self, part: str, video: str, start: float, end: float) -> str | None:
        """The path of a segment's file; of several, one in a folder of its own list, and the plainest name."""
        for stem in _stems(video, start, end):
            key = np.uint64(name_hash(stem))
            first, last = np.searchsorted(self._hashes, key), np.searchsorted(self._hashes, key, "right")
            beside = [self._places[place] for place in self._place_of[first:last]]
            if beside:
                folder, suffix = min(beside, key=lambda place: (not _is_of(part, place[0]), place))
                return f"{folder}/{stem}{suffix}" if folder else f"{stem}{suffix}"
        return None


def _is_of(part: str, folder: str) -> bool:
    """Whether a folder is of one of the three lists by its name: `audio/bal_train` is of `balanced_train`."""
    names = folder.lower().split("/")
    short = part.replace("balanced", "bal")
    return any(name.startswith((part, short)) for name in names)


def _stems(video: str, start: float, end: float) -> Iterator[str]:
    """What a segment's file may be called without its suffix, the plainest first."""
    times = (
        "",
        f"_{start:.0f}_{end:.0f}",
        f"_{start:.3f}_{end:.3f}",
        f"_{1000 * start:.0f}_{1000 * end:.0f}",
        f"_{start:.1f}_{end:.1f}",
        f"_{start:.0f}",
        f"_{start:.3f}",
        f"_{1000 * start:.0f}",
        f"_{start:06.0f}",
    )
    for time in dict.fromkeys(times):
        yield f"{video}{time}"
        yield f"Y{video}{time}"
