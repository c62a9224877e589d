"""NSynth pitch: which of the 128 MIDI pitches is played? Linear probe, accuracy (paper appendix A).

The probe trains on 1 s crops of the 4 s notes; a test note's score is the mean over its four consecutive 1 s
subclips, so a note is padded or cut to 4 s. The paper's 293k clips are those of train and test.
"""

from __future__ import annotations

from collections.abc import Iterator

from hares.buckets import Place
from hares.task import Clip, Rejected, Slot, Task, TaskIndex
from hares.tasks import _nsynth

TASK = Task(
    name="nsynth_pitch",
    domain="music",
    title="NSynth Pitch, pitch estimation",
    dataset="nsynth",
    slots=(Slot("pitch", tuple(str(pitch) for pitch in range(128))),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=1.0,
    evaluation="consecutive",
    evaluation_crop=1.0,
    clip_seconds=4.0,
    batch_size=64,
    steps=400_000,
    paper_samples=293_000,
    paper_classes=128,
    split_is_official=True,
    layout=_nsynth.LAYOUT,
    licence=_nsynth.LICENCE,
    url=_nsynth.URL,
    citation=_nsynth.CITATION,
)


def index(root: Place) -> TaskIndex:
    """The 128 pitches. Raises CorpusIndexError if an examples.json is absent."""
    _nsynth.check(TASK.name, root)
    return TaskIndex(TASK.slots, split_is_official=True)


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The notes, train first. Raises CorpusIndexError if an examples.json is absent or not JSON."""
    return _nsynth.read(TASK.name, root, _label, "pitch", "the MIDI pitches 0 to 127")


def _label(entry: dict[str, object]) -> int | None:
    pitch = entry["pitch"]
    return pitch if type(pitch) is int and 0 <= pitch < 128 else None  # True is an int too
