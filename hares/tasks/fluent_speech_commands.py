"""Fluent Speech Commands: what is asked for? Three slots predicted at once, accuracy (paper appendix A).

The probe is three linear softmaxes (action, object, location) trained together on 3 s crops; a clip counts as
right if all three are. A test clip's scores are means over consecutive 3 s subclips. The paper counts the 31
combinations of slot values that occur (intents) as classes.

Where the csv files name a value that the official data set lacks, it is added after the official ones, in
order of
its name, and the index says so: a label set is never cut to fit.
"""

from __future__ import annotations

from collections.abc import Iterator

from hares.buckets import Place
from hares.files import clip_id_of
from hares.task import Clip, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows
from hares.tasks._places import Places, parts_of

ACTIONS = ("activate", "bring", "change language", "deactivate", "decrease", "increase")
OBJECTS = (
    *("Chinese", "English", "German", "Korean", "heat", "juice", "lamp"),
    *("lights", "music", "newspaper", "none", "shoes", "socks", "volume"),
)
LOCATIONS = ("bedroom", "kitchen", "none", "washroom")

TASK = Task(
    name="fluent_speech_commands",
    domain="speech",
    title="Fluent Speech Commands, intention",
    dataset="fluent_speech_commands",
    slots=(Slot("action", ACTIONS), Slot("object", OBJECTS), Slot("location", LOCATIONS)),
    label_kind="slots",
    metric="accuracy",
    probe="slots",
    train_crop=3.0,
    evaluation="consecutive",
    evaluation_crop=3.0,
    clip_seconds=None,
    batch_size=64,
    steps=400_000,
    paper_samples=27_000,
    paper_classes=31,
    split_is_official=True,
    layout=("data/train_data.csv, valid_data.csv, test_data.csv", "wavs/speakers/{speaker}/{id}.wav"),
    licence="Fluent Speech Commands Public License (academic research)",
    url="https://fluent.ai/research/fluent-speech-commands/",
    citation="L Lugosch et al., Speech model pre-training for end-to-end spoken language understanding, 2019",
)

_OFFICIAL = {slot.name: frozenset(slot.classes) for slot in TASK.slots}
_PARTS: dict[Split, str] = {"train": "train", "validation": "valid", "test": "test"}
_TABLES = {
    split: _rows.Table(
        TASK.name,
        f"data/{name}_data.csv",
        ("path", "speakerId", "action", "object", "location"),
        "Is this the folder that the archive of Fluent Speech Commands unpacks to?",
    )
    for split, name in _PARTS.items()
}


def index(root: Place) -> TaskIndex:
    """The three slots, with values added that only this folder names.

    Raises:
        CorpusIndexError: a csv is absent, not text or lacks a column.
    """
    found: dict[str, set[str]] = {slot.name: set() for slot in TASK.slots}
    for table in _TABLES.values():
        for row in _rows.rows(root, table):
            if isinstance(row, _rows.Row):
                for name, values in found.items():
                    value = clip_id_of(row.fields[name])
                    if row.cut and value not in values and value not in _OFFICIAL[name]:
                        _rows.bad_row(table, row, f"no other row has the {name} {value!r}")
                    values.add(value)
    slots, deviations = [], []
    for slot in TASK.slots:
        added = sorted(found[slot.name] - set(slot.classes))
        slots.append(Slot(slot.name, (*slot.classes, *added)))
        if added:
            deviations.append(
                f"{slot.name}: the csv files name values the official data set lacks: {', '.join(added)}"
            )
    return TaskIndex(tuple(slots), split_is_official=True, deviations=tuple(deviations))


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips of the three csv files, train first. Raises CorpusIndexError as `index` does."""
    places = Places(root)
    ids = [{name: label for label, name in enumerate(slot.classes)} for slot in index(root).slots]
    for split, table in _TABLES.items():
        for row in _rows.rows(root, table):
            if isinstance(row, Rejected):
                yield row
                continue
            if not parts_of(row.fields["path"]):
                yield _rows.bad_row(table, row, "the path is empty")
                continue
            path = places.find(row.fields["path"], depth=4)
            values = (clip_id_of(row.fields[slot.name]) for slot in TASK.slots)
            labels = tuple(of[value] for of, value in zip(ids, values, strict=True))
            yield Clip(clip_id_of(path), path, labels, split, clip_id_of(row.fields["speakerId"]))
