"""The twelve layouts with index files that can be changed, and what must hold of any listing of them.

The recordings are all one short tone: a listing looks at their names, and at the length of background noise.
"""

from __future__ import annotations

import functools
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

import hares
from hares._files import leads_outside
from hares.ingest import rejected_line
from hares.reading import scan
from hares.synthesis.corpus import LAYOUTS
from hares.task import Clip, CorpusIndexError, Rejected, load_task, load_task_module, task_names

_SUFFIXES = (".csv", ".json", ".txt", ".tsv")
_SCALE = 0.02


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


def check_listing(task: str, root: Path, counts: Counter[str]) -> None:
    """Lists a task and asserts what must hold of any index: no exception, nothing unnamed, nothing outside."""
    home = os.path.realpath(root)
    with only_below(home):
        for item in scan(task, root):
            if isinstance(item, Clip):
                assert not leads_outside(home, item.path), item
                assert os.path.isfile(os.path.join(home, item.path)), item
                item.clip_id.encode()
                counts["usable"] += 1
            else:
                check_named(item)
                counts[item.reason.value] += 1
        try:
            load_task_module(task).index(root)
        except CorpusIndexError as error:
            assert str(error).startswith(f"{task}: "), error


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
