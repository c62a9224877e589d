"""The lineage page in a real browser: from a score to its source clips, two runs compared, search, keys, no network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.chromium import CHROMIUM, Page
from kits.lineage_pages import RunWriter, digest
from kits.lineage_stores import StoreWriter, set_properties
from pipeline.lineage.diff import diff, paired_scores
from pipeline.lineage.page.data import PageLimits, page_data
from pipeline.lineage.page.render import render_lineage_page
from pipeline.lineage.runs import find_run
from pipeline.lineage.targets import find_target
from pipeline.lineage.trace import trace

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian's package is chromium"),
    pytest.mark.slow,
]
EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1>@DATA@@LINEAGE@@SCRIPTS@"
RUNS = 3000
OLD, FIRST, SECOND = "2026-11-22T10:00:00", "2026-11-23T10:00:00", "2026-11-24T10:00:00"
LANGUAGES = {"de.wav": "guten tag", "no text \udc80.wav": "bonjour"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> MetadataStore:
    """Three runs. The third has one clip changed, one added, one gone; the first one's report is not on the disk."""
    runs = RunWriter(tmp_path_factory.mktemp("store"))
    before = {"rain.wav": "one", "old.wav": "four", f"{EVIL}.wav": "two"}
    after = {"rain.wav": "changed", "new.wav": "three", f"{EVIL}.wav": "two"}
    runs.add(OLD, {"esc50": before, "voxforge": LANGUAGES}, None, user=EVIL)
    runs.add(FIRST, {"esc50": before, "voxforge": LANGUAGES}, 0.4, user=EVIL)
    runs.add(SECOND, {"esc50": after, "voxforge": LANGUAGES}, 0.75, 0.002, encoder=EVIL)
    return runs.writer.store


