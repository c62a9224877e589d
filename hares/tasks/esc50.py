"""ESC-50: 50 classes of environmental sounds, scored by an SVM over five official folds (paper appendix A).

2,000 clips of 5 s, 40 a class. The probe is scikit-learn's linear SVM; C is picked from {3e-5, 1e-4, 3e-4,
1e-3, 3e-3, 1e-2, 3e-2} on the first fold, and the score is the mean accuracy of the five folds. Training
takes ten epochs of augmented samples of whole 5 s clips. The folds are the archive's own: clips cut from one
Freesound recording (`src_file`) are in one fold.

Deviation: the paper does not say which augmentation the ten epochs are made with; the probe's settings do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from hares.buckets import Place
from hares.files import clip_id_of
from hares.task import FOLDS, Clip, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows
from hares.tasks._places import Places, parts_of

CLASSES = (
    *("dog", "rooster", "pig", "cow", "frog"),
    *("cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
    *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
)

TASK = Task(
    name="esc50",
    domain="environment",
    title="ESC-50, acoustic scenes",
    dataset="esc50",
    slots=(Slot("sound", CLASSES),),
    label_kind="single",
    metric="accuracy",
    probe="svm",
    train_crop=None,
    evaluation="whole",
    evaluation_crop=None,
    clip_seconds=5.0,
    batch_size=None,
    steps=None,
    paper_samples=2_000,
    paper_classes=50,
    split_is_official=True,
    layout=("meta/esc50.csv", "audio/{fold}-{src_file}-{take}-{target}.wav"),
    licence="CC-BY-NC-3.0",
    url="https://github.com/karolpiczak/ESC-50",
    citation="K Piczak, ESC: Dataset for environmental sound classification, ACM Multimedia 2015",
    folds=FOLDS,
    augmented=True,
    deviations=("the paper does not name the augmentation of the ten epochs of training samples",),
)

_META = _rows.Table(
    "esc50",
    "meta/esc50.csv",
    ("filename", "fold", "target", "category", "src_file"),
    "Is this the original ESC-50 archive?",
)


def index(root: Place) -> TaskIndex:
    """The archive's own classes and folds. Raises CorpusIndexError if meta/esc50.csv is unusable."""
    _rows.check(root, _META)
    return TaskIndex(TASK.slots, split_is_official=True)


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips in the order of meta/esc50.csv. Raises CorpusIndexError if it is unusable."""
    places = Places(root)
    for row in _rows.rows(root, _META):
        yield row if isinstance(row, Rejected) else _clip(places, row)


def _clip(places: Places, row: _rows.Row) -> Clip | Rejected:
    if not parts_of(row.fields["filename"]):
        return _rows.bad_row(_META, row, "the filename is empty")
    path = places.find(row.fields["filename"], ("audio",))
    split = _fold(row.fields["fold"])
    if split is None:
        return _rows.bad_row(_META, row, f"fold {row.fields['fold']!r} is not one of 1 to 5")
    category, target = row.fields["category"], row.fields["target"]
    if category not in CLASSES:
        return _rows.unknown_label(path, category, "the 50 classes of ESC-50", split)
    label = CLASSES.index(category)
    if target != str(label):
        return _rows.bad_row(_META, row, f"target {target!r} and category {category!r} disagree")
    group = clip_id_of(row.fields["src_file"])
    return Clip(clip_id_of(path), path, (label,), split, group, length=TASK.clip_seconds)


def _fold(number: str) -> Split | None:
    name = f"fold{number}"
    return next((split for split in get_args(Split) if split == name), None)
