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
from pathlib import Path

from hares._files import clip_id_of
from hares.task import Clip, Reason, Rejected, Slot, Split, Task, TaskIndex
from hares.tasks import _rows

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
    official_split=True,
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
_SEGMENT = re.compile(r"-[0-9]+-[0-9]+\.[^.]*$")
_NUMBER = re.compile("[0-9]{1,18}")


def index(root: Path) -> TaskIndex:
    """The 50 tags. Raises CorpusIndexError if annotations_final.csv or one of musicnn's lists is unusable."""
    _rows.check(root, _ANNOTATIONS)
    _listed_splits(root)
    return TaskIndex(TASK.slots, split_is_official=True)


def read(root: Path) -> Iterator[Clip | Rejected]:
    """The clips in the order of annotations_final.csv. Raises CorpusIndexError as `index` does."""
    listed = _listed_splits(root)
    for row in _rows.rows(root, _ANNOTATIONS):
        yield row if isinstance(row, Rejected) else _clip(row, listed)


def _listed_splits(root: Path) -> dict[int, Split] | None:
    """The split of musicnn's lists by clip number (26,000); None where they are not all there."""
    if not all((root / name).exists() for name in _LISTS):
        return None
    found: dict[int, Split] = {}
    for name, split in _LISTS.items():
        table = _rows.Table(
            TASK.name, name, ("clip_id", "tags"), "Get it from musicnn-training.", "\t", header=False
        )
        for _, text in _rows.lines(root, table):
            number = text.partition("\t")[0]
            if _NUMBER.fullmatch(number):
                found[int(number)] = split
    return found


def _clip(row: _rows.Row, listed: dict[int, Split] | None) -> Clip | Rejected:
    number, path = row.fields["clip_id"], row.fields["mp3_path"]
    values = [row.fields[tag] for tag in TAGS]
    if not _NUMBER.fullmatch(number) or any(value not in ("0", "1") for value in values):
        return _rows.bad_row(_ANNOTATIONS, row.line, "clip_id is not a number, or a tag is neither 0 nor 1")
    folder = path.partition("/")[0]
    if not re.fullmatch("[0-9a-f]", folder):
        return _rows.bad_row(_ANNOTATIONS, row.line, f"mp3_path {path!r} is not below a folder 0 to f")
    split = _folder_split(folder) if listed is None else listed.get(int(number))
    if split is None:
        return Rejected(path, Reason.UNLISTED, f"musicnn's lists do not name clip {number}")
    labels = tuple(label for label, value in enumerate(values) if value == "1")
    return Clip(clip_id_of(path), path, labels, split, clip_id_of(_SEGMENT.sub("", path)))


def _folder_split(folder: str) -> Split:
    if folder <= "b":
        return "train"
    return "validation" if folder == "c" else "test"
