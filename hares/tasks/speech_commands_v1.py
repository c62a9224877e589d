"""Speech Commands v1: ten keywords, "unknown" and "silence". Linear probe, accuracy (paper appendix A).

The probe trains and is scored on whole 1 s clips. Every word but the ten is "unknown"; in training and validation
none is left out, as in TensorFlow Datasets, from which the paper took the data. The test set is an archive of its
own (`speech_commands_test_set_v0.02/`, or `_v0.01/`, unpacked in the data set's folder).

The paper names v0.01's archive, but its count (90k) is that of train and test of TensorFlow Datasets'
`speech_commands`, which is made of v0.02's two archives. Those two here, or `tfds:`, are the paper's data.

Deviations, where the archive of the test set is not there: a tenth as many unknown words and cuts of silence as
keywords are taken for test, as the data set's own `input_data.py` does, and the split is marked as not the paper's.
"""

from __future__ import annotations

from collections.abc import Iterator

from hares.buckets import Place
from hares.files import walk_files
from hares.reading import is_audio
from hares.task import Clip, Reason, Rejected, Slot, Task, TaskIndex
from hares.tasks import _speech_commands as shared
from hares.tasks import _speech_commands_testing as test

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
        "speech_commands_test_set_v0.0{1,2}/{word,_unknown_,_silence_}/*.wav (the test set's own archive)",
    ),
    licence="CC-BY-4.0",
    url="https://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
    citation="P Warden, Speech Commands: A dataset for limited-vocabulary speech recognition, 2018",
    recordings="speech_commands",
    shared_by_design="silence is cut from the same recordings of noise on both sides",
)

_FOLDERS = {
    **{word: CLASSES.index(word) for word in KEYWORDS},
    test.UNKNOWN: CLASSES.index("unknown"),
    test.SILENCE: CLASSES.index("silence"),
}


def index(root: Place) -> TaskIndex:
    """The twelve classes and which test set is in force. Raises CorpusIndexError if a list is absent or not text."""
    shared.check(TASK.name, root)
    v2 = bool(shared.words_on_disk(root) & set(shared.WORDS_ONLY_IN_V2))
    said = [] if v2 else ["the words are v0.01's; the paper's 90k clips are those of v0.02's archives"]
    folder = test.test_set(root)
    if not folder:
        own = shared.TEST_SETS["v0.02" if v2 else "v0.01"]
        said.append(
            "test set made here of testing_list.txt, with a tenth as many unknown words and cuts of silence as "
            f"keywords: not comparable with the paper; unpack {own}.tar.gz to {own}/ in the data set's folder"
        )
        return TaskIndex(TASK.slots, split_is_official=False, deviations=tuple(said))
    clips = sum(is_audio(path) for path, _ in walk_files(root, folder))
    if clips != test.CLIPS[folder]:
        said.append(f"{folder} has {clips} clips, and its archive {test.CLIPS[folder]:,}")
    if v2 != (folder == shared.TEST_SETS["v0.02"]):
        said.append(f"the words are v0.0{1 + v2}'s and the test set is {folder}")
    return TaskIndex(TASK.slots, split_is_official=True, deviations=tuple(said))


def read(root: Place) -> Iterator[Clip | Rejected]:
    """The words by path, then the cuts of silence, then the test set's archive. Raises as `index` does."""
    folder, silence = test.test_set(root), CLASSES.index("silence")
    picked = None if folder else _picked(root)
    for item in shared.spoken(TASK.name, root):
        if isinstance(item, Rejected):
            yield item
        elif item.word not in shared.WORDS_V2:
            yield shared.unknown_word(item)
        elif item.split == "test" and picked is None:
            detail = f"testing_list.txt names it, and the test set is {folder}"
            yield Rejected(item.path, Reason.LEFT_OUT, detail)
        elif item.split == "test" and picked and item.word not in KEYWORDS and not picked.has(item.path):
            detail = "an unknown word beyond a tenth of the keywords' number, which the data set's test has"
            yield Rejected(item.path, Reason.LEFT_OUT, detail)
        else:
            yield item.clip(CLASSES.index(item.word if item.word in KEYWORDS else "unknown"))
    if picked:
        yield from test.cuts_in_blocks(root, silence, picked.silence)
    else:
        yield from test.cuts_of_tfds(root, silence)
        yield from test.archived(TASK.name, root, folder, _FOLDERS)


def _picked(root: Place) -> test.InProportion:
    keywords, unknown = 0, []
    for item in shared.spoken(TASK.name, root):
        if isinstance(item, shared.Spoken) and item.split == "test" and item.word in shared.WORDS_V2:
            if item.word in KEYWORDS:
                keywords += 1
            else:
                unknown.append(item.path)
    return test.InProportion(keywords, unknown)
