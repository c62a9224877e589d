"""Speech Commands v1: ten keywords, "unknown" and "silence". Linear probe, accuracy (paper appendix A).

The probe trains and is scored on whole 1 s clips. Every word but the ten is "unknown"; none is left out, as
in TensorFlow Datasets. "silence" is cut from `_background_noise_`, one second at a time, in blocks of time:
the first eight tenths of each recording for training, then one for validation and one for test.

Deviations:
- The paper names v0.01's archive, but its count (90k) is that of train and test of TensorFlow Datasets'
  `speech_commands`, which is made from v0.02's archives. `tfds:speech_commands` reads that one; the archive
  v0.01 holds 64,727 clips of words.
- v0.01 has no silence clips. The paper's come from TensorFlow Datasets: cuts with half a second of overlap of
the
  same recordings for training, and an archive of its own for test. Ours do not overlap, so that no sample is
  in two splits; the same room is still heard in all three.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hares.task import Clip, Rejected, Slot, Task, TaskIndex
from hares.tasks import _speech_commands as shared

KEYWORDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
CLASSES = (*KEYWORDS, "unknown", "silence")

TASK = Task(
    name="speech_commands_v1",
    domain="speech",
    title="Speech Commands v1, keyword",
    dataset="speech_commands_v1",
    slots=(Slot("keyword", CLASSES),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=None,
    evaluation="whole",
    evaluation_crop=None,
    clip_seconds=1.0,
    batch_size=64,
    steps=400_000,
    paper_samples=90_000,
    paper_classes=12,
    split_is_official=True,
    layout=(
        "{word}/{speaker}_nohash_{n}.wav",
        "testing_list.txt, validation_list.txt",
        "_background_noise_/*.wav",
    ),
    licence="CC-BY-4.0",
    url="https://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
    citation="P Warden, Speech Commands: A dataset for limited-vocabulary speech recognition, 2018",
    deviations=(
        "the paper's 90k clips are those of TensorFlow Datasets' speech_commands, made from v0.02's archives",
        "silence is cut from the background noise without overlap, in blocks of time",
    ),
    shared_by_design="silence is cut from the same recordings of noise on both sides, in blocks of time",
)


def index(root: Path) -> TaskIndex:
    """The twelve classes. Raises CorpusIndexError if a list is absent or not text."""
    shared.check(TASK.name, root)
    later = sorted(shared.words_on_disk(root) & set(shared.WORDS_ONLY_IN_V2))
    said = f"the folder holds words that only v0.02 has ({', '.join(later)}): they count as unknown"
    return TaskIndex(TASK.slots, split_is_official=True, deviations=(said,) if later else ())


def read(root: Path) -> Iterator[Clip | Rejected]:
    """The words by path, then the cuts of silence. Raises CorpusIndexError as `index` does."""
    for item in shared.spoken(TASK.name, root):
        if isinstance(item, Rejected):
            yield item
        elif item.word not in shared.WORDS_V2:
            yield shared.unknown_word(item)
        else:
            yield item.clip(CLASSES.index(item.word if item.word in KEYWORDS else "unknown"))
    for path in shared.noise_files(root):
        yield from shared.silence(root, path, CLASSES.index("silence"))
