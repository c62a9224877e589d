"""The lineage page in a real browser: from a score to its source clips, two runs compared, search, keys, no network."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
from chromium import CHROMIUM, Page
from lineage_stores import StoreWriter, set_properties
from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.page.data import PageLimits, page_data
from pipeline.lineage.page.render import render_lineage_page

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian's package is chromium")
EVIL = "<script>window.evil=1</script><img src=x onerror=window.evil=1>"
RUNS = 3000


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_manifest(folder, clips):
    """A manifest's folder as ingestion leaves it: clips is {id: content}."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"sources": {"esc50": "/data/esc50"}}))
    lines = [
        json.dumps({"clip_id": name, "source": "esc50", "path": name, "sha256": digest(text), "labels": [0]})
        for name, text in clips.items()
    ]
    (folder / "clips-train-00000-of-00001.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


def add_run(writer, folder, name, clips, score, learning_rate):
    """Ingestion, training, embedding and evaluation of one run, as the components record them."""
    config = json.dumps({"training": {"learning_rate": learning_rate, "encoder": "sf_nfnet_tiny"}})
    writer.context("hares.Config", digest(config), config=config)
    facts = {
        "start": f"{name}+00:00", "status": "complete", "encoder": "sf_nfnet_tiny", "objective": "simclr",
        "git_revision": "abc", "config_digest": digest(config), "user": EVIL, "code": json.dumps({"trainer": "t1"}),
        "end": "later", "score/hares": score, "score/esc50": score, "blessed": 1,
    }  # fmt: skip
    writer.context("pipeline_run", name, **facts)
    own = {"run": name}
    manifest = writer.artifact(
        "components.AudioManifest", write_manifest(folder / name / "manifest", clips),
        content_digest=digest(str(clips)), node="ingest_esc50", **own,
    )  # fmt: skip
    examples = writer.artifact("Examples", f"/{name}/examples", node="ingest_esc50", **own)
    model = writer.artifact("Model", f"/{name}/model", node="trainer", tag=EVIL, **own)
    embeddings = writer.artifact("components.Embeddings", f"/{name}/embeddings", node="embed_esc50", **own)
    report = writer.artifact("components.ProbeReport", f"/{name}/report", node="evaluator", **own)
    writer.step(name, "ingest_esc50", [], [("examples", examples), ("manifest", manifest)])
    writer.step(name, "trainer", [("examples", examples)], [("model", model)])
    writer.step(name, "embed_esc50", [("examples", examples), ("model", model)], [("embeddings", embeddings)])
    writer.step(name, "evaluator", [("embeddings_esc50", embeddings)], [("report", report)])
    return report


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Two runs, the second with one clip changed and one added, in a browser."""
    folder = tmp_path_factory.mktemp("page")
    writer = StoreWriter()
    add_run(writer, folder, "2026-11-23T10:00:00", {"rain.wav": "one", f"{EVIL}.wav": "two"}, 0.41, 0.001)
    add_run(
        writer, folder, "2026-11-24T10:00:00",
        {"rain.wav": "changed", f"{EVIL}.wav": "two", "new.wav": "three"}, 0.47, 0.002,
    )  # fmt: skip
    text = render_lineage_page(page_data(writer.store, PageLimits()), f"store {EVIL}", "now")
    (folder / "page.html").write_text(text, encoding="utf-8")
    browser = Page(folder / "profile")
    browser.open((folder / "page.html").as_uri())
    yield browser
    browser.close()


def click(page, selector, text):
    """Clicks the first element of a kind that has a text in it."""
    found = page.run(
        f"(() => {{ const e = [...document.querySelectorAll({json.dumps(selector)})]"
        f".find((one) => one.textContent.includes({json.dumps(text)})); if (e) e.click(); return !!e; }})()"
    )
    assert found, f"no {selector} with {text!r}"


def test_from_a_score_to_the_digest_of_a_source_clip(page):
    click(page, "#tab-runs", "Runs")
    click(page, "#run button", "esc50 47.0")
    assert page.run("document.getElementById('view-graph').hidden") is False
    labels = page.run("[...document.querySelectorAll('#graph-list button')].map((b) => b.textContent)")
    kinds = {re.sub(r" \d+$", "", label) for label in labels}
    assert kinds == {
        "ProbeReport", "evaluator", "Embeddings", "embed_esc50", "Examples", "Model", "trainer", "ingest_esc50",
        "AudioManifest",
    }  # fmt: skip
    click(page, "#graph-list button", "AudioManifest")
    panel = page.run("document.getElementById('node').innerText")
    assert digest("changed") in panel and digest("three") in panel and digest("one") not in panel


def test_two_runs_are_compared_by_settings_clips_and_scores(page):
    click(page, "#tab-runs", "Runs")
    page.run("document.getElementById('runs').focus()")
    for key in (" ", "ArrowDown", " "):
        page.key(key)
    click(page, "#tab-compare", "Compare")
    text = page.run("document.getElementById('comparison').innerText")
    assert "+6.0" in text
    rows = page.run("[...document.querySelectorAll('#comparison tr')].map((r) => r.innerText.split('\\t'))")
    assert ["training.learning_rate", "0.001", "0.002"] in rows
    clips = {(row[1], row[2]) for row in rows if row[0] == "ingest_esc50"}
    assert clips == {("changed", "train rain.wav"), ("added", "train new.wav")}
    assert "No paired test in this page" in text  # these reports are on no disk


def test_search_finds_a_clip_by_its_digest_with_the_keyboard_alone(page):
    page.run("document.activeElement.blur()")
    page.key("/")
    assert page.run("document.activeElement.id") == "search"
    page.type(digest("three")[:20])
    assert page.run("document.querySelectorAll('#hits li[role=option]').length") == 1
    page.key("Enter")
    assert "new.wav" in page.run("document.querySelector('#node .clips').innerText")


def test_the_graph_is_walked_with_arrow_keys(page):
    click(page, "#tab-runs", "Runs")
    click(page, "#run button", "hares 47.0")
    page.run("document.getElementById('graph').focus()")
    page.key("ArrowLeft")
    assert page.run("document.querySelector('#node h2').textContent") == "Step evaluator"
    page.key("ArrowLeft")
    assert page.run("document.querySelector('#node h2').textContent").startswith("Embeddings")


def test_names_are_text_and_nothing_is_asked_of_a_network(page):
    assert page.run("window.evil") is None
    assert EVIL in page.run("document.getElementById('about').textContent")
    assert [address for address in page.requests if not address.startswith("file:")] == []
    assert len(page.requests) == 1
    assert page.errors == []


def test_the_page_is_as_wide_as_a_telephone(page):
    page.ask("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    for tab in ("runs", "graph", "compare"):
        page.run(f"document.getElementById('tab-{tab}').click()")
        assert page.run("document.documentElement.scrollWidth") <= 390, tab
    page.ask("Emulation.clearDeviceMetricsOverride")


def test_thousands_of_runs_are_all_there_and_few_are_drawn(tmp_path, record_property):
    writer = StoreWriter()
    writer.context("pipeline_run", "first")
    type_id = writer.store.get_context_type("pipeline_run").id
    contexts = []
    for number in range(RUNS):
        context = pb.Context(type_id=type_id, name=f"run-{number:05d}")
        set_properties(
            context,
            {"start": f"2026-01-01T00:00:00.{number:05d}", "end": "later", "status": "complete",
             "encoder": f"encoder-{number % 7}", "score/hares": 0.3 + number / (3 * RUNS)},
        )  # fmt: skip
        contexts.append(context)
    writer.store.put_contexts(contexts)
    text = render_lineage_page(page_data(writer.store, PageLimits(graphs=0)), "many", "now")
    (tmp_path / "many.html").write_text(text, encoding="utf-8")
    browser = Page(tmp_path / "profile")
    try:
        browser.open((tmp_path / "many.html").as_uri())
        record_property("milliseconds", browser.run("document.documentElement.dataset.ready"))
        assert browser.run("document.querySelectorAll('#chart circle').length") == RUNS
        assert browser.run("document.querySelectorAll('#runs .row').length") < 60
        browser.run("document.getElementById('runs').focus()")
        browser.key("End")
        assert browser.run("document.querySelector('#runs .row.now').textContent").startswith("first")
    finally:
        browser.close()
