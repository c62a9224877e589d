"""NSynth instrument: which of eleven families plays the note? Linear probe, accuracy (paper appendix A).

The probe trains and is scored on whole 4 s notes. The paper's 293k clips are those of train and test.
"""

from __future__ import annotations

from collections.abc import Iterator

from hares.buckets import Place
from hares.task import Clip, Rejected, Slot, Task, TaskIndex
from hares.tasks import _nsynth

FAMILIES = (
    "bass",
    "brass",
    "flute",
    "guitar",
    "keyboard",
    "mallet",
    "organ",
    "reed",
    "string",
    "synth_lead",
    "vocal",
)

TASK = Task(
    name="nsynth_instrument",
    domain="music",
    title="NSynth Instrument, instrument identification",
    dataset="nsynth",
    slots=(Slot("family", FAMILIES),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=None,
    evaluation="whole",
    evaluation_crop=None,
    clip_seconds=4.0,
    batch_size=64,
    steps=400_000,
    paper_samples=293_000,
    paper_classes=11,
    split_is_official=True,
    layout=_nsynth.LAYOUT,
    licence=_nsynth.LICENCE,
    url=_nsynth.URL,
    citation=_nsynth.CITATION,
)


def index(root: Place) -> TaskIndex:
    """The eleven families. Raises CorpusIndexError if an examples.json is absent."""
    _nsynth.check(TASK.name, root)
    return TaskIndex(TASK.slots, split_is_official=True)


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The notes, train first. Raises CorpusIndexError if an examples.json is absent or not JSON."""
    return _nsynth.read(TASK.name, root, _label, "instrument_family_str", "the eleven families")


def _label(entry: dict[str, object]) -> int | None:
    family = entry["instrument_family_str"]
    return FAMILIES.index(family) if isinstance(family, str) and family in FAMILIES else None
