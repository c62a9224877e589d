"""TUT Urban Acoustic Scenes 2018: which of ten scenes is this? Linear probe, accuracy (paper appendix A).

The development data set of DCASE 2018 task 1A, 8,640 segments of 10 s. The probe trains on 5 s crops; a test
clip's score is the mean over consecutive 5 s subclips.

The paper's split was "created and provided by the authors of [7]" and differs from the challenge's. The authors'
released repository (github.com/deepmind/slowfast_nfnets) links it, a shared folder whose format we have not seen: as
rows `path,split` in `authors_split.csv` (docs/data.md) it is used and counts as the paper's.

Deviation, without that file: used are, in this order, `hares_split.csv` (the same columns), DCASE's own
evaluation_setup/fold1 lists, or every fifth place by the hash of its name. All three are marked as not the paper's.
Recordings of one place (`identifier`) stay together in the latter two.
"""

from __future__ import annotations

from collections.abc import Iterator

from hares.buckets import Place
from hares.files import clip_id_of
from hares.task import Clip, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows, _split
from hares.tasks._places import Places, parts_of

CLASSES = (
    "airport",
    "bus",
    "metro",
    "metro_station",
    "park",
    "public_square",
    "shopping_mall",
    "street_pedestrian",
    "street_traffic",
    "tram",
)

TASK = Task(
    name="tut18",
    domain="environment",
    title="TUT18, acoustic scenes",
    dataset="tut18",
    slots=(Slot("scene", CLASSES),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=5.0,
    evaluation="consecutive",
    evaluation_crop=5.0,
    clip_seconds=None,
    batch_size=64,
    steps=400_000,
    paper_samples=8_600,
    paper_classes=10,
    split_is_official=False,
    layout=(
        "meta.csv (tab-separated)",
        "evaluation_setup/fold1_train.txt, fold1_evaluate.txt (optional)",
        "audio/{scene}-{city}-{place}-{segment}-a.wav",
        "authors_split.csv or hares_split.csv (optional): path,split",
    ),
    licence="TUT academic licence, non-commercial",
    url="https://dcase.community/challenge2018/task-acoustic-scene-classification",
    citation="T Heittola, A Mesaros, T Virtanen, TUT urban acoustic scenes 2018",
)

_SECONDS = 10.0  # every segment is as long
_REMEDY = "Is this TUT-urban-acoustic-scenes-2018-development as its archives unpack?"
_META = _rows.Table(TASK.name, "meta.csv", ("filename", "scene_label", "identifier"), _REMEDY, "\t")
_FOLD1: dict[str, Split] = {
    "evaluation_setup/fold1_train.txt": "train",
    "evaluation_setup/fold1_evaluate.txt": "test",
}


def index(root: Place) -> TaskIndex:
    """The ten scenes and which split is in force. Raises CorpusIndexError if an index file is unusable."""
    _rows.check(root, _META)
    if _has_fold1(root):
        rule = "DCASE's fold 1: evaluation_setup/fold1_train.txt and fold1_evaluate.txt"
    else:
        rule = "every fifth place by the hash of its name is a test place"
    return _split.made_here(TASK, root, rule)


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips in the order of meta.csv. Raises CorpusIndexError if an index file is unusable."""
    given = _split.user_split(TASK.name, root)
    if given is None and _has_fold1(root):
        given = _fold1(root)
    splits: dict[str, Split] = {}
    if given is None:
        places = {(clip.group, clip.labels[0]) for clip in _listed(root) if isinstance(clip, Clip)}
        splits = {place: _split.by_hash(place) for place, _ in places}
        _split.cover_classes(splits, places)
    for clip in _listed(root):
        if isinstance(clip, Rejected):
            yield clip
        else:
            yield _split.assign(clip, splits.get(clip.group) if given is None else given.of(clip.path))
    if given is not None:
        yield from given.unused()


def _has_fold1(root: Place) -> bool:
    """Whether both lists of DCASE's fold 1 are there. Raises CorpusIndexError if one of them is."""
    return _rows.all_or_none(root, TASK.name, tuple(_FOLD1), _REMEDY)


def _fold1(root: Place) -> _split.GivenSplit:
    """DCASE's fold 1. The lists hold path, tab, scene."""
    given = _split.GivenSplit()
    for name, split in _FOLD1.items():
        table = _rows.Table(TASK.name, name, ("filename", "scene_label"), _REMEDY, "\t", header=False)
        _rows.check(root, table)
        for line in _rows.lines(root, table):
            path, tab, scene = line.text.partition("\t")
            if tab and scene.strip() not in CLASSES:
                raise _rows.refused(table, line, f"{scene!r} is not one of the ten scenes")
            given.add(table, line, path, split)
    return given


def _listed(root: Place) -> Iterator[Clip | Rejected]:
    """The rows as clips whose split is still to be set."""
    places = Places(root)
    for row in _rows.rows(root, _META):
        if isinstance(row, Rejected):
            yield row
            continue
        path, scene = places.find(row.fields["filename"], depth=2), row.fields["scene_label"].strip()
        if not parts_of(row.fields["filename"]):
            yield _rows.bad_row(_META, row, "the filename is empty")
        elif scene not in CLASSES:
            yield _rows.unknown_label(path, scene, "the ten scenes")
        else:
            group = clip_id_of(row.fields["identifier"])
            label = CLASSES.index(scene)
            yield Clip(clip_id_of(path), path, (label,), "train", group, length=_SECONDS)
