"""Every command that lists what others wrote, on stores, reports, a corpus and clusters with hostile texts.

What comes out holds no control character but line breaks of ours, and no command takes a text for markup.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("ml_metadata")

from rich.table import Table

from cli import doctor_view
from cli.cluster_view import ClusterView
from cli.main import main
from cli.quiet import logging_to
from cli.terminal import Terminal, joined, lines, one_line, styled
from hares.report.runs import REPORT_FILE
from kits.lineage_stores import StoreWriter, create_store
from kubeflow import clusters
from kubeflow.clusters import ClusterRun, Failure, Schedule, ServiceError, State, StepState

TITLE, CLEAR, C1 = "\x1b]0;owned\x07", "\x1b[2J\x1b[H", "\x9b31m\x85\x90q"
BIDI = "\u202egnp.\u2066\u200f\u200b\u2028\u2029"
HOSTILE = {
    "title": TITLE,
    "screen": CLEAR,
    "C1": C1,
    "closing": "[/x]",
    "style": "[red]r[/red] [link=http://stranger.example]l[/link] [bold",
    "emoji": ":smiley:",
    "bidi": BIDI,
    "line": "\nforged: line\r\nforged\x0bforged\x0cforged\x1eforged",
    "erase": "\x08\x7f\x00"[:2],
    "long": "y" * 10_000,
}
ALL = "x" + "".join(HOSTILE.values())
each = pytest.mark.parametrize("text", [*HOSTILE.values(), ALL], ids=[*HOSTILE, "all"])


def harmless(output: str) -> None:
    wrong = sorted({c for c in output if not c.isprintable() and c != "\n"})
    assert not wrong, wrong
    assert not [line for line in output.split("\n") if line.lstrip().startswith("forged")]
    assert "😃" not in output


def hares(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> str:
    """What the command prints on both streams; it ends by itself, with one of our exit codes."""
    monkeypatch.setattr(sys, "argv", ["hares", *map(str, words)])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = int(ended.code or 0)
    captured = capsys.readouterr()
    output = captured.out + captured.err
    assert code in (0, 2, 3, 4, 5, 8, 9), output
    harmless(output)
    return output


def write_store(folder: Path, evil: str) -> tuple[str, ...]:
    """A store in which every text is `evil`; gives the names of its two runs."""
    writer = StoreWriter(create_store(folder / "metadata.sqlite"))
    runs = (f"first{evil}", f"second{evil}")
    for number, run in enumerate(runs):
        settings = {"training": {"encoder": evil, evil: f"{evil}{number}"}}
        writer.context("hares.Config", f"{evil}{number}", config=json.dumps(settings))
        writer.context(
            "pipeline_run", run, start=evil, end=evil, status=evil, user=evil, encoder=evil, objective=evil,
            preset=evil, target=evil, git_revision=evil, git_clean=evil, lock_digest=evil,
            config_digest=f"{evil}{number}", code=json.dumps({"trainer": f"{evil}{number}", evil: evil}),
            **{"score/hares": 0.5, f"score/{evil}": 0.25},
        )  # fmt: skip
        manifest = folder / f"manifest{number}"
        manifest.mkdir()
        (manifest / "manifest.json").write_text(json.dumps({"sources": {"esc50": evil}}))
        clip = {"clip_id": evil, "source": "esc50", "path": evil, "sha256": f"{evil}{number}", "labels": [0]}
        (manifest / "clips-train-00000-of-00001.jsonl").write_text(json.dumps(clip) + "\n")
        own = {"run": run, "node": evil, "tag": evil, "encoder": evil, "objective": evil, "source": evil}
        listed = writer.artifact("components.AudioManifest", str(manifest), content_digest=evil, **own)
        model = writer.artifact("Model", f"/{evil}", hardware=evil, weights_digest=evil, **own)
        report = writer.artifact("components.ProbeReport", f"/report{evil}", **own, **{"hares/score": 0.5})
        writer.artifact(evil, f"/{evil}", **own)
        writer.step(run, f"ingest{evil}", [], [("manifest", listed)], code_digest=evil)
        writer.step(run, f"trainer{evil}", [("manifest", listed)], [(evil, model)], settings=evil)
        writer.step(run, "evaluator", [(evil, model)], [("report", report)], reasons=evil)
    return runs


@each
def test_a_store(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "\x00" in text:
        pytest.skip("no database keeps it")
    runs = write_store(tmp_path, text)
    place = ("--workspace", tmp_path)
    listed = hares(capsys, monkeypatch, "lineage", "runs", *place)
    assert "first" in listed
    for words in (
        ["trace", "1"], ["trace", "2"], ["trace", "3"], ["trace", text or "x"], ["impact", "1"], ["impact", f"/{text}"],
        ["why", runs[0]], ["why", text], ["diff", *runs], ["export", runs[0]], ["export", "--format", "prov", runs[0]],
        ["runs", "--json"], ["trace", "3", "--json"], ["diff", *runs, "--json"],
    ):  # fmt: skip
        hares(capsys, monkeypatch, "lineage", *words, *place)
    hares(capsys, monkeypatch, "metadata", "check", *place)
    hares(capsys, monkeypatch, "workspace", "gc", *place)


def test_checksums_are_shown_to_a_person_and_whole_to_a_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_store(tmp_path, TITLE)
    monkeypatch.setattr(
        sys, "argv", ["hares", "lineage", "trace", "3", "--clips", "--workspace", str(tmp_path)]
    )
    main()
    assert TITLE in capsys.readouterr().out  # as sha256sum --check needs it
    monkeypatch.setattr("cli.lineage_view.to_a_terminal", lambda: True)
    main()
    harmless(capsys.readouterr().out)


@each
def test_reports(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hares.benchmark import build_report
    from hares.protocol import ProtocolSettings
    from hares.task import load_task, task_names

    name = text.replace("/", "|").replace("\x00", "")[:60].encode()[:200].decode("utf-8", "ignore")
    tasks = [load_task(task) for task in task_names()]
    for number in range(2):
        folder = tmp_path / f"{number}{name}"
        folder.mkdir()
        report = build_report(tasks, {}, {}, {}, ProtocolSettings(name=text), {"name": text, text: text})
        report["deviations"] = [text]
        (folder / REPORT_FILE).write_text(json.dumps(report))
    hares(capsys, monkeypatch, "report", *sorted(tmp_path.iterdir()))
    hares(capsys, monkeypatch, "report", sorted(tmp_path.iterdir())[0], "--json")
    hares(capsys, monkeypatch, "report", tmp_path / f"not there{name}")


def test_a_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from fuzz.fuzz_layouts import make_layouts

    make_layouts(tmp_path / "all")
    shutil.copytree(tmp_path / "all/esc50", tmp_path / "c/esc50")
    for number, text in enumerate(HOSTILE.values()):
        name = os.fsencode(f"{number}{text}".replace("/", "|"))[:200]
        Path(os.fsdecode(os.fsencode(tmp_path / "c/esc50/audio") + b"/" + name + b".wav")).write_bytes(
            b"no sound"
        )
    (tmp_path / "c/esc50/audio" / os.fsdecode(b"\xff\x9b[2J.wav")).write_bytes(b"no sound")
    said = hares(capsys, monkeypatch, "corpus", "check", tmp_path / "c", "--task", "esc50")
    assert "unlisted" in said
    hares(capsys, monkeypatch, "corpus", "check", tmp_path / "c", "--task", "esc50", "--json")


class Cluster:
    """Answers as a cluster's adapter does, with the same text everywhere, or refuses with it."""

    def __init__(self, text: str, refuses: bool = False):
        self._text, self._refuses = text, refuses

    def __getattr__(self, name: str) -> Any:
        def answer(*_: object, **__: object) -> Any:
            if self._refuses:
                raise ServiceError(Failure.SERVER, f"https://host: {self._text}")
            steps = tuple(StepState(f"{n}{self._text}", state, self._text) for n, state in enumerate(State))
            filled = {"state": State.FAILED, "steps": steps}
            run = made(ClusterRun, self._text, **filled)
            schedule = made(Schedule, self._text, enabled=True, max_concurrent=1)
            plural = {"runs": [run], "schedules": [schedule], "create_schedule": schedule}
            return plural.get(name, run)

        return answer


