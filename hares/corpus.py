"""What is there: a corpus folder held against the twelve data sets, task by task.

Every listed clip is read with the reader that the pipeline uses, so what this counts is what a run will get.
Clips that cannot be decoded are found by decoding them, or, faster, by their headers alone.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hares import reading, tfds_source
from hares.buckets import BucketError, Place, own
from hares.buckets.copies import Copies, Source, source_of
from hares.decoding import MIN_SAMPLES, AudioError, Limits, MachineError, decode, seconds
from hares.files import is_folder, shown, what_is_there
from hares.own_task import check_reader
from hares.task import (
    SAMPLE_RATE,
    Clip,
    CorpusIndexError,
    Reason,
    Rejected,
    Task,
    TaskIndex,
    load_task,
    load_task_module,
    own_task_names,
    task_names,
)

_EXAMPLES = 5
_LIMITS = Limits()
# The others (no room, no memory, no decoder) would be met at the next file as well.
_OF_ONE_FILE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)


@dataclass(frozen=True)
class SlotCheck:
    """One softmax: how many classes it has and how many of them occur among the usable clips."""

    name: str
    classes_defined: int
    classes_present: int


@dataclass(frozen=True)
class TaskCheck:
    """What was found for one task.

    Attributes:
        name: the task.
        found: whether the data set's folder is there.
        root: the folder looked at.
        files: audio files on the disk.
        clips: usable clips (a data set may cut several from one file).
        clips_per_split: usable clips by split.
        slots: classes, slot by slot.
        hours: length of the usable clips, in hours.
        layouts: how the files of the usable clips lie below `root`, such as `{dev,test}/wav/*/*/*.wav (154)`, with the
            number of clips.
        rejected: clips, rows and files that cannot be used, by reason.
        examples: the first few rejections of each reason, in valid UTF-8.
        split_is_official: whether the split is the one the paper used.
        deviations: differences from the paper, of the task and of this folder.
        error: why the task cannot be scored: an index that cannot be used, or no clip that can; else None.
    """

    name: str
    found: bool
    root: str
    files: int = 0
    clips: int = 0
    clips_per_split: dict[str, int] = field(default_factory=dict)
    slots: tuple[SlotCheck, ...] = ()
    hours: float = 0.0
    layouts: tuple[str, ...] = ()
    rejected: dict[str, int] = field(default_factory=dict)
    examples: tuple[Rejected, ...] = ()
    split_is_official: bool = False
    deviations: tuple[str, ...] = ()
    error: str | None = None


def dataset_root(corpus: Place | None, task: Task, placements: Mapping[str, Place]) -> Place:
    """Where a task's data set is.

    Args:
        corpus: folder with one folder a data set, or None.
        task: the task.
        placements: folders of data sets that are elsewhere, by the data set's name (`nsynth`) or by the name
            of one task that uses it (`nsynth_pitch`).

    Raises:
        ValueError: there is neither a corpus nor a placement for it.
    """
    for name in (task.name, task.dataset):
        if name in placements:
            return placements[name]
    if corpus is None:
        raise ValueError(
            f"no place for the data set {task.dataset!r}: give a corpus folder, or {task.dataset}=FOLDER"
        )
    return own(corpus / task.dataset)


def check_corpus(
    corpus: Place | None,
    placements: Mapping[str, Place] | None = None,
    tasks: Sequence[str] | None = None,
    decode_audio: bool = True,
    on_clip: Callable[[str], None] | None = None,
    limits: Limits = _LIMITS,
) -> tuple[TaskCheck, ...]:
    """Counts what is there, for each task in turn.

    Args:
        corpus: folder with one folder a data set, or None where every data set has a placement.
        placements: as for `dataset_root`.
        tasks: names of the tasks wanted; None for all twelve and those of loaded plugins.
        decode_audio: decode every clip (sure), or read headers only (fast: a clip of NaNs, and FLAC that breaks
            off, go unseen).
        on_clip: called with the task's name after each clip, for a progress bar.
        limits: what one file may cost.

    Returns:
        One check a task, in the order asked for.

    Raises:
        ValueError: an unknown task or placement, a data set without a place, or a plugin's reader that fails.
        MachineError: the machine lacks what decoding needs. A file that it does not let be read is named.
    """
    every = (*task_names(), *own_task_names())
    wanted = [load_task(name) for name in (every if tasks is None else tasks)]
    placements = placements or {}
    known = {name for task in map(load_task, every) for name in (task.name, task.dataset)}
    unknown = sorted(set(placements) - known)
    if unknown:
        raise ValueError(f"no data set is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    checks = []
    for task in wanted:
        root = dataset_root(corpus, task, placements)
        if task.name in own_task_names() and is_folder(root):
            check_reader(task, root)
        checks.append(_check_task(task, root, decode_audio, on_clip or (lambda _: None), limits))
    return tuple(checks)


def _check_task(
    task: Task, root: Place, decode_audio: bool, on_clip: Callable[[str], None], limits: Limits
) -> TaskCheck:
    data_dir = tfds_source.data_dir_of(str(root))
    if data_dir is not None:
        return _check_tfds(task, data_dir, on_clip)
    check = TaskCheck(task.name, is_folder(root), str(root), deviations=task.deviations)
    if not check.found:
        return replace(check, error=f"{task.name}: there is no folder {root}; {what_is_there(root.parent)}")
    try:
        check = replace(check, files=sum(1 for _ in reading.audio_files(root)))
        index: TaskIndex = load_task_module(task.name).index(root)
        tally = _Tally(index)
        with Copies(limits.memory_bytes) as copies:
            for batch in copies.batches(_files(task.name, root, tally)):
                for clip, file in batch:  # what the machine does while a clip is decoded ends the check
                    tally.count(clip, file, decode_audio, limits)
                    on_clip(task.name)
    except CorpusIndexError as error:
        return replace(check, error=str(error))
    except MachineError:
        raise
    except OSError as error:
        return replace(check, error=reading.unreadable(task.name, error))
    return tally.finish(check)


def _files(task_name: str, root: Place, tally: _Tally) -> Iterator[Source[Clip]]:
    """The files of the listed clips; what the listing rejects is tallied.

    Raises:
        CorpusIndexError: an index cannot be used, or this machine does not let something be listed.
        BucketError: the bucket's service fails.
    """
    try:
        for item in reading.scan(task_name, root):
            if isinstance(item, Clip):
                yield source_of(item, root, item.path)
            elif item.reason is Reason.INDEX:
                raise CorpusIndexError(item.detail)
            else:
                tally.reject(item)
    except BucketError:
        raise
    except MachineError as error:
        raise CorpusIndexError(str(error)) from error


def _check_tfds(task: Task, data_dir: Path, on_clip: Callable[[str], None]) -> TaskCheck:
    """A data set of TensorFlow Datasets: it has no files of its own, so all its clips are read."""
    check = TaskCheck(task.name, True, f"{tfds_source.PREFIX}{data_dir}", deviations=task.deviations)
    try:
        tally = _Tally(tfds_source.tfds_index(task.name))
        for item in tfds_source.read_tfds(task.name, data_dir):
            if isinstance(item, Rejected):
                tally.reject(item)
            else:
                clip, waveform = item
                tally.add(clip, len(waveform) / SAMPLE_RATE)
                on_clip(task.name)
    except ValueError as error:
        return replace(check, found=False, error=str(error))
    except OSError as error:
        return replace(check, error=reading.unreadable(task.name, error))
    return tally.finish(check)


class _Layouts:
    """How the files of clips lie: one pattern for each depth and suffix, whatever their number."""

    _NAMED = 3  # names of folders that a pattern lists; of more it says `*`

    def __init__(self) -> None:
        self._clips: Counter[tuple[int, str]] = Counter()
        self._names: dict[tuple[int, str], list[set[str]]] = {}

    def add(self, path: str) -> None:
        *folders, name = path.split("/")
        key = (len(folders), os.path.splitext(name)[1])
        self._clips[key] += 1
        for names, folder in zip(self._names.setdefault(key, [set() for _ in folders]), folders, strict=True):
            if len(names) <= self._NAMED:
                names.add(folder)

    def patterns(self) -> tuple[str, ...]:
        """The patterns, the commonest first, in valid UTF-8."""
        return tuple(
            f"{'/'.join([*map(self._pattern, self._names[key]), f'*{shown(key[1])}'])} ({clips})"
            for key, clips in self._clips.most_common()
        )

    def _pattern(self, names: set[str]) -> str:
        if len(names) > self._NAMED:
            return "*"
        listed = ",".join(shown(name) for name in sorted(names, key=os.fsencode))
        return f"{{{listed}}}" if len(names) > 1 else listed


class _Tally:
    """Counts of one task while its clips go by."""

    def __init__(self, index: TaskIndex) -> None:
        self._index = index
        self._splits: Counter[str] = Counter()
        self._layouts = _Layouts()
        self._seconds = 0.0
        self._reasons: Counter[str] = Counter()
        self._examples: dict[str, list[Rejected]] = {}
        self._present = [np.zeros(len(slot.classes), bool) for slot in index.slots]

    def reject(self, item: Rejected) -> None:
        self._reasons[item.reason.value] += 1
        kept = self._examples.setdefault(item.reason.value, [])
        if len(kept) < _EXAMPLES:
            kept.append(replace(item, path=shown(item.path), detail=shown(item.detail)))

    def count(self, clip: Clip, file: Path | AudioError, decode_audio: bool, limits: Limits) -> None:
        try:
            if isinstance(file, AudioError):
                raise file
            self.add(clip, _clip_seconds(clip, file, decode_audio, limits))
        except AudioError as error:
            self.reject(Rejected(clip.path, error.reason, error.detail, clip.split))
        except MachineError as error:
            if error.errno not in _OF_ONE_FILE:
                raise
            self.reject(Rejected(clip.path, Reason.UNREADABLE, str(error), clip.split))

    def add(self, clip: Clip, length: float) -> None:
        """A usable clip of `length` seconds."""
        self._seconds += length
        self._splits[clip.split] += 1
        self._layouts.add(clip.path)
        # Several slots have one label each; a single slot has all the labels there are.
        pairs = (
            zip(self._present, clip.labels, strict=True)
            if len(self._present) > 1
            else self._of_one_slot(clip)
        )
        for present, label in pairs:
            present[label] = True

    def _of_one_slot(self, clip: Clip) -> Iterator[tuple[np.ndarray, int]]:
        return ((self._present[0], label) for label in clip.labels)

    def finish(self, check: TaskCheck) -> TaskCheck:
        examples = (item for reason in sorted(self._examples) for item in self._examples[reason])
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(self._reasons.items()))
        unusable = f"{check.name}: no clip can be used ({why or 'the index lists none'})"
        return replace(
            check,
            error=None if self._splits else unusable,
            clips=self._splits.total(),
            clips_per_split=dict(sorted(self._splits.items())),
            slots=tuple(
                SlotCheck(slot.name, len(slot.classes), int(present.sum()))
                for slot, present in zip(self._index.slots, self._present, strict=True)
            ),
            hours=self._seconds / 3600,
            layouts=self._layouts.patterns(),
            rejected=dict(sorted(self._reasons.items())),
            examples=tuple(examples),
            split_is_official=self._index.split_is_official,
            deviations=(*check.deviations, *self._index.deviations),
        )


def _clip_seconds(clip: Clip, path: Path, decode_audio: bool, limits: Limits) -> float:
    start, duration = reading.part_to_read(clip, path, limits)
    if decode_audio:
        return len(decode(path, start, duration, limits)) / SAMPLE_RATE
    length = seconds(path, limits) - start
    length = length if duration is None else min(length, duration)
    if length * SAMPLE_RATE < MIN_SAMPLES:
        raise AudioError(Reason.TOO_SHORT, f"{max(length, 0.0):.3f} s are less than one 25 ms window")
    return length
