"""Whether the same sound, or the same speaker, recording or instrument, is on both sides of a split.

Clips are compared by the SHA-256 of their file (and the place in it, where a clip is a cut of a file), groups by
name. What a data set shares on purpose is counted apart: VoxCeleb1's speakers are its classes, and the silence
of Speech Commands v1 is cut from the same recordings of noise. A leak is a finding, shown beside the score: the
data are what they are, and the score stands.

Names are held as 64-bit hashes, so that AudioSet's two million clips take 16 MB.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hares.files import name_hash
from hares.task import Task

EXAMPLES = 5


@dataclass(frozen=True)
class ClipIdentity:
    """What tells whether a clip is another one: its id, split, group ("" for none) and content ("" if unknown)."""

    clip_id: str
    split: str
    group: str
    content: str

    @property
    def is_cut(self) -> bool:
        """Whether the clip is a part of a file (`hares.task.Clip.clip_id`)."""
        return "#" in self.clip_id


def identity(split: str, line: str) -> ClipIdentity:
    """The identity in one line of a manifest's list of clips (`hares.ingest.ingest_shard`)."""
    clip: dict[str, Any] = json.loads(line)
    _, sign, cut = clip["clip_id"].partition("#")
    return ClipIdentity(clip["clip_id"], split, clip["group"], f"{clip['sha256']}{sign}{cut}")


def check_leakage(task: Task, clips: Iterable[ClipIdentity]) -> dict[str, Any]:
    """Looks for clips and groups on both sides of a split; of ESC-50, in two folds.

    Args:
        task: its record says what the split promises.
        clips: of all splits, iterated twice where something is found; those of a validation set are passed over.

    Returns:
        `verdict`: "clean", "leak", or "not checked" without clips; `shared_clips` and `shared_groups`, how many
        contents and groups are on both sides against the promise; `clips_checked` and `contents_checked`;
        `groups_promised`; `shared_by_design`, the record's sentence; `groups_by_design`, how many groups are
        shared without a promise broken; `examples`, a few clips of each leak.
    """
    contents, groups, exempt = _Sides(), _Sides(), _Sides()
    checked = with_content = 0
    for clip in _scored(clips):
        checked += 1
        if clip.content:
            with_content += 1
            contents.add(clip.split, clip.content)
        if clip.group:
            by_design = not task.disjoint_groups or (clip.is_cut and bool(task.shared_by_design))
            (exempt if by_design else groups).add(clip.split, clip.group)
    shared_clips, shared_groups = contents.shared(), groups.shared()
    leak = bool(shared_clips or shared_groups)
    return {
        "verdict": "not checked" if not checked else "leak" if leak else "clean",
        "clips_checked": checked,
        "contents_checked": with_content,
        "shared_clips": len(shared_clips),
        "shared_groups": len(shared_groups),
        "groups_promised": task.disjoint_groups,
        "shared_by_design": task.shared_by_design,
        "groups_by_design": len(exempt.shared()),
        "examples": _examples(clips, shared_clips, shared_groups) if leak else [],
    }


def _scored(clips: Iterable[ClipIdentity]) -> Iterator[ClipIdentity]:
    return (clip for clip in clips if clip.split != "validation")


class _Sides:
    """Hashes of names, split by split."""

    def __init__(self) -> None:
        self._hashes: dict[str, array[int]] = {}

    def add(self, split: str, name: str) -> None:
        self._hashes.setdefault(split, array("Q")).append(name_hash(name))

    def shared(self) -> set[int]:
        """The names, as hashes, that are in more than one split."""
        each = [np.unique(np.frombuffer(part, np.uint64)) for part in self._hashes.values()]
        if len(each) < 2:
            return set()
        names, splits = np.unique(np.concatenate(each), return_counts=True)
        return {int(name) for name in names[splits > 1]}


def _examples(clips: Iterable[ClipIdentity], contents: set[int], groups: set[int]) -> list[dict[str, str]]:
    """A few clips of each kind of leak."""
    found: list[dict[str, str]] = []
    kept: Counter[str] = Counter()
    for clip in _scored(clips):
        for what, name, shared in (("clip", clip.content, contents), ("group", clip.group, groups)):
            if name and kept[what] < EXAMPLES and shared and name_hash(name) in shared:
                kept[what] += 1
                found.append({"what": what, "clip": clip.clip_id, "split": clip.split, "group": clip.group})
    return found


def not_checked(task: Task) -> Mapping[str, Any]:
    """The result where no list of clips is at hand."""
    return check_leakage(task, ())
