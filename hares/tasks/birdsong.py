"""Birdsong: is a bird heard in a 10 s recording? Linear probe, accuracy (paper appendix A).

The three development data sets of DCASE 2018 task 3 (freefield1010, warblrb10k, BirdVox-DCASE-20k), about
36,000 clips. The probe trains on 1 s crops; a test clip's score is the mean over consecutive 1 s subclips.

The paper's split was "created and provided by the authors of [7]". The authors' released repository
(github.com/deepmind/slowfast_nfnets) links it, a shared folder whose format we have not seen: as rows `path,split` in
`authors_split.csv` (docs/data.md) it is used and counts as the paper's.

Deviation, without that file: `hares_split.csv` (the same columns) is used where there is one, else every fifth
recording, by the hash of its name, is a test clip. Either way the split is marked as not the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hares.buckets import Place
from hares.files import clip_id_of
from hares.task import Clip, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows, _split
from hares.tasks._places import Places

TASK = Task(
    name="birdsong",
    domain="environment",
    title="Birdsong, animal sound",
    dataset="birdsong",
    slots=(Slot("bird", ("no bird", "bird")),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=1.0,
    evaluation="consecutive",
    evaluation_crop=1.0,
    clip_seconds=None,
    batch_size=64,
    steps=400_000,
    paper_samples=36_000,
    paper_classes=2,
    split_is_official=False,
    layout=(
        "ff1010bird_metadata_2018.csv, ff1010bird/wav/{itemid}.wav (or ff1010bird_wav/wav)",
        "warblrb10k_public_metadata_2018.csv, warblrb10k/wav/{itemid}.wav (or warblrb10k_public_wav/wav)",
        "BirdVoxDCASE20k_csvpublic.csv, BirdVox-DCASE-20k/wav/{itemid}.wav",
        "authors_split.csv or hares_split.csv (optional): path,split",
    ),
    licence="CC-BY-4.0",
    url="https://dcase.community/challenge2018/task-bird-audio-detection",
    citation="D Stowell et al., Automatic acoustic detection of birds through deep learning, MEE 2019",
)

_CSVS = {
    "ff1010bird": "ff1010bird_metadata_2018.csv",
    "warblrb10k": "warblrb10k_public_metadata_2018.csv",
    "BirdVox-DCASE-20k": "BirdVoxDCASE20k_csvpublic.csv",
}
# As we name it, as the archives of the challenge unpack, and with one level less of either.
_FOLDERS = ("{}/wav", "{}_wav/wav", "{}_public_wav/wav", "{}_public/wav", "{}", "{}_wav", "{}_public_wav")
_REMEDY = "The task needs the three development data sets of DCASE 2018 task 3, each with its csv."
_TABLES = {
    folder: _rows.Table("birdsong", name, ("itemid", "datasetid", "hasbird"), _REMEDY)
    for folder, name in _CSVS.items()
}


def index(root: Place) -> TaskIndex:
    """The two classes and which split is in force. Raises CorpusIndexError if a csv is unusable."""
    for table in _TABLES.values():
        _rows.check(root, table)
    return _split.made_here(TASK, root, "every fifth recording by the hash of its name is a test clip")


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips, data set by data set. Raises CorpusIndexError if a csv is unusable."""
    given = _split.user_split(TASK.name, root)
    splits: dict[str, Split] = {}
    if given is None:
        labels = {clip.group: clip.labels[0] for clip in _listed(root) if isinstance(clip, Clip)}
        splits = {group: _split.by_hash(group) for group in labels}
        _split.cover_classes(splits, labels.items())
    for clip in _listed(root):
        if isinstance(clip, Rejected):
            yield clip
        else:
            yield _split.assign(clip, splits.get(clip.group) if given is None else given.of(clip.path))
    if given is not None:
        yield from given.unused()


def _listed(root: Place) -> Iterator[Clip | Rejected]:
    """The rows as clips whose split is still to be set."""
    places = Places(root)
    for folder, table in _TABLES.items():
        for row in _rows.rows(root, table):
            yield row if isinstance(row, Rejected) else _clip(places, folder, table, row)


def _clip(places: Places, folder: str, table: _rows.Table, row: _rows.Row) -> Clip | Rejected:
    item, has_bird = row.fields["itemid"].strip().removesuffix(".wav"), row.fields["hasbird"].strip()
    if not item or "/" in item:
        return _rows.bad_row(table, row, f"{item!r} is not the name of a recording")
    if not has_bird:
        return _rows.bad_row(table, row, "hasbird is empty")
    path = places.find(f"{item}.wav", [form.format(folder) for form in _FOLDERS])
    if has_bird not in ("0", "1"):
        return _rows.unknown_label(path, has_bird, "0 (no bird) and 1 (bird)")
    return Clip(clip_id_of(path), path, (int(has_bird),), "train", clip_id_of(f"{folder}/{item}"))
