"""The twelve layouts with index files that can be changed, and what must hold of any listing of them.

The recordings are all one short tone: a listing looks at their names, and at the length of background noise.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

import hares
from hares.files import leads_outside
from hares.ingest import rejected_line
from hares.reading import scan
from hares.synthesis.corpus import LAYOUTS
from hares.task import Clip, CorpusIndexError, Reason, Rejected, load_task, load_task_module, task_names

# Where what a row does not name is in another split, a row that is lost moves clips.
SPLIT_BY_THE_WHOLE_LIST = ("speech_commands_v1", "speech_commands_v2", "voxforge")
_SUFFIXES = (".csv", ".json", ".txt", ".tsv")
_SCALE = 0.02


def copy_layout(made: Path, task: str, to: Path) -> Path:
    """A copy of a task's data set out of what `make_layouts` wrote, to be spoilt; its folder below `to`."""
    dataset = load_task(task).dataset
    return Path(shutil.copytree(made / dataset, to / dataset))


def make_layouts(out: Path) -> dict[str, list[Path]]:
    """Writes the data sets below `out`; returns each task's index files."""
    tone = out / "tone.wav"
    out.mkdir(parents=True, exist_ok=True)
    soundfile.write(tone, 0.1 * np.sin(np.arange(24_000) * 0.1), 16_000)
    for layout in LAYOUTS.values():
        plan = layout(0, _SCALE)
        for recording in plan.recordings:
            path = out / recording.path
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(tone, path)
        for name, text in plan.files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text, encoding="utf-8")
    _write_optional(out)
    return {
        task: sorted(
            path
            for path in (out / load_task(task).dataset).rglob("*")
            if path.suffix in _SUFFIXES and path.is_file()
        )
        for task in task_names()
    }


def _write_optional(out: Path) -> None:
    """The index files that a user may add."""
    sessions = sorted(path.name for path in (out / "voxforge").glob("*/*") if path.is_dir())
    urls = [f"http://voxforge.invalid/{name}.tgz" for name in sessions]
    (out / "voxforge/voxforge_urls.txt").write_text("\n".join(urls) + "\n")
    clips = sorted(
        path.relative_to(out / "birdsong").as_posix() for path in (out / "birdsong").rglob("*.wav")
    )
    rows = [f"{clip},{'test' if number % 3 else 'train'}" for number, clip in enumerate(clips)]
    (out / "birdsong/hares_split.csv").write_text("path,split\n" + "\n".join(rows) + "\n")
    table = (out / "magnatagatune/annotations_final.csv").read_text().splitlines()[1:]
    numbers = [line.split("\t")[0].strip('"') for line in table]
    for place, name in enumerate(("train_gt_mtt.tsv", "val_gt_mtt.tsv", "test_gt_mtt.tsv")):
        lines = [f"{number}\t[0]" for number in numbers[place::3]]
        (out / f"magnatagatune/{name}").write_text("\n".join(lines) + "\n")


def check_listing(task: str, root: Path, counts: Counter[str], before: Listing | None = None) -> Listing:
    """Lists a task and asserts what must hold of any index: no exception, nothing unnamed, nothing outside.

    Args:
        task: its name.
        root: its data set.
        counts: outcomes are added here.
        before: what the listing was before an index was changed: nothing of it may be gone without a word.
    """
    home = os.path.realpath(root)
    with only_below(home):
        items = list(scan(task, root))
        for item in items:
            if isinstance(item, Clip):
                assert not leads_outside(home, item.path), item
                assert os.path.isfile(os.path.join(home, item.path)), item
                item.clip_id.encode()
                counts["usable"] += 1
            else:
                check_named(item)
                counts[item.reason.value] += 1
        said: tuple[str, ...] = ()
        try:
            index = load_task_module(task).index(root)
            said = (str(index.split_is_official), *index.deviations)
        except CorpusIndexError as error:
            assert str(error).startswith(f"{task}: "), error
    listing = Listing(
        {item.clip_id: (item.path, item.split) for item in items if isinstance(item, Clip)},
        [item for item in items if isinstance(item, Rejected)],
        said,
    )
    if before is not None:
        counts[f"({_check_accounted(task, before, listing)})"] += 1
    return listing


@dataclass(frozen=True)
class Listing:
    """A task's listing: path and split of each clip by its id, what is rejected, and what the index says of itself."""

    clips: dict[str, tuple[str, str]]
    rejected: list[Rejected]
    said: tuple[str, ...]


def _check_accounted(task: str, before: Listing, now: Listing) -> str:
    """Asserts that each clip of before is used as before, or named, or the whole index refused; says which."""
    if any(item.reason is Reason.INDEX for item in now.rejected):
        assert not now.clips and len(now.rejected) == 1, "a refused index gives clips"
        return "refused"
    named = {item.path for item in now.rejected}
    gone = {path for clip_id, (path, _) in before.clips.items() if clip_id not in now.clips} - named
    unnamed = [path for path in gone if not any(path.startswith(f"{folder}/") for folder in named)]
    assert not unnamed, f"gone without a word: {unnamed[:3]}"
    moved = [
        path
        for clip_id, (path, split) in before.clips.items()
        if now.clips.get(clip_id, ("", split))[1] != split
    ]
    words = len(now.rejected) > len(before.rejected) or now.said != before.said
    # Elsewhere a row says the split of its clip, so that another one is what the index says now.
    if moved and not words:
        assert task not in SPLIT_BY_THE_WHOLE_LIST, f"moved without a word: {moved[:3]}"
        return "says another split"
    return "named" if words else "as before"


def check_named(item: Rejected) -> None:
    """A rejection names its file and its cause, each on one line that can be printed."""
    line = rejected_line(item)
    assert line["path"] and line["detail"], item
    assert line["path"].isprintable() and line["detail"].isprintable(), line


class _Guard:
    """Watches what this process opens and lists; Python keeps an audit hook for ever, so there is one."""

    def __init__(self) -> None:
        self.home: str | None = None
        # Installed to be edited, the package is on no path.
        places = (*sys.path, *hares.__path__, sys.prefix, sys.base_prefix)
        self._ours = {os.path.realpath(place) for place in places if place}
        sys.addaudithook(self._watch)

    def _watch(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.home is None or event not in ("open", "os.listdir", "os.scandir"):
            return
        place = arguments[0]
        if isinstance(place, str | bytes | os.PathLike):
            real = os.path.realpath(os.fsdecode(place))
            inside = real == self.home or real.startswith(self.home + os.sep)
            assert inside or real.startswith((*self._ours, "/proc/")), f"{event} of {real}"


@functools.cache
def _guard() -> _Guard:
    return _Guard()


@contextmanager
def only_below(home: str) -> Iterator[None]:
    """While it holds, opening a file or listing a folder elsewhere fails (Python's own and ours are let be)."""
    guard = _guard()
    guard.home = home
    try:
        yield
    finally:
        guard.home = None