@pytest.fixture(scope="module")
def page(store: MetadataStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    text = render_lineage_page(page_data(store, PageLimits()), f"store {EVIL}", "now")
    (folder / "page.html").write_text(text, encoding="utf-8", errors="backslashreplace")
    browser = Page(folder / "profile")
    browser.open((folder / "page.html").as_uri())
    yield browser
    browser.close()


def click(page: Page, selector: str, text: str) -> None:
    """Clicks the first element of a kind that has a text in it."""
    found = page.run(
        f"(() => {{ const e = [...document.querySelectorAll({json.dumps(selector)})]"
        f".find((one) => one.textContent.includes({json.dumps(text)})); if (e) e.click(); return !!e; }})()"
    )
    assert found, f"no {selector} with {text!r}"


def focused(page: Page) -> str:
    return str(page.run("document.activeElement.id"))


def choose_run(page: Page, name: str) -> None:
    click(page, "#tab-runs", "Runs")
    page.run("document.getElementById('runs').focus()")
    page.key("Home")
    while page.run("document.querySelector('#runs .row.now').textContent").startswith(name[:10]) is False:
        page.key("ArrowDown")
    page.key("Enter")


def compare(page: Page, first: str, second: str) -> list[list[str]]:
    """The cells of every table of the comparison."""
    click(page, "#tab-compare", "Compare")
    for field, run in (("first", first), ("second", second)):
        page.run(f"document.getElementById('{field}').value = '{run}'")
    page.run("document.getElementById('second').dispatchEvent(new Event('change'))")
    rows: list[list[str]] = page.run(
        "[...document.querySelectorAll('#comparison tr')].map((r) => [...r.children].map((c) => c.textContent))"
    )
    return rows


def test_from_a_score_to_the_digest_of_a_source_clip_by_clicks(page: Page) -> None:
    choose_run(page, SECOND)
    click(page, "#run button", "esc50 75.0")
    assert page.run("document.getElementById('view-graph').hidden") is False
    click(page, "#graph-list button", "AudioManifest")
    panel = page.run("document.getElementById('node').innerText")
    assert digest("changed") in panel and digest("three") in panel
    assert digest("one") not in panel and digest("guten tag") not in panel


def graph_nodes(page: Page) -> set[str]:
    return set(page.run("[...document.querySelectorAll('#graph-list button')].map((b) => b.textContent)"))


@pytest.mark.parametrize("score", ["hares", "speech", "environment", "esc50", "voxforge"])
def test_the_graph_of_a_score_is_what_trace_finds(page: Page, store: MetadataStore, score: str) -> None:
    found = trace(store, find_target(store, score, SECOND))
    artifacts = {a.id: a for a in (*found.graph.artifacts.values(), *found.manifests)}
    expected = {f"{a.type.removeprefix('components.')} {a.id}" for a in artifacts.values()}
    choose_run(page, SECOND)
    click(page, "#run button", f"{score} 75.0")
    assert graph_nodes(page) == expected | {step.node for step in found.steps}
    # By hand: the model was trained on esc50's clips, so those are behind every score.
    assert len(expected) == {"hares": 8, "speech": 7, "voxforge": 7}.get(score, 5)


def test_a_node_opens_its_properties_and_what_was_made_from_it(page: Page) -> None:
    choose_run(page, SECOND)
    click(page, "#run button", "hares 75.0")
    click(page, "#graph-list button", "Model")
    panel = page.run("document.getElementById('node').innerText")
    assert EVIL in panel and '"loss": "nan"' in panel
    click(page, "#node button", "Show where it came from")
    assert not any(name.startswith("ProbeReport") for name in graph_nodes(page))
    page.run("document.getElementById('after').click()")
    assert any(name.startswith("ProbeReport") for name in graph_nodes(page))
    page.run("document.getElementById('after').click()")


def test_a_comparison_says_what_the_diff_command_says(page: Page, store: MetadataStore) -> None:
    rows = compare(page, FIRST, SECOND)
    assert ["training.learning_rate", "0.001", "0.002"] in rows
    clips = {tuple(row[1:4]) for row in rows if row[0] == "ingest_esc50"}
    assert clips == {
        ("changed", "train", "rain.wav"), ("added", "train", "new.wav"), ("removed", "train", "old.wav"),
    }  # fmt: skip
    found = paired_scores(diff(store, find_run(store, FIRST), find_run(store, SECOND)))
    paired = {row["name"].lower(): row["paired"] for row in found}
    for name in ("hares", "environment", "esc50", "voxforge"):
        test = paired[name]
        (shown,) = [row for row in rows if row[0] == name]
        interval = " to ".join(f"{100 * test[end]:+.1f}" for end in ("low", "high"))
        assert shown[1:] == ["40.0", "75.0", "+35.0", interval, f"{test['p_value']:.3f}"]
    # Of 40 clips the second has 14 more right and none less: the same figure by hand, without a bootstrap.
    error = (0.35 * 0.65 / 40) ** 0.5
    assert paired["esc50"]["high"] - paired["esc50"]["low"] == pytest.approx(2 * 2.02 * error, rel=0.1)


def test_a_comparison_the_other_way_round_is_turned_round(page: Page) -> None:
    there, back = compare(page, FIRST, SECOND), compare(page, SECOND, FIRST)
    for rows, word in ((there, "added"), (back, "removed")):
        assert [row[1] for row in rows if row[0] == "ingest_esc50" and row[3] == "new.wav"] == [word]
    (forth,), (turned,) = ([row for row in rows if row[0] == "esc50"] for rows in (there, back))
    assert turned[1:4] == ["75.0", "40.0", "−35.0"] and turned[5] == forth[5]
    low, high = forth[4].split(" to ")
    assert turned[4] == f"{high} to {low}".replace("+", "−")


def test_runs_without_reports_are_compared_as_far_as_the_page_goes(page: Page) -> None:
    rows = compare(page, OLD, SECOND)
    text = page.run("document.getElementById('comparison').innerText")
    assert f"hares lineage diff {OLD} {SECOND}" in text
    assert {row[1] for row in rows if row[0] == "ingest_esc50"} == {"changed", "added", "removed"}
    assert "The same settings" in (compare(page, OLD, FIRST) and page.run("document.body.innerText"))


def test_clips_that_a_page_does_not_hold_are_not_guessed_at(store: MetadataStore, tmp_path: Path) -> None:
    text = render_lineage_page(page_data(store, PageLimits(clips=5, paired=0)), "", "")
    (tmp_path / "page.html").write_text(text, encoding="utf-8", errors="backslashreplace")
    browser = Page(tmp_path / "profile")
    try:
        browser.open((tmp_path / "page.html").as_uri())
        assert not any(row[0] == "ingest_esc50" for row in compare(browser, FIRST, SECOND))
        told = browser.run("document.getElementById('comparison').innerText")
        assert "Not all clips of ingest_esc50 are in this page" in told and "The same clips" not in told
    finally:
        browser.close()


def test_search_finds_runs_artifacts_and_clips_with_the_keyboard_alone(page: Page) -> None:
    page.run("document.activeElement.blur()")
    for text, hits in ((digest("three")[:20], 1), (FIRST, 9), ("no such thing", 0)):
        page.key("/")
        assert focused(page) == "search"
        page.type(text)
        assert page.run("document.querySelectorAll('#hits li[role=option]').length") >= hits, text
        if not hits:
            assert "Nothing has this in it" in page.run("document.getElementById('hits').innerText")
        page.key("Enter" if hits else "Escape")
        assert page.run("document.getElementById('hits').hidden") is True
        if hits == 1:
            assert "new.wav" in page.run("document.querySelector('#node .clips').innerText")
        elif hits:
            assert page.run("document.querySelector('#run h2').textContent") == f"Run {FIRST}"
            assert focused(page) == "runs"


def test_the_graph_is_walked_with_arrow_keys_and_zoomed(page: Page) -> None:
    choose_run(page, SECOND)
    click(page, "#run button", "esc50 75.0")
    assert focused(page) == "graph"
    back = "ArrowUp"
    page.key(back)
    if page.run("document.querySelector('#node h2').textContent") != "Step evaluator":
        back = "ArrowLeft"
        page.key(back)
    assert page.run("document.querySelector('#node h2').textContent") == "Step evaluator"
    seen = []
    for _ in range(3):
        page.key(back)
        seen.append(page.run("document.querySelector('#node h2').textContent"))
    assert seen[0].startswith(("Embeddings", "AudioManifest", "Examples", "Model")) and len(set(seen)) > 1
    page.key("Enter")
    assert focused(page) == "node"


def test_rows_are_sorted_and_marked_with_the_keyboard(page: Page) -> None:
    choose_run(page, SECOND)
    page.run("document.querySelectorAll('#runs .head button')[3].focus()")
    for expected in ("descending", "ascending"):
        page.key("Enter", "\r")
        assert (
            page.run("document.querySelectorAll('#runs .head [role=columnheader]')[4].ariaSort") == expected
        )
        scores = page.run(
            "[...document.querySelectorAll('#runs [aria-rowindex] .number')].map((c) => c.innerText)"
        )
        assert scores == sorted(scores, reverse=expected == "descending")
    page.run("document.querySelector('#runs .head button').click()")
    page.run("document.getElementById('runs').focus()")
    for key in ("Home", " ", "ArrowDown", " "):
        page.key(key)
    click(page, "#runs-note button", "Compare them")
    assert page.run("document.getElementById('first').value") == FIRST
    assert page.run("document.getElementById('second').value") == SECOND


def test_every_control_is_reached_by_tab_and_shows_that_it_has_the_focus(page: Page) -> None:
    choose_run(page, SECOND)
    page.run("document.getElementById('search').focus()")
    reached = []
    for _ in range(16):
        reached.append(
            page.run("document.activeElement.id || document.activeElement.textContent.split(' ')[0]")
        )
        outline = page.run("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", reached[-1]
        page.key("Tab")
    assert reached[:3] == ["search", "tab-runs", "score"]
    # The list is one stop; then the heads of its columns, of which one is the score, and the run's scores.
    assert [name for name in reached if name in ("runs", "hares", "esc50")] == [
        "runs",
        "hares",
        "hares",
        "esc50",
    ]


def test_names_are_text_and_nothing_is_asked_of_a_network(page: Page) -> None:
    assert page.run("window.evil") is None
    assert EVIL in page.run("document.getElementById('about').textContent")
    assert page.requests == [address for address in page.requests if address.startswith("file:")]
    assert len(page.requests) == 1
    assert page.errors == []


def test_a_page_that_asked_for_something_would_be_caught(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<!doctype html><html data-ready=1><img src='http://elsewhere.invalid/x.png'><script>nothing()</script>"
    )
    browser = Page(tmp_path / "profile")
    try:
        browser.open((tmp_path / "page.html").as_uri())
        browser.run("1")
        assert "http://elsewhere.invalid/x.png" in browser.requests
        assert browser.errors
    finally:
        browser.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_as_wide_as_a_telephone(page: Page, scheme: str) -> None:
    page.ask("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for tab in ("runs", "graph", "compare"):
        page.run(f"document.getElementById('tab-{tab}').click()")
        assert page.run("document.documentElement.scrollWidth") <= 390, tab
    back = page.run("getComputedStyle(document.body).backgroundColor")
    assert back == {"light": "rgb(255, 255, 255)", "dark": "rgb(15, 19, 24)"}[scheme]
    page.ask("Emulation.clearDeviceMetricsOverride")
    page.ask("Emulation.setEmulatedMedia", features=[])


def test_thousands_of_runs_are_all_there_and_few_are_drawn(tmp_path: Path) -> None:
    writer = StoreWriter()
    writer.context("pipeline_run", "first")
    type_id = writer.store.get_context_type("pipeline_run").id
    contexts = []
    for number in range(RUNS):
        context = pb.Context(type_id=type_id, name=f"run-{number:05d}")
        facts: dict[str, Any] = {
            "start": f"2026-01-01T00:00:00.{number:05d}", "end": "later", "status": "complete",
            "encoder": f"encoder-{number % 7}", "score/hares": 0.3 + number / (3 * RUNS),
        }  # fmt: skip
        set_properties(context, facts)
        contexts.append(context)
    writer.store.put_contexts(contexts)
    text = render_lineage_page(page_data(writer.store, PageLimits(graphs=0)), "many", "now")
    (tmp_path / "many.html").write_text(text, encoding="utf-8")
    browser = Page(tmp_path / "profile")
    try:
        browser.open((tmp_path / "many.html").as_uri())
        assert browser.run("document.querySelectorAll('#chart circle:not(.now)').length") == RUNS
        assert 10 < browser.run("document.querySelectorAll('#runs .row').length") < 60
        browser.run("document.getElementById('runs').focus()")
        browser.key("End")
        assert browser.run("document.querySelector('#runs .row.now').textContent").startswith("first")
        assert browser.run("document.querySelectorAll('#runs .row').length") < 60
    finally:
        browser.close()
