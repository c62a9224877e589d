"""What a HARES task is: a declarative record, and what its reader yields.

One task is one module in `hares/tasks/`, found by name (`load_task`). The module exposes `TASK`, a
`Task` record held against the paper's table 1 and appendix A; `index(root)`, which reads the data set's
label set and split; and `read(root)`, a lazy reader of its native layout. Adding a task touches no
other file. A task of a user's own is the same in a file of theirs (`hares.plugin`), and in no mean.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from dataclasses import dataclass, field
from enum import Enum
from types import ModuleType
from typing import Literal

Domain = Literal["environment", "speech", "music"]
Metric = Literal["accuracy", "mAP"]
Split = Literal["train", "validation", "test", "fold1", "fold2", "fold3", "fold4", "fold5"]
LabelKind = Literal["single", "multi", "slots"]
EvaluationRule = Literal["whole", "consecutive", "equally_spaced"]
ProbeKind = Literal["linear", "mlp", "slots", "svm"]

DOMAINS: tuple[Domain, ...] = ("environment", "speech", "music")
FOLDS: tuple[Split, ...] = ("fold1", "fold2", "fold3", "fold4", "fold5")
SAMPLE_RATE = 16_000  # of all waveforms (paper section 3)
OWN_TASK = "hares_own_task_"  # with a name behind it, the module that `hares.plugin` has loaded a task from


class Reason(str, Enum):
    """Why a clip that the source lists is not in the output (or a file is not used)."""

    ABSENT = "absent"  # the index lists it, the disk does not have it
    UNLISTED = "unlisted"  # the disk has it, no index lists it
    LEFT_OUT = "left_out"  # the data set's own rule takes a part of such files, and not this one
    OUTSIDE = "outside_corpus"  # the path or a symbolic link leads out of the corpus folder
    BAD_ROW = "bad_row"  # an index row that cannot be understood
    UNKNOWN_LABEL = "unknown_label"  # a label that the task does not define
    INDEX = "index_error"  # a whole index file is unusable
    UNREADABLE = (
        "unreadable"  # the system does not let it be read; said by the check alone, all else ends there
    )
    EMPTY = "empty"  # a file of zero bytes or zero samples
    UNDECODABLE = "undecodable"  # not audio, or a codec nothing here reads
    TRUNCATED = "truncated"  # fewer samples than the header promises
    TOO_SHORT = "too_short"  # shorter than one analysis window of 25 ms
    WRONG_LENGTH = "wrong_length"  # far longer than the clip that the index lists
    NON_FINITE = "non_finite"  # NaN or infinite samples
    BAD_HEADER = "bad_header"  # a sample rate or a number of channels that no recording has
    TOO_LONG = "too_long"  # claims more seconds than the longest clip that is let in
    TOO_SLOW = "too_slow"  # decoding takes over the time that a file gets
    TOO_LARGE = "too_large"  # decoding needs over the memory that a file gets
    DECODER_DIED = "decoder_died"  # the decoder crashed on this file
    NEEDS_FFMPEG = "needs_ffmpeg"  # a container that ffmpeg alone reads, which is not installed


# The machine may have caused these: another try may succeed, so they are checked again.
UNSETTLED = frozenset((Reason.TOO_SLOW, Reason.TOO_LARGE, Reason.DECODER_DIED, Reason.NEEDS_FFMPEG))


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip that an index lists, before any audio is read.

    Attributes:
        clip_id: unique within the task; the path below the data set's root in POSIX form, followed by
            `#start-end` in seconds where the clip is a part of a file. Always valid UTF-8.
        path: path below the data set's root (may hold surrogate escapes for non-UTF-8 names).
        labels: class ids: one for "single", one a slot for "slots", any number for "multi".
        split: which part of the data set the clip is in.
        group: speaker, recording or instrument that ties clips together, to check leakage.
        start: seconds into the file where the clip begins.
        duration: seconds, or None for everything from `start` to the end of the file.
        length: seconds that the index or the data set gives the clip, where it does: a file that is far longer is
            not this clip alone (`hares.reading.part_to_read`).
        offset: seconds into the original recording where the clip begins, where the index says so.
    """

    clip_id: str
    path: str
    labels: tuple[int, ...]
    split: Split
    group: str
    start: float = 0.0
    duration: float | None = None
    length: float | None = None
    offset: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A clip, row or file that is not used, and why; `detail` is one sentence for a person.

    `split` is the split the clip would have been in, if the index says (an absent file has one, an unlisted file
    has none); it counts among the expected clips of that split.
    """

    path: str
    reason: Reason
    detail: str
    split: Split | None = None


@dataclass(frozen=True)
class Slot:
    """One softmax of a task: its name and class names, in the order of their ids."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """The paper's protocol for one task (table 1, appendix A).

    Attributes:
        name: module name in `hares/tasks/`.
        domain: which of the three domain means the score enters.
        title: the data set and task as the paper's table 1 names them.
        dataset: folder below the corpus root (two tasks may share one).
        slots: the softmaxes; one but for Fluent Speech Commands, which has three.
        label_kind: how a clip's labels are to be read.
        metric: the paper's metric.
        probe: what is trained on the frozen embeddings.
        train_crop: seconds of a training crop, or None for the whole clip.
        evaluation: how a test clip is cut.
        evaluation_crop: seconds of an evaluation subclip, or None for the whole clip.
        clip_seconds: nominal clip length, to which clips are padded or cut: of "whole" tasks, and of NSynth
            pitch, whose "four subclips" are the whole note.
        batch_size, steps: probe training in the paper; None for the SVM.
        paper_samples: clips the paper counts (table 1). Its figures for VoxCeleb, NSynth, Fluent and Speech
            Commands are those of train and test, without the validation set that it ignores.
        paper_classes: classes the paper counts (Fluent: intents, not slots).
        split_is_official: whether the data set ships the split the paper used.
        layout: the native layout, one line a file pattern.
        licence, url, citation: where it comes from.
        deviations: known differences from the paper that hold for every run of this task.
        disjoint_groups: whether the split promises that clips of one group (speaker, recording, instrument)
            are on one side of it only; where it does not, or shares groups by design, False.
        shared_by_design: what both sides of the split share on purpose, "" for nothing.
        folds: the official folds, each scored by a probe trained on the others; empty where the data set has a
            training and a test split.
        augmented: whether probes train on shifted and amplified copies of whole clips.
        mixed: whether training crops are mixed with another clip's.
        recordings: one name for data sets that share recordings, whose groups have the same names in each; "" for a
            data set that shares none. Their scores are resampled together (`hares.statistics.draws_seed`).
    """

    name: str
    domain: Domain
    title: str
    dataset: str
    slots: tuple[Slot, ...]
    label_kind: LabelKind
    metric: Metric
    probe: ProbeKind
    train_crop: float | None
    evaluation: EvaluationRule
    evaluation_crop: float | None
    clip_seconds: float | None
    batch_size: int | None
    steps: int | None
    paper_samples: int
    paper_classes: int
    split_is_official: bool
    layout: tuple[str, ...]
    licence: str
    url: str
    citation: str
    deviations: tuple[str, ...] = field(default=())
    disjoint_groups: bool = True
    shared_by_design: str = ""
    folds: tuple[Split, ...] = ()
    augmented: bool = False
    mixed: bool = False
    recordings: str = ""

    @property
    def num_classes(self) -> int:
        """Number of logits of the probe: the classes of all slots together."""
        return sum(len(slot.classes) for slot in self.slots)

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that are trained on or scored; the paper ignores validation sets."""
        return self.folds or ("train", "test")


