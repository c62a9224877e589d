"""`hares lineage page` in a real browser, with a script in every name, tag, property and clip that the store holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from cli.main import hares
from kits.chromium import CHROMIUM, Page
from kits.lineage_stores import StoreWriter

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; Debian's package is chromium")


def evil(where: str) -> str:
    """A name that would run a script as text, in a script's string, or as an attribute's value."""
    do = "window.evil=1"
    return (
        f"{where}</script><script>{do}</script><!--<script><img src=x onerror={do}>\"' autofocus onfocus={do} "
        f"x='`${{{do}}}\\"
    )


def write_store(folder: Path) -> Path:
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(folder / "metadata.sqlite")
    config.sqlite.connection_mode = 3
    writer = StoreWriter(MetadataStore(config))
    run, own = evil("run"), {"run": evil("run"), "tag": evil("tag"), "name": evil("name")}
    settings = json.dumps({"training": {"encoder": evil("encoder"), evil("key"): evil("value")}})
    writer.context("hares.Config", evil("digest"), config=settings)
    writer.context(
        "pipeline_run", run, start=evil("start"), end=evil("end"), status=evil("status"), user=evil("user"),
        encoder=evil("encoder"), objective=evil("objective"), config_digest=evil("digest"),
        code=json.dumps({"trainer": evil("code")}), git_revision=evil("git"), **{"score/hares": 0.5},
    )  # fmt: skip
    manifest = folder / "manifest"
    manifest.mkdir()
    (manifest / "manifest.json").write_text(json.dumps({"sources": {"esc50": evil("source")}}))
    clip = {
        "clip_id": evil("clip"),
        "source": "esc50",
        "path": evil("path"),
        "sha256": evil("s"),
        "labels": [0],
    }
    (manifest / "clips-train-00000-of-00001.jsonl").write_text(json.dumps(clip) + "\n")
    listed = writer.artifact("components.AudioManifest", str(manifest), node=evil("node"), **own)
    model = writer.artifact("Model", evil("/uri"), node=evil("node"), **own)
    report = writer.artifact("components.ProbeReport", evil("/report"), node=evil("node"), **own)
    writer.step(run, evil("ingest"), [], [("manifest", listed)])
    writer.step(
        run, evil("trainer"), [("manifest", listed)], [(evil("model"), model)], settings=evil("of a step")
    )
    writer.step(run, evil("evaluator"), [(evil("model"), model)], [("report", report)])
    return folder / "metadata.sqlite"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path / "profile")
    yield page
    page.close()


def test_names_on_the_page_are_text(tmp_path: Path, browser: Page) -> None:
    control = tmp_path / "control.html"
    control.write_text(f"<!doctype html><html data-ready=1><p>{evil('name')}")
    browser.open(control.as_uri())
    assert browser.run("window.evil") == 1  # what the page is held against can be seen
    output = tmp_path / "page.html"
    done = CliRunner().invoke(
        hares,
        [
            "lineage",
            "page",
            "--output",
            str(output),
            "--workspace",
            str(tmp_path),
            "--metadata",
            str(write_store(tmp_path)),
        ],
    )
    assert done.exit_code == 0, done.output
    browser.open(output.as_uri())
    # Everything that can be pressed, twice, so that what opens is pressed too.
    for _ in range(2):
        browser.run("document.querySelectorAll('button, [role=tab], summary').forEach((one) => one.click())")
    assert browser.run("window.evil ?? null") is None
    assert browser.run("document.querySelectorAll('img[src=x], [onerror], [onfocus]').length") == 0
    # The names are there: it is not an empty page that is harmless.
    assert browser.run("document.body.textContent.includes('</script><script>window.evil=1</script>')")
