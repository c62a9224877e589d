"""What the lineage page is made of: what it holds and leaves out, what it never holds, and how it is served."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ml_metadata.metadata_store import MetadataStore

from cli.commands.lineage import command
from cli.errors import CommandError, ExitCode
from kits.lineage_pages import RunWriter
from kits.lineage_stores import StoreWriter
from pipeline.lineage.connection import PASSWORD_VARIABLE, sqlite_config
from pipeline.lineage.graph import upstream
from pipeline.lineage.page import render
from pipeline.lineage.page.data import PageLimits, Values, artifact_row, page_data, step_row
from pipeline.lineage.page.render import finite
from pipeline.lineage.trace import artifact_data, step_data

PROJECT = Path(__file__).resolve().parents[2]
CANARY = "canary-7f3b"
VENDOR = PROJECT / "pipeline" / "lineage" / "page" / "vendor"


@pytest.fixture
def runs(tmp_path: Path) -> RunWriter:
    """Two runs in a SQLite store: 3 and 30 clips, of which the second run changed one and added one of the few."""
    few = {"a.wav": "1", "b.wav": "2", "c.wav": "3"}
    many = {f"{number}.wav": str(number) for number in range(30)}
    store = MetadataStore(sqlite_config(tmp_path / "metadata.sqlite"))
    writer = RunWriter(tmp_path / "artifacts", StoreWriter(store))
    writer.add("2026-11-23", {"esc50": few, "voxforge": many}, 0.5)
    writer.add("2026-11-24", {"esc50": {**few, "a.wav": "9", "d.wav": "4"}, "voxforge": many}, 0.6)
    return writer


def unpacked(row: list[int], values: list[Any]) -> dict[Any, Any]:
    return {values[name]: values[value] for name, value in zip(row[::2], row[1::2], strict=True)}


def test_rows_hold_what_the_trace_prints(runs: RunWriter) -> None:
    store = runs.writer.store
    graph = upstream(store, [max(a.id for a in store.get_artifacts())])
    values = Values()
    for artifact in graph.artifacts.values():
        expected = artifact_data(artifact)
        number, kind, uri, own = artifact_row(artifact, values)
        assert number == expected["id"]
        assert [values.all[kind], values.all[uri]] == [expected["type"], expected["uri"]]
        assert json.dumps(unpacked(own, values.all)) == json.dumps(expected["properties"])
    for step in graph.steps.values():
        expected = step_data(step, "a node", "a run")
        number, *texts, inputs, outputs, own = step_row(step, "a node", "a run", values)
        assert number == expected["execution"]
        assert [values.all[i] for i in texts] == [expected[n] for n in ("node", "run", "type", "state")]
        for links, side in ((inputs, "inputs"), (outputs, "outputs")):
            pairs = zip(links[::2], links[1::2], strict=True)
            assert [{"name": values.all[name], "artifact": i} for name, i in pairs] == expected[side]
        assert unpacked(own, values.all) == expected["properties"]


def test_values_that_python_calls_equal_are_kept_apart() -> None:
    values = Values()
    given = [1, 1.0, True, "1", [1], {"a": 1, "b": 2}]
    assert [values.place(value) for value in given] == list(range(6))
    assert values.place({"b": 2, "a": 1}) == 5 and values.place("1") == 3
    assert json.dumps(values.all) == json.dumps(given)


def test_what_json_has_no_number_for_is_a_text() -> None:
    found = finite({"a": [float("nan"), (float("-inf"), 0.5)], "b": "nan"})
    assert found == {"a": ["nan", ["-inf", 0.5]], "b": "nan"}


def clips_of(data: Mapping[str, Any]) -> list[tuple[int, str]]:
    return sorted((len(found["clips"]), found["note"]) for found in data["lineage"]["clips"].values())


def test_small_manifests_are_whole_and_large_ones_share_what_is_left(runs: RunWriter) -> None:
    whole = page_data(runs.writer.store, PageLimits())
    assert clips_of(whole) == [(3, ""), (4, ""), (30, ""), (30, "")]
    cut = clips_of(page_data(runs.writer.store, PageLimits(clips=27)))
    assert [count for count, _ in cut] == [3, 4, 10, 10]
    assert [note for _, note in cut[:2]] == ["", ""] and all("The first 10" in note for _, note in cut[2:])


def test_neighbours_name_the_clips_that_differ_even_where_a_page_holds_none(runs: RunWriter) -> None:
    (pair,) = page_data(runs.writer.store, PageLimits(graphs=0, clips=0))["pairs"]
    assert [row[:4] for row in pair["clips"]] == [
        ["ingest_esc50", "changed", "train", "a.wav"],
        ["ingest_esc50", "added", "train", "d.wav"],
    ]


def test_a_page_holds_the_newest_and_says_so(runs: RunWriter) -> None:
    data = page_data(runs.writer.store, PageLimits(runs=5, graphs=1, paired=1))
    assert [(run["id"], run["artifacts"] is None) for run in data["runs"]] == [
        ("2026-11-24", False),
        ("2026-11-23", True),
    ]
    assert data["pairs"] == [] and len(data["configs"]) == 1
    assert len(page_data(runs.writer.store, PageLimits(runs=1))["runs"]) == 1


def test_manifests_and_reports_that_are_gone_are_no_error(runs: RunWriter, tmp_path: Path) -> None:
    (tmp_path / "artifacts").rename(tmp_path / "elsewhere")
    data = page_data(runs.writer.store, PageLimits())
    assert data["pairs"] == []
    assert all(count == 0 and "Not read" in note for count, note in clips_of(data))


def test_an_empty_store_has_a_page() -> None:
    data = page_data(StoreWriter().store, PageLimits())
    assert data["runs"] == [] and "<html" in render.render_lineage_page(data, "empty", "now")


def hares(*arguments: str) -> Any:
    return CliRunner().invoke(command, ["page", *arguments])


def test_no_password_is_on_the_page(runs: RunWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `test_lineage_servers` asks of a page from a server's store; here the environment alone has one."""
    monkeypatch.setenv(PASSWORD_VARIABLE, CANARY)
    output = tmp_path / "deep" / "page.html"
    done = hares("--output", str(output), "--metadata", str(tmp_path / "metadata.sqlite"))
    assert done.exit_code == 0 and str(output) in done.output, done.output
    assert CANARY not in output.read_text(encoding="utf-8") + done.output
    assert sorted(path.name for path in output.parent.iterdir()) == ["page.html"]