@dataclass(frozen=True)
class TaskIndex:
    """What a reader found out before the first clip: the label set and the split in force.

    `slots` equals the task's own unless the corpus names labels the official list lacks; then
    `deviations` says so in words. `split_is_official` is False where we had to make the split.
    """

    slots: tuple[Slot, ...]
    split_is_official: bool
    deviations: tuple[str, ...] = ()


class CorpusIndexError(ValueError):
    """A data set's index file is missing or unusable; the message names the file and the remedy."""


def task_names() -> tuple[str, ...]:
    """Names of the twelve tasks, sorted: the public modules in `hares/tasks/`."""
    package = importlib.import_module("hares.tasks")
    names = [info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_")]
    return tuple(sorted(names))


def own_task_names() -> tuple[str, ...]:
    """Names of the tasks of plugins that this process has loaded, sorted; `sys.modules` is the register."""
    return tuple(sorted(name.removeprefix(OWN_TASK) for name in sys.modules if name.startswith(OWN_TASK)))


def load_task_module(name: str) -> ModuleType:
    """One task: `index(root) -> TaskIndex`, `read(root) -> Iterator[Clip | Rejected]`.

    Raises:
        ValueError: no task has this name; the message lists those there are.
    """
    if own := sys.modules.get(f"{OWN_TASK}{name}"):
        return own
    if name not in task_names():
        raise ValueError(f"unknown task {name!r}; there are {', '.join((*task_names(), *own_task_names()))}")
    return importlib.import_module(f"hares.tasks.{name}")


def load_task(name: str) -> Task:
    """The record of one task. Raises ValueError as `load_task_module` does."""
    task: Task = load_task_module(name).TASK
    return task
