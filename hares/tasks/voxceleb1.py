"""VoxCeleb1: which of 1,251 people speaks? Linear probe, accuracy (paper appendix A).

The identification split of the data set's authors (`iden_split.txt`: 1 training, 2 validation, 3 test); every
speaker is in all three. The probe trains on 3 s crops; a test clip's score is the mean over consecutive 3 s
subclips. The paper's 147k clips are those of train and test. Clips are grouped by the video they are cut
from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hares.buckets import Place
from hares.files import clip_id_of, folders_in
from hares.reading import is_audio
from hares.task import Clip, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows
from hares.tasks._places import Places, parts_of

_FIRST, _LAST = 10_001, 11_251

TASK = Task(
    name="voxceleb1",
    domain="speech",
    title="VoxCeleb, speaker identification",
    dataset="voxceleb1",
    slots=(Slot("speaker", tuple(f"id{number}" for number in range(_FIRST, _LAST + 1))),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=3.0,
    evaluation="consecutive",
    evaluation_crop=3.0,
    clip_seconds=None,
    batch_size=64,
    steps=400_000,
    paper_samples=147_000,
    paper_classes=1_251,
    split_is_official=True,
    layout=(
        "iden_split.txt",
        "wav/{speaker}/{video}/{n}.wav (or dev/wav and test/wav, as the archives unpack)",
    ),
    licence="CC-BY-4.0 (annotations); recordings belong to their authors",
    url="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html",
    citation="A Nagrani, J Chung, A Zisserman, VoxCeleb: a large-scale speaker identification dataset, 2017",
    disjoint_groups=False,
    shared_by_design="every speaker is in training and test: they are the classes; the groups are videos",
)

_LIST = _rows.Table(
    TASK.name,
    "iden_split.txt",
    ("part", "path"),
    "Get it from www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/iden_split.txt and put it beside wav/.",
    delimiter=" ",
    header=False,
)
_SPLITS: dict[str, Split] = {"1": "train", "2": "validation", "3": "test"}
_SPEAKER = re.compile("id1[0-9]{4}")


def index(root: Place) -> TaskIndex:
    """All 1,251 speakers. Raises CorpusIndexError if iden_split.txt is absent or not text."""
    _rows.check(root, _LIST)
    return TaskIndex(TASK.slots, split_is_official=True)


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips in the order of iden_split.txt. Raises CorpusIndexError if it is absent or not text."""
    places, folders = Places(root), _folders_of_speakers(root)
    for row in _rows.rows(root, _LIST):
        yield row if isinstance(row, Rejected) else _clip(places, folders, row)


def _folders_of_speakers(root: Place) -> tuple[str, ...]:
    """`wav` and every other folder, down to the third level, that holds folders of speakers."""
    found = ["wav"]

    def look(below: str, depth: int) -> None:
        names = folders_in(root, below, follow_symlinks=False)
        if any(_SPEAKER.fullmatch(name) for name in names):
            found.append(below)
        elif depth:
            for name in names:
                look(f"{below}/{name}" if below else name, depth - 1)

    look("", 3)
    return tuple(dict.fromkeys(found))


def _clip(places: Places, folders: tuple[str, ...], row: _rows.Row) -> Clip | Rejected:
    part, name = row.fields["part"], row.fields["path"]
    parts = parts_of(name)[-3:]
    if part not in _SPLITS or len(parts) != 3 or not is_audio(parts[-1]):
        return _rows.bad_row(_LIST, row, f"'{part} {name}' is not 1, 2 or 3 and speaker/video/n.wav")
    path, speaker = places.find(name, folders, depth=3), parts[0]
    if not _SPEAKER.fullmatch(speaker) or not _FIRST <= int(speaker[2:]) <= _LAST:
        return _rows.unknown_label(path, speaker, f"id{_FIRST} to id{_LAST}", _SPLITS[part])
    group = clip_id_of("/".join(parts[:2]))
    return Clip(clip_id_of(path), path, (int(speaker[2:]) - _FIRST,), _SPLITS[part], group)