def test_the_page_carries_its_own_policy_and_the_libraries_licences(runs: RunWriter) -> None:
    text = render.render_lineage_page(page_data(runs.writer.store, PageLimits()), "store", "now")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe-eval" not in policy
    assert not re.search(r"@(?:POLICY|STYLE|DATA|LINEAGE|SCRIPTS)@", text)
    assert not re.search(r"""(?:src|href)=["']|url\(|@import""", text.split("<script")[0])
    for name in ("cytoscape", "dagre"):
        licence = (VENDOR / f"{name}.LICENSE").read_text(encoding="utf-8")
        assert "copyright notice and this permission notice" in " ".join(licence.split())
        assert licence in text


def test_what_the_command_cannot_do_is_one_line_and_a_code(tmp_path: Path) -> None:
    assert hares("--output", "x", "--serve").exit_code == hares().exit_code == 2
    missing = hares("--output", str(tmp_path / "x.html"), "--workspace", str(tmp_path / "none"))
    assert isinstance(missing.exception, CommandError) and missing.exception.code == ExitCode.DATA
    assert not (tmp_path / "x.html").exists()
    (tmp_path / "file").touch()
    MetadataStore(sqlite_config(tmp_path / "empty.sqlite")).get_context_types()
    place = ["--metadata", str(tmp_path / "empty.sqlite")]
    unwritable = hares("--output", str(tmp_path / "file" / "x.html"), *place)
    assert isinstance(unwritable.exception, CommandError) and "file" in str(unwritable.exception)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = hares("--serve", "--port", str(taken.getsockname()[1]), *place)
    assert isinstance(refused.exception, CommandError) and "--port" in str(refused.exception)


def test_a_served_page_is_read_anew_at_every_load(runs: RunWriter, tmp_path: Path) -> None:
    store = str(tmp_path / "metadata.sqlite")
    server = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "lineage", "page", "--serve", "--port", "0", "--metadata", store],
        cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(PROJECT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            assert b"2026-11-25" not in answer.read()
        runs.add("2026-11-25", {"esc50": {"a.wav": "1"}}, None)
        with urllib.request.urlopen(address, timeout=60) as answer:
            assert b"2026-11-25" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{address}etc/passwd", timeout=60)
    finally:
        server.terminate()  # SIGINT is ignored in what a shell started in the background
        server.wait(timeout=60)
