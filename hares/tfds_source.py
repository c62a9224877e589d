"""TensorFlow Datasets as a second source, for the four data sets of ours that it has.

`speech_commands` (12 labels, made from v0.02's archives: the paper's "v1" by its count of 90k clips),
`nsynth` (for both NSynth tasks), `voxceleb` and `voxforge` (both need a manual download before they can be
prepared). The data must have been prepared with `tfds build`; nothing is downloaded here. Classes are matched
by name, never by position: TensorFlow Datasets orders the twelve keywords in its own way, and counts
VoxCeleb's speakers from 1.

Its waveforms are 16 kHz mono already; they become int16 like those of `hares.decoding.decode`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hares.decoding import MIN_SAMPLES
from hares.task import Clip, Reason, Rejected, Split, TaskIndex, load_task

PREFIX = "tfds:"  # `tfds:FOLDER` stands where a data set's folder could, FOLDER being the `data_dir`

_SPLITS: dict[str, Split] = {"train": "train", "validation": "validation", "test": "test"}
_NSYNTH_SPLITS: dict[str, Split] = {"train": "train", "valid": "validation", "test": "test"}


@dataclass(frozen=True)
class _Source:
    """One of its data sets: its name, where an example's label and group are, and what its names mean here.

    Attributes:
        builder: name in TensorFlow Datasets.
        label: the path of the label feature in an example.
        group: the path of the feature that ties examples together, or None where it has none.
        class_name: its label name to ours.
        splits: its names of the splits to ours.
        lacks: what it lacks of the data set that the paper used; "" for nothing.
    """

    builder: str
    label: tuple[str, ...]
    group: tuple[str, ...] | None
    class_name: Callable[[str], str] = str
    splits: Mapping[str, Split] = field(default_factory=lambda: _SPLITS)
    lacks: str = ""


_INSTRUMENT = ("instrument", "label")
_SOURCES = {
    "speech_commands_v1": _Source("speech_commands", ("label",), None, lambda name: name.strip("_")),
    "nsynth_instrument": _Source("nsynth/full", ("instrument", "family"), _INSTRUMENT, splits=_NSYNTH_SPLITS),
    "nsynth_pitch": _Source("nsynth/full", ("pitch",), _INSTRUMENT, splits=_NSYNTH_SPLITS),
    "voxceleb1": _Source(
        *("voxceleb", ("label",), ("youtube_id",), lambda name: f"id1{int(name):04d}"),
        lacks="the 40 speakers of VoxCeleb1's test archive: it is made from vox_dev_wav.zip alone",
    ),
    "voxforge": _Source("voxforge", ("label",), ("speaker_id",)),
}


def tfds_tasks() -> tuple[str, ...]:
    """The tasks that TensorFlow Datasets has the data for, sorted."""
    return tuple(sorted(_SOURCES))


def data_dir_of(root: str) -> Path | None:
    """The `data_dir` of a root that begins with `tfds:`; None for a root that is a folder of files."""
    return Path(root.removeprefix(PREFIX)) if root.startswith(PREFIX) else None


def prepared_folder(task_name: str, data_dir: Path) -> Path:
    """Where TensorFlow Datasets keeps the prepared data of a task.

    Raises:
        ValueError: it does not have this task, or the data set is not prepared in `data_dir`.
    """
    builder = _source(task_name).builder
    folder = data_dir / builder.partition("/")[0]
    if not folder.is_dir():
        raise ValueError(
            f"{builder} is not prepared in {data_dir}. Run 'tfds build {builder} --data_dir {data_dir}'."
        )
    return folder


def tfds_index(task_name: str) -> TaskIndex:
    """The label set and split of a task that is read from TensorFlow Datasets.

    The paper took its VoxForge, VoxCeleb and NSynth from there (appendix A), split included.

    Raises:
        ValueError: TensorFlow Datasets does not have this task.
    """
    lacks = _source(task_name).lacks
    said = f"read from TensorFlow Datasets{f', which lacks {lacks}' if lacks else ''}"
    return TaskIndex(load_task(task_name).slots, split_is_official=not lacks, deviations=(said,))


def read_tfds(task_name: str, data_dir: Path) -> Iterator[tuple[Clip, np.ndarray] | Rejected]:
    """The examples of a task as clips with their sound, one at a time, split by split, in stored order.

    Args:
        task_name: one of `tfds_tasks()`.
        data_dir: the folder that holds the prepared data set (TensorFlow Datasets' `data_dir`).

    Yields:
        (clip, waveform): the clip's id and path are `builder/split/position`; the waveform is (n,) int16,
        mono, 16 kHz, n >= 400. Or a `Rejected` for an example that is too short or whose label the task
        lacks.

    Raises:
        ValueError: TensorFlow Datasets does not have this task, or the data set is not prepared in
        `data_dir`.
    """
    source = _source(task_name)
    # Imported here: it loads TensorFlow, which the rest of reading does without. The hotfix first: a data set may be
    # kept as Parquet, and Arrow 10 runs code that a column's type holds unless it is told not to.
    import pyarrow_hotfix  # noqa: F401
    import tensorflow_datasets as tfds

    builder = tfds.builder(source.builder, data_dir=str(data_dir))
    try:
        splits = {name: builder.as_dataset(split=name, shuffle_files=False) for name in source.splits}
    except (AssertionError, FileNotFoundError) as error:
        raise ValueError(
            f"{source.builder} is not prepared in {data_dir} ({error}). Run "
            f"'tfds build {source.builder} --data_dir {data_dir}'."
        ) from error
    names = _feature(builder.info.features, source.label).names
    ids = {name: label for label, name in enumerate(load_task(task_name).slots[0].classes)}
    for split, dataset in splits.items():
        for position, example in enumerate(tfds.as_numpy(dataset)):
            where = f"{source.builder}/{split}/{position:08d}"
            yield _example(where, source.splits[split], example, source, names, ids)


def _source(task_name: str) -> _Source:
    if task_name not in _SOURCES:
        raise ValueError(f"{task_name} is not in TensorFlow Datasets; there are {', '.join(tfds_tasks())}")
    return _SOURCES[task_name]


def _example(
    where: str,
    split: Split,
    example: Mapping[str, Any],
    source: _Source,
    names: list[str],
    ids: Mapping[str, int],
) -> tuple[Clip, np.ndarray] | Rejected:
    name = names[int(_feature(example, source.label))]
    label = ids.get(source.class_name(name))
    if label is None:
        return Rejected(where, Reason.UNKNOWN_LABEL, f"label {name!r} is no class of the task", split)
    waveform = _int16(np.asarray(example["audio"]))
    if len(waveform) < MIN_SAMPLES:
        return Rejected(where, Reason.TOO_SHORT, f"{len(waveform)} samples are less than 25 ms", split)
    group = where if source.group is None else _text(_feature(example, source.group))
    return Clip(where, where, (label,), split, group), waveform


def _feature(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def _text(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _int16(audio: np.ndarray) -> np.ndarray:
    """Its floats have full scale 1.0; its integers are 16-bit samples in whatever type."""
    if np.issubdtype(audio.dtype, np.floating):
        audio = np.rint(audio * 32_768.0)
    return np.clip(audio, -32_768, 32_767).astype(np.int16)
