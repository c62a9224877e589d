"""The report page in a real browser, with a script in every name that comes from files: all of it stays text."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hares.benchmark import CorpusSummary, build_report
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.protocol import ProtocolSettings
from hares.report import write_report
from hares.scoring import score_task
from hares.task import Slot, load_task, task_names
from kits.chromium import CHROMIUM, QUIET

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian's package is chromium")
SETTINGS = ProtocolSettings(name="quick", max_steps=20, bootstrap_resamples=20, probe_seeds=1)
MARK = "window-was-reached"


def evil(where: str) -> str:
    """A name that would run a script as text, as an attribute's value with either quote, or in a comment."""
    do = f"document.title='{MARK}'"
    return (
        f'{where}--><script>{do}</script><img src=x onerror="{do}">"\' onmouseover="{do}" autofocus '
        f'onfocus="{do}" x=\'</style></title></svg><svg onload="{do}">'
    )


def embeddings() -> TaskEmbeddings:
    random = np.random.default_rng(0)
    index = np.arange(60)
    truth = index % 3
    points = np.eye(3)[truth] + random.normal(size=(60, 3))
    splits = tuple("train" if i < 30 else "test" for i in index)
    return TaskEmbeddings(
        points.astype(np.float32), index, np.asarray([s == "test" for s in splits], np.int8), index,
        np.ones(60, np.float32), tuple(evil(f"clip {i}") for i in index), splits,
        tuple(evil(f"group {i}") for i in index), tuple((int(label),) for label in truth),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("untrusted")
    task = load_task("tut18")
    slots = (Slot(evil("slot"), tuple(evil(name) for name in task.slots[0].classes)),)
    leak = {
        "verdict": "leak", "clips_checked": 9, "contents_checked": 9, "shared_clips": 3, "shared_groups": 1,
        "groups_promised": True, "shared_by_design": "", "groups_by_design": 0,
        "examples": [{"what": "clip", "clip": evil("leaked"), "split": "test", "group": evil("of group")}],
    }  # fmt: skip
    source = CorpusSummary(30, {"absent": 2, evil("reason"): 1}, False, (evil("deviation"),), 62, 60, leak)
    scores = {"tut18": score_task(task, slots, embeddings(), SETTINGS)}
    scores["tut18"] = replace(scores["tut18"], deviations=(evil("of the score"),))
    encoder = {
        "name": evil("encoder"),
        "spec": evil("spec"),
        "digest": evil("digest"),
        evil("key"): evil("value"),
    }
    made = build_report(
        [load_task(name) for name in task_names()], scores, {}, {"tut18": source}, SETTINGS, encoder
    )
    predictions = {name: score.predictions for name, score in scores.items()}
    write_report(made, predictions, folder, lambda _, ids: {i: np.ones(16_000, np.int16) for i in ids})
    return folder / "report.html"


def browse(page: Path, profile: Path) -> str:
    """The DOM after loading."""
    return subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={profile}", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip


def title(dom: str) -> str:
    found = re.search("<title>(.*?)</title>", dom, re.DOTALL)
    return "" if found is None else found[1]


def test_a_page_that_does_not_escape_would_be_caught(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(f"<!doctype html><title>t</title><p>{evil('name')}")
    assert title(browse(page, tmp_path / "profile")) == MARK


@pytest.mark.parametrize("policy", ["its own", "none"])
def test_names_in_the_report_are_text(report: Path, tmp_path: Path, policy: str) -> None:
    """Also without the page's security policy, which would stop what the escaping let through."""
    text = report.read_text(encoding="utf-8")
    if policy == "none":
        text, removed = re.subn(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", text)
        assert removed == 1
    page = tmp_path / "page.html"
    page.write_text(text, encoding="utf-8")
    dom = browse(page, tmp_path / "profile")
    for where in ("encoder", "clip", "deviation", "leaked", "reason"):
        assert f"{where}" in dom and "--&gt;&lt;script&gt;" in dom
    assert title(dom) != MARK and "--&gt;&lt;script&gt;" in title(dom)
    found = _Elements()
    found.feed(dom)
    assert len(found.seen) > 50
    assert not [(tag, attributes) for tag, attributes in found.seen if not _harmless(tag, attributes)]


class _Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def _harmless(tag: str, attributes: dict[str, str | None]) -> bool:
    """No element or attribute of a name's making: the page has no script, no handler and only inline pictures."""
    inline = (attributes.get("src") or "data:").startswith("data:")
    return tag != "script" and inline and not [name for name in attributes if name.startswith("on")]
