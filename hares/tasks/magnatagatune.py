"""MagnaTagATune: music tagging with the 50 most frequent tags. Linear probe, mAP (paper appendix A).

The probe trains on 3 s crops, batch 128, 20k steps ("the downstream training converges quickly"); a test
clip's score is the mean over consecutive 3 s subclips. The paper uses the split of musicnn: folders 0 to b
for training, c for validation, d to f for test. musicnn's lists (train_gt_mtt.tsv, val_gt_mtt.tsv,
test_gt_mtt.tsv), which leave out three clips that cannot be played, are used where they are in the data set's
folder.

The tags are those of musicnn, in order of frequency over the whole data set; they are fixed, so that a part
of the data set has the same classes. A clip without any of them stays, with no label. Clips are grouped by
track.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hares.buckets import Place
from hares.files import clip_id_of
from hares.reading import is_audio
from hares.task import Clip, Reason, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows
from hares.tasks._places import Places, parts_of

TAGS = (
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano"),
    *("ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing"),
    *(
        "vocals",
        "no vocals",
        "harpsichord",
        "loud",
        "quiet",
        "flute",
        "woman",
        "male vocal",
        "no vocal",
        "pop",
    ),
    *("soft", "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice"),
    *("female vocal", "beats", "harp", "cello", "no voice", "weird", "country", "metal", "female voice"),
    "choral",
)

TASK = Task(
    name="magnatagatune",
    domain="music",
    title="MagnaTagATune, music tagging",
    dataset="magnatagatune",
    slots=(Slot("tags", TAGS),),
    label_kind="multi",
    metric="mAP",
    probe="linear",
    train_crop=3.0,
    evaluation="consecutive",
    evaluation_crop=3.0,
    clip_seconds=None,
    batch_size=128,
    steps=20_000,
    paper_samples=26_000,
    paper_classes=50,
    split_is_official=True,
    disjoint_groups=False,
    layout=(
        "annotations_final.csv (tab-separated)",
        "{0-9,a-f}/{track}-{start}-{end}.mp3",
        "train_gt_mtt.tsv, val_gt_mtt.tsv, test_gt_mtt.tsv (optional, musicnn's)",
    ),
    licence="CC-BY-NC-SA (Magnatune)",
    url="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
    citation="E Law et al., Evaluation of algorithms using games: The case of music tagging, ISMIR 2009",
)

_ANNOTATIONS = _rows.Table(
    TASK.name,
    "annotations_final.csv",
    ("clip_id", *TAGS, "mp3_path"),
    "Get annotations_final.csv from mirg.city.ac.uk and put it beside the folders 0 to f.",
    delimiter="\t",
)
_LISTS: dict[str, Split] = {
    "train_gt_mtt.tsv": "train",
    "val_gt_mtt.tsv": "validation",
    "test_gt_mtt.tsv": "test",
}
_SEGMENT = re.compile(r"-([0-9]{1,9})-([0-9]{1,9})\.[^.]*$")  # seconds of the track that the clip is
_NUMBER = re.compile("[0-9]{1,18}")


def index(root: Place) -> TaskIndex:
    """The 50 tags. Raises CorpusIndexError if annotations_final.csv or one of musicnn's lists is unusable."""
    _rows.check(root, _ANNOTATIONS)
    _listed_splits(root)
    return TaskIndex(TASK.slots, split_is_official=True)


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The clips in the order of annotations_final.csv. Raises CorpusIndexError as `index` does."""
    places, listed = Places(root), _listed_splits(root)
    for row in _rows.rows(root, _ANNOTATIONS):
        yield row if isinstance(row, Rejected) else _clip(places, row, listed)
    # What a clip of the annotations has taken is gone from the lists by now.
    for number, split in (listed or {}).items():
        detail = "musicnn's lists name the clip and annotations_final.csv does not"
        yield Rejected(f"clip {number}", Reason.ABSENT, detail, split)


def _listed_splits(root: Place) -> dict[int, Split] | None:
    """The split of musicnn's lists by clip number (26,000); None where they are not all there."""
    if not _rows.all_or_none(root, TASK.name, tuple(_LISTS), "The three lists of musicnn make one split."):
        return None
    found: dict[int, Split] = {}
    for name, split in _LISTS.items():
        table = _rows.Table(
            TASK.name, name, ("clip_id", "tags"), "Get it from musicnn-training.", "\t", header=False
        )
        _rows.check(root, table)
        for line in _rows.lines(root, table):
            number, _, tags = line.text.partition("\t")
            if not _NUMBER.fullmatch(number.strip()) or not tags.rstrip().endswith("]"):
                raise _rows.refused(
                    table, line, f"{line.text[:80]!r} is not a clip's number, a tab and its [tags]"
                )
            if found.setdefault(int(number), split) != split:
                raise _rows.refused(table, line, f"clip {number} is in {found[int(number)]} and in {split}")
    return found


def _clip(places: Places, row: _rows.Row, listed: dict[int, Split] | None) -> Clip | Rejected:
    number, name = row.fields["clip_id"], row.fields["mp3_path"]
    values = [row.fields[tag] for tag in TAGS]
    if not _NUMBER.fullmatch(number) or any(value not in ("0", "1") for value in values):
        return _rows.bad_row(_ANNOTATIONS, row, "clip_id is not a number, or a tag is neither 0 nor 1")
    parts = parts_of(name)[-2:]
    if len(parts) != 2 or not re.fullmatch("[0-9a-f]", parts[0]) or not is_audio(parts[1]):
        return _rows.bad_row(_ANNOTATIONS, row, f"mp3_path {name!r} is not a recording below a folder 0 to f")
    path = places.find(name, depth=2)
    split = _folder_split(parts[0]) if listed is None else listed.pop(int(number), None)
    if split is None:
        return Rejected(path, Reason.UNLISTED, f"musicnn's lists do not name clip {number}")
    labels = tuple(label for label, value in enumerate(values) if value == "1")
    group = clip_id_of(_SEGMENT.sub("", "/".join(parts)))
    found = _SEGMENT.search(parts[1])
    start, end = (float(second) for second in found.groups()) if found else (0.0, 0.0)
    length = end - start if end > start else None
    offset = None if length is None else start
    return Clip(clip_id_of(path), path, labels, split, group, length=length, offset=offset)


def _folder_split(folder: str) -> Split:
    if folder <= "b":
        return "train"
    return "validation" if folder == "c" else "test"
