"""Speech Commands v2: which of 35 words is said? Linear probe, accuracy (paper appendix A).

The probe trains and is scored on whole 1 s clips; the archive's own lists make the split. The recordings in
`_background_noise_` hold no word and are no clips of this task, nor is the archive of a test set of twelve classes,
which is speech_commands_v1's: the paper's 96k clips are those that the two lists leave to train and test.
"""

from __future__ import annotations

from collections.abc import Iterator

from hares.buckets import Place
from hares.files import walk_files
from hares.reading import is_audio
from hares.task import Clip, Reason, Rejected, Slot, Task, TaskIndex
from hares.tasks import _speech_commands as shared

TASK = Task(
    name="speech_commands_v2",
    domain="speech",
    title="Speech Commands v2, keyword",
    dataset="speech_commands_v2",
    slots=(Slot("word", shared.WORDS_V2),),
    label_kind="single",
    metric="accuracy",
    probe="linear",
    train_crop=None,
    evaluation="whole",
    evaluation_crop=None,
    clip_seconds=1.0,
    batch_size=64,
    steps=400_000,
    paper_samples=96_000,
    paper_classes=35,
    split_is_official=True,
    layout=("{word}/{speaker}_nohash_{n}.wav", "testing_list.txt, validation_list.txt"),
    licence="CC-BY-4.0",
    url="https://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    citation="P Warden, Speech Commands: A dataset for limited-vocabulary speech recognition, 2018",
    recordings="speech_commands",
)


def index(root: Place) -> TaskIndex:
    """The 35 words. Raises CorpusIndexError if a list is absent or not text."""
    shared.check(TASK.name, root)
    said = "the folder holds none of the five words that v0.02 added: is it v0.01?"
    is_v2 = shared.words_on_disk(root) & set(shared.WORDS_ONLY_IN_V2)
    return TaskIndex(TASK.slots, split_is_official=True, deviations=() if is_v2 else (said,))


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The words by path. Raises CorpusIndexError if a list is absent or not text."""
    for item in shared.spoken(TASK.name, root):
        if isinstance(item, Rejected):
            yield item
        elif item.word not in shared.WORDS_V2:
            yield shared.unknown_word(item)
        else:
            yield item.clip(shared.WORDS_V2.index(item.word))
    for path in shared.noise_files(root):
        yield Rejected(path, Reason.UNLISTED, "background noise, not a word of this task")
    for folder in shared.TEST_SETS.values():
        if (root / folder).is_dir():
            for path, _ in walk_files(root, folder):
                if is_audio(path):
                    detail = "of the test set of twelve classes, which is speech_commands_v1's"
                    yield Rejected(path, Reason.LEFT_OUT, detail)
