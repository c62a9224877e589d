"""The page in a real browser: what it shows, at two widths, and that it asks for nothing from outside."""

from __future__ import annotations

import io
import re
import subprocess

import numpy as np
import pytest
from PIL import Image

from hares.benchmark import CorpusSummary, build_report
from hares.embedding.task_embeddings import TaskEmbeddings
from hares.protocol import ProtocolSettings
from hares.report import percent, write_report
from hares.report.page import render_page
from hares.report.runs import load_run
from hares.report.spectrogram import spectrogram_png
from hares.scoring import score_task
from hares.task import load_task, task_names
from kits.chromium import CHROMIUM, QUIET

pytestmark = pytest.mark.slow

NAMES = ("tut18", "magnatagatune", "voxceleb1")
SETTINGS = ProtocolSettings(
    name="quick", max_steps=40, learning_rate=5e-2, bootstrap_resamples=60, probe_seeds=2
)
LEAK = {
    "verdict": "leak", "clips_checked": 9, "contents_checked": 9, "shared_clips": 3, "shared_groups": 0,
    "groups_promised": True, "shared_by_design": "", "groups_by_design": 0,
    "examples": [{"what": "clip", "clip": "twice.wav", "split": "test", "group": ""}],
}  # fmt: skip


def embeddings(task, seed, noise):
    random = np.random.default_rng(seed)
    truth = np.random.default_rng(0).integers(0, 3, 90)
    index = np.arange(90)
    points = np.eye(3)[truth] + noise * random.normal(size=(90, 3))
    splits = tuple("train" if i < 45 else "test" for i in index)
    return TaskEmbeddings(
        points.astype(np.float32), index, np.asarray([s == "test" for s in splits], np.int8), index,
        np.ones(90, np.float32), tuple(f"clip {i}.wav" for i in index), splits, ("",) * 90,
        tuple((int(label),) for label in truth),
    )  # fmt: skip


def tone(_, clip_ids):
    return {clip: (8000 * np.sin(np.arange(16_000) * 0.3)).astype(np.int16) for clip in clip_ids}


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of one run, and of two side by side."""
    folder = tmp_path_factory.mktemp("reports")
    for name, noise in (("better", 0.5), ("worse", 1.5)):
        scores = {
            n: score_task(load_task(n), load_task(n).slots, embeddings(n, 1, noise), SETTINGS) for n in NAMES
        }
        sources = {
            n: CorpusSummary(45, {"absent": 2}, True, (), 92, 90, LEAK if n == "tut18" else None)
            for n in NAMES
        }
        report = build_report(
            [load_task(n) for n in task_names()],
            scores,
            {},
            sources,
            SETTINGS,
            {"name": f"the {name} encoder"},
        )
        write_report(report, {n: s.predictions for n, s in scores.items()}, folder / name, tone)
    runs = [load_run(folder / name, name) for name in ("better", "worse")]
    (folder / "both.html").write_text(render_page(runs))
    return folder, runs


def browse(page, width, tmp_path):
    """The page's DOM after loading, a picture of it, and what the browser logged."""
    if CHROMIUM is None:
        pytest.skip("no chromium on the PATH; install Debian's package to see the page as a reader does")
    picture, log = tmp_path / f"{width}.png", tmp_path / f"{width}.json"
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / f'profile{width}'}", f"--log-net-log={log}",
         "--net-log-capture-mode=Default", f"--window-size={width},1600", f"--screenshot={picture}",
         "--enable-logging=stderr", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return done.stdout, Image.open(picture), log.read_text(), done.stderr


def hosts_asked(log):
    """Hosts that were asked for, but for those of the browser's own clock and updates."""
    hosts = set(re.findall(r'"url":"(?:https?|wss?|ftp)://([^/"]+)', log))
    return {host for host in hosts if not host.endswith((".google.com", ".googleapis.com"))}


def test_a_page_that_loads_something_would_be_caught(tmp_path):
    page = tmp_path / "loading.html"
    page.write_text('<!doctype html><img src="http://elsewhere.invalid/picture.png"><p>text</p>')
    _, _, log, _ = browse(page, 390, tmp_path)
    assert hosts_asked(log) == {"elsewhere.invalid"}


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_the_scores_and_loads_nothing(pages, tmp_path, width):
    folder, runs = pages
    dom, picture, log, console = browse(folder / "better" / "report.html", width, tmp_path)
    assert picture.size[0] == width
    assert len(set(picture.convert("RGB").resize((64, 80)).getdata())) > 20  # not an empty page
    report = runs[0].report
    for name in NAMES:
        entry = report["tasks"][name]
        low, high = entry["interval"]
        assert entry["title"] in dom
        assert f"{percent(low)} to {percent(high)}" in dom
        assert f'<td data-label="Score">{percent(entry["value"])}</td>' in dom
        assert "clip" in dom
    assert "3 of 12 tasks are scored" in " ".join(dom.split())
    assert "3 clips, 0 groups on both sides" in dom and "twice.wav" in dom
    assert dom.count("<svg") > 20 and 'class="matrix"' in dom
    assert dom.count('src="data:image/png;base64,') >= 3
    # The browser reached for nothing but the file: no request to any host, and no policy was broken.
    assert not hosts_asked(log)
    assert "Content Security Policy" not in console
    assert not re.findall(r'(?:src|href|action)="(?!data:image/png;base64,)', dom)


def test_two_runs_side_by_side(pages, tmp_path):
    folder, runs = pages
    dom, *_ = browse(folder / "both.html", 1280, tmp_path)
    assert "worse against better" in dom
    text = " ".join(dom.split())
    difference = runs[1].report["tasks"]["tut18"]["value"] - runs[0].report["tasks"]["tut18"]["value"]
    assert f'<td data-label="Difference">{100 * difference:+.1f}</td>' in text
    for table in ("Table 4", "Table 6", "Table 7", "Table 8", "Table 9"):
        assert table in dom


def test_the_page_forbids_itself_the_network(pages):
    folder, _ = pages
    for page in (folder / "better" / "report.html", folder / "both.html"):
        policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
        assert f'http-equiv="Content-Security-Policy" content="{policy}"' in page.read_text()
        assert not re.search(r"url\(|@import|https?://|<script", page.read_text())


def test_spectrogram_shows_a_tone_where_it_is():
    picture = Image.open(io.BytesIO(spectrogram_png(tone("", ["x"])["x"]))).convert("L")
    rows = np.asarray(picture, float).mean(axis=1)
    hertz = 0.3 * 16_000 / (2 * np.pi)
    mel = 2595 * np.log10(1 + hertz / 700) / (2595 * np.log10(1 + 8000 / 700))
    assert 63 - rows.argmax() == pytest.approx(mel * 65 - 1, abs=1)
    assert Image.open(io.BytesIO(spectrogram_png(np.zeros(50, np.int16)))).size[1] == 64
