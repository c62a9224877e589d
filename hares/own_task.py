"""What a task of a user's own must be, asked before any audio is read: the record, and what its reader yields.

The twelve are held against the paper by tests; here a plugin's `TASK`, `index` and `read` are held against what
crops, probes and metrics can do with them. Every message names the file, what is wrong and what would be right.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, get_args

from hares.buckets import Place
from hares.task import (
    DOMAINS,
    FOLDS,
    Clip,
    CorpusIndexError,
    EvaluationRule,
    LabelKind,
    ProbeKind,
    Rejected,
    Slot,
    Task,
    TaskIndex,
    load_task_module,
    own_task_names,
    task_names,
)
from hares.user_code import UserCodeError, contained

# What a clip's labels are settles how answers are counted, and which probes can give them.
_FITTING: Mapping[LabelKind, tuple[str, tuple[ProbeKind, ...]]] = MappingProxyType(
    {
        "single": ("accuracy", ("linear", "svm")),
        "multi": ("mAP", ("linear", "mlp")),
        "slots": ("accuracy", ("slots",)),
    }
)
_RESERVED = ("hares", *DOMAINS)  # names of means


def check_task(module: ModuleType, file: Path) -> None:
    """Checks a plugin's task.

    Raises:
        ValueError: its record or its reader is none, or its name is taken; the message names the file.
    """
    task = module.TASK
    if not isinstance(task, Task):
        raise ValueError(f"plugin {file}: TASK is a {type(task).__name__}; it must be a hares.task.Task")
    if wrong := _wrong_with(task):
        raise ValueError(f"plugin {file}: TASK {wrong}")
    for name in ("index", "read"):
        function = getattr(module, name, None)
        if not callable(function) or not _takes_one(function):
            raise ValueError(
                f"plugin {file}: it has no function {name}(root); a task is TASK, index(root) and read(root), as in "
                "hares/tasks/"
            )


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(Path())
    except TypeError:
        return False
    return True


def _wrong_with(task: Task) -> str:
    """What is wrong with a record, "" for nothing."""
    return (
        _wrong_names(task)
        or _wrong_choices(task)
        or _wrong_slots(task)
        or _wrong_numbers(task)
        or _wrong_folds(task)
    )


def _wrong_names(task: Task) -> str:
    if not isinstance(task.name, str) or not re.fullmatch("[a-z][a-z0-9_]*", task.name):
        return f"is named {task.name!r}; a name is lower-case letters, digits and _, beginning with a letter"
    if task.name in (*task_names(), *_RESERVED):
        return (
            f"is named {task.name!r}, which is one of the twelve tasks' or of the means; choose another name"
        )
    if task.name in own_task_names():
        return f"is named {task.name!r}, and so is the task of another plugin; choose another name"
    if not isinstance(task.dataset, str) or task.dataset in ("", ".", "..") or "/" in task.dataset:
        return f"has dataset {task.dataset!r}; expected the name of a folder below the corpus"
    for field in ("title", "licence", "url", "citation", "shared_by_design", "recordings"):
        if not isinstance(getattr(task, field), str):
            return f"has {field} {getattr(task, field)!r}; expected a text"
    for field in ("layout", "deviations"):
        value = getattr(task, field)
        if not isinstance(value, tuple) or not all(isinstance(line, str) for line in value):
            return f"has {field} {value!r}; expected a tuple of texts"
    return ""


def _wrong_choices(task: Task) -> str:
    choices = {
        "domain": DOMAINS, "label_kind": get_args(LabelKind), "evaluation": get_args(EvaluationRule),
        "probe": get_args(ProbeKind),
    }  # fmt: skip
    for field, allowed in choices.items():
        if getattr(task, field) not in allowed:
            return f"has {field} {getattr(task, field)!r}; expected one of {', '.join(allowed)}"
    metric, probes = _FITTING[task.label_kind]
    if task.metric != metric or task.probe not in probes:
        return (
            f"has label_kind {task.label_kind!r} with metric {task.metric!r} and probe {task.probe!r}; with these "
            f"labels the metric is {metric!r} and the probe one of {', '.join(probes)}"
        )
    if task.mixed and task.label_kind != "multi":
        return (
            f"is mixed with label_kind {task.label_kind!r}; only 'multi' can share a crop between two clips"
        )
    return ""


def _wrong_slots(task: Task) -> str:
    slots = task.slots
    if not isinstance(slots, tuple) or not slots or not all(isinstance(slot, Slot) for slot in slots):
        return f"has slots {slots!r}; expected a tuple of hares.task.Slot"
    if len(slots) > 1 and task.label_kind != "slots":
        return f"has {len(slots)} slots with label_kind {task.label_kind!r}; only 'slots' has several"
    for slot in slots:
        classes = slot.classes
        texts = isinstance(classes, tuple) and all(isinstance(name, str) for name in classes)
        if (
            not texts
            or len(set(classes)) != len(classes)
            or len(classes) < (1 if task.label_kind == "multi" else 2)
        ):
            return f"has classes {classes!r} in slot {slot.name!r}; expected a tuple of two or more different names"
    return ""


def _wrong_numbers(task: Task) -> str:
    for field in ("train_crop", "evaluation_crop", "clip_seconds"):
        value = getattr(task, field)
        if value is not None and not (_is_number(value) and 0.025 <= value < math.inf):
            return f"has {field} {value!r}; expected seconds, 0.025 or more, or None"
    for role, crop in (("training", task.train_crop), ("test", task.evaluation_crop)):
        if crop is None and task.clip_seconds is None:
            return (
                f"says neither clip_seconds nor how long a {role} crop is; give train_crop and evaluation_crop, or "
                "clip_seconds, to which clips are padded or cut"
            )
    if task.evaluation != "whole" and task.evaluation_crop is None:
        return f"has evaluation {task.evaluation!r} and no evaluation_crop; give its seconds, or 'whole'"
    if task.evaluation == "whole" and task.clip_seconds is None:
        return "has evaluation 'whole' and no clip_seconds, to which clips are padded or cut; give them"
    for field in ("batch_size", "steps"):
        value = getattr(task, field)
        if task.probe != "svm" and not (isinstance(value, int) and not isinstance(value, bool) and value > 0):
            return f"has {field} {value!r}; a probe of kind {task.probe!r} needs a whole number above 0"
    return ""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _wrong_folds(task: Task) -> str:
    if task.probe == "svm" and task.folds != FOLDS:
        return f"has probe 'svm' and folds {task.folds!r}; the SVM is scored on hares.task.FOLDS"
    if task.probe != "svm" and task.folds != ():
        return f"has probe {task.probe!r} and folds {task.folds!r}; only 'svm' is scored on folds"
    return ""


def check_reader(task: Task, root: Place) -> None:
    """Goes through all that the reader of a task of a user's own lists; no audio is read.

    An index that cannot be used is no fault of the reader: the evaluation reports it, as of the twelve.

    Raises:
        ValueError: the reader fails, or yields what cannot be scored; the message names the plugin and the clip.
    """
    module = load_task_module(task.name)
    what = f"plugin {module.__file__}: task {task.name!r}"
    with contained(what):
        try:
            slots = _slots_in_force(module, task, root, what)
            for item in module.read(root):
                if wrong := _wrong_with_item(item, task, slots):
                    raise ValueError(f"{what}: read() yields {wrong}")
        except (CorpusIndexError, OSError):
            return
        except UserCodeError:
            raise
        except ValueError as error:
            if str(error).startswith(what):
                raise
            raise _failed(what, error) from error
        except Exception as error:  # whatever the user's code raises
            raise _failed(what, error) from error


def _failed(what: str, error: Exception) -> UserCodeError:
    return UserCodeError(
        f"{what}: index() or read() failed ({type(error).__name__}: {error}); raise hares.task.CorpusIndexError for an "
        "index that cannot be used, and yield a Rejected for a row"
    )


def _slots_in_force(module: ModuleType, task: Task, root: Place, what: str) -> tuple[Slot, ...]:
    index = module.index(root)
    if not isinstance(index, TaskIndex) or len(index.slots) != len(task.slots):
        raise ValueError(
            f"{what}: index() gives {index!r}; expected a hares.task.TaskIndex with the slots of TASK"
        )
    return index.slots


def _wrong_with_item(item: Any, task: Task, slots: tuple[Slot, ...]) -> str:
    if isinstance(item, Rejected):
        return ""
    if not isinstance(item, Clip):
        return f"{item!r}; expected a hares.task.Clip, or a Rejected for what cannot be used"
    where = f"clip {item.clip_id!r} with"
    if not all(isinstance(text, str) for text in (item.clip_id, item.path, item.group)):
        return f"{where} path {item.path!r} and group {item.group!r}; clip_id, path and group are texts"
    if item.split not in (*task.splits, "validation"):
        return f"{where} split {item.split!r}; expected one of {', '.join((*task.splits, 'validation'))}"
    if not isinstance(item.labels, tuple) or not all(type(label) is int for label in item.labels):
        return (
            f"{where} labels {item.labels!r}; expected a tuple of whole numbers, the places of their classes"
        )
    sizes = [len(slot.classes) for slot in slots]
    limits = sizes * len(item.labels) if task.label_kind == "multi" else sizes
    if len(item.labels) != len(limits):
        return f"{where} labels {item.labels!r}; label_kind {task.label_kind!r} has {len(limits)} a clip"
    if any(not 0 <= label < limit for label, limit in zip(item.labels, limits, strict=True)):
        return f"{where} labels {item.labels!r}; a label set of sizes {sizes} has none such"
    return ""