def made(kind: Any, text: str, **given: Any) -> Any:
    return kind(**{**{field.name: text for field in fields(kind)}, **given})


@pytest.mark.parametrize("refuses", [False, True])
@each
def test_a_cluster(
    text: str,
    refuses: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clusters, "open_service", lambda *_: Cluster(text, refuses))
    place = ("--target", "kubeflow", "--cluster", tmp_path / "c.yaml")
    compiled = tmp_path / "p.yaml"
    compiled.write_text("{}")
    for words in (
        ["runs", "list", *place], ["runs", "show", *place, "id"], ["runs", "cancel", *place, "id"],
        ["schedule", "list", *place], ["schedule", "pause", *place, "id"], ["submit", *place, compiled],
        ["schedule", "create", *place, "--cron", "0 3 * * *", compiled], ["submit", "--wait", *place, compiled],
        ["runs", "list", *place, "--json"],
    ):  # fmt: skip
        hares(capsys, monkeypatch, *words)


@each
def test_the_live_view_of_a_cluster_on_a_terminal(text: str) -> None:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=True, color_system=None, width=300)
    with ClusterView(console) as view:
        steps = tuple(StepState(f"{n}{text}", state, text) for n, state in enumerate(State))
        view.show(made(ClusterRun, text, state=State.RUNNING, steps=steps))
    assert not [piece for piece in (TITLE, CLEAR, C1, BIDI) if piece in file.getvalue()]


