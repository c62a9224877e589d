"""AudioSet: tagging with 527 labels, scored by an MLP probe with one hidden layer of 512 (paper appendix A).

The probe trains on 3 s crops with example mixing, batch 128, 200k steps; a test clip's score is the mean over
ten equally spaced, overlapping 3 s subclips. The metric is mAP.

The index files are the official segment lists. Sound is looked for as `audio/<list>/<YouTube id>.<suffix>`,
with or without the `Y` that some download tools put before the id, each file being the segment already cut
out. `data/audioset_labels.csv` is AudioSet's class_labels_indices.csv (Google LLC, CC-BY-4.0), unchanged.
Labels of the ontology that are not among its 527 are not classes of the task and are left out of a clip's
labels.

Deviation: videos go from YouTube. The paper had 1.9 million clips; whatever is missing is reported as absent.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from hares._files import clip_id_of
from hares.task import Clip, Rejected, Slot, Split, Task, TaskIndex
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
    train_crop=3.0,
    evaluation="equally_spaced",
    evaluation_crop=3.0,
    clip_seconds=None,
    batch_size=128,
    steps=200_000,
    paper_samples=1_900_000,
    paper_classes=527,
    official_split=True,
    layout=(
        "balanced_train_segments.csv",
        "unbalanced_train_segments.csv (where there)",
        "eval_segments.csv",
        "audio/{balanced_train,unbalanced_train,eval}/{id}.{flac,wav,m4a,mp3,ogg,opus,webm}",
    ),
    licence="labels CC-BY-4.0; recordings belong to their authors",
    url="https://research.google.com/audioset/",
    citation="J Gemmeke et al., Audio Set: An ontology and human-labeled dataset for audio events, 2017",
    deviations=("videos removed from YouTube since the paper are missing from any later copy",),
)

_SUFFIXES = (".flac", ".wav", ".m4a", ".mp3", ".ogg", ".opus", ".webm")
_SPLITS: dict[str, Split] = {"balanced_train": "train", "unbalanced_train": "train", "eval": "test"}


def index(root: Path) -> TaskIndex:
    """The 527 labels and the official lists. Raises CorpusIndexError if a list is absent or not text."""
    deviations = () if "unbalanced_train" in _lists(root) else ("only the balanced part of the training set",)
    for table in _lists(root).values():
        _rows.check(root, table)
    return TaskIndex(TASK.slots, split_is_official=True, deviations=deviations)


def read(root: Path) -> Iterator[Clip | Rejected]:
    """The clips, list by list. Raises CorpusIndexError if a needed list is absent or no text."""
    for name, table in _lists(root).items():
        for row in _rows.rows(root, table):
            yield row if isinstance(row, Rejected) else _clip(root, name, table, row)


def _lists(root: Path) -> dict[str, _rows.Table]:
    columns = ("YTID", "start_seconds", "end_seconds", "positive_labels")
    remedy = "Get the segment lists from research.google.com/audioset/download.html."
    names = [n for n in _SPLITS if n != "unbalanced_train" or (root / f"{n}_segments.csv").exists()]
    return {n: _rows.Table("audioset", f"{n}_segments.csv", columns, remedy, header=False) for n in names}


def _clip(root: Path, name: str, table: _rows.Table, row: _rows.Row) -> Clip | Rejected:
    video = row.fields["YTID"]
    if not video or "/" in video:
        return _rows.bad_row(table, row.line, f"{video!r} is not a YouTube id")
    mids = [mid.strip() for mid in row.fields["positive_labels"].split(",")]
    labels = tuple(sorted({_LABEL_IDS[mid] for mid in mids if mid in _LABEL_IDS}))
    path = _find(root, f"audio/{name}", video)
    return Clip(clip_id_of(path), path, labels, _SPLITS[name], clip_id_of(video))


def _find(root: Path, folder: str, video: str) -> str:
    """The clip's file in any of its forms; where there is none, the first form, which is then absent."""
    forms = [f"{folder}/{before}{video}{suffix}" for before in ("", "Y") for suffix in _SUFFIXES]
    return next((form for form in forms if (root / form).exists()), forms[0])