@each
def test_findings_of_the_doctor(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = SimpleNamespace(
        severity=SimpleNamespace(value="fatal"), where=text, cause=text, remedy=text, check=text
    )
    monkeypatch.setattr(doctor_view, "diagnose", lambda _: [])
    monkeypatch.setattr(doctor_view, "all_checks", lambda: [])
    doctor_view.say(
        f"{finding.severity.value}: {finding.where}: {finding.cause}", f"    remedy: {finding.remedy}"
    )
    harmless(capsys.readouterr().out)


@each
def test_settings_of_strangers_in_an_error(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "s.yaml"
    for content in ({"preset": text}, {"preset": "demo", text: 1}, {"preset": "demo", "name": text}):
        settings.write_text(json.dumps(content))
        said = hares(
            capsys,
            monkeypatch,
            "run",
            "--config",
            settings,
            "--corpus",
            tmp_path,
            "--workspace",
            tmp_path / "w",
        )
        assert said.count("\n") <= 2
    settings.write_text(f"preset: demo\n  {text}: [")
    hares(
        capsys, monkeypatch, "run", "--config", settings, "--corpus", tmp_path, "--workspace", tmp_path / "w"
    )


@each
def test_a_log(text: str, tmp_path: Path) -> None:
    with logging_to(tmp_path / "run.log"):
        logging.getLogger("stranger").warning("a file named %s", text)
    harmless((tmp_path / "run.log").read_text().replace("forged", "a line of the log"))


@each
@pytest.mark.parametrize("terminal", [False, True])
def test_a_console_takes_no_string_for_markup(text: str, terminal: bool) -> None:
    file = io.StringIO()
    console = Terminal(file=file, force_terminal=terminal, color_system=None, width=120)
    table = Table(text, box=None)
    table.add_row(text)
    table.add_row(styled("bold", text))
    console.print(text)
    console.print(text, soft_wrap=True, markup=True)
    console.print(joined(text, styled("red", text)), lines(text, text))
    console.print(table)
    harmless(file.getvalue())
    harmless(one_line(f"x{text}"))
    assert "\n" not in one_line(text)
    if text.startswith("[/x]"):
        assert "[/x]" in file.getvalue()
