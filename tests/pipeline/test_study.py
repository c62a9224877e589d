"""A study end to end: a cell that is done and kept, one whose step fails, one whose settings cannot work."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from cli.main import main
from kits import study_signals
from kits.lineage_stores import open_store
from kits.pipeline_runs import environment, project
from kits.study_signals import PHASES, SIMCLR, TWO_CELLS, sent_in, study_options
from models.loaded_plugins import PREFIX
from pipeline.grid import Cell, load_grid
from pipeline.lineage.record import study_context

pytestmark = pytest.mark.slow

CELLS = f"""
  - {{encoders: [mine_broken, mine_small], {SIMCLR}}}
  - {{encoders: [mine_small], objectives: [classification]}}
"""


class Watch:
    """Remembers what it is told."""

    def __init__(self):
        self.began: list[str] = []
        self.ended: list[tuple[str, str, bool]] = []

    def begin(self, cell=None, number=None, of=None):
        if isinstance(cell, Cell):
            self.began.append(cell.name)
        return self

    def finish(self, cell, reused=None):
        if reused is not None:
            self.ended.append((cell.name, cell.state, reused))

    def start(self, node):
        pass

    def update(self, node, fraction, text):
        pass


def forget_plugins() -> None:
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_study_goes_on_after_failures_and_runs_nothing_twice(made_corpus: Path, tmp_path: Path) -> None:
    from pipeline.study import run_study

    workspace = tmp_path / "w"
    study_options(tmp_path, made_corpus, workspace, CELLS)
    try:
        grid = load_grid(str(tmp_path / "grid.yaml"), [], [tmp_path / "mine.py"])
        first, second = Watch(), Watch()
        outcome = run_study(grid, made_corpus, {}, workspace, first)
        again = run_study(grid, made_corpus, {}, workspace, second)
    finally:
        forget_plugins()

    assert first.began == ["simclr_mine_broken", "simclr_mine_small"]
    assert first.ended == [
        ("simclr_mine_broken", "failed", False),
        ("simclr_mine_small", "done", False),
        ("classification_mine_small", "failed", False),
    ]
    # What failed is tried again, what is done is kept.
    assert second.began == ["simclr_mine_broken"]
    assert ("simclr_mine_small", "done", True) in second.ended
    assert outcome.failed == again.failed == ("simclr_mine_broken", "classification_mine_small")

    study = json.loads((outcome.folder / "study.json").read_text())
    assert study == json.loads(json.dumps(again.content)) or study["cells"][1] == again.content["cells"][1]
    broken, done, refused = study["cells"]
    assert "step trainer failed" in broken["error"] and "cannot be built" in broken["error"]
    assert "no multi-label classes" in refused["error"]
    assert done["scored_tasks"] == 1 and done["scores"]["hares"] is None and done["parameters"] == 648
    assert "cannot be built" in (outcome.folder / "study.html").read_text()

    store = open_store(workspace / "metadata.sqlite")
    children = store.get_children_contexts_by_context(study_context(store, "hares-study-test").id)
    states = [c.custom_properties["study_state"].string_value for c in sorted(children, key=lambda c: c.id)]
    assert states == ["failed", "complete", "failed"]
    executions = store.get_executions_by_context(study_context(store, "hares-study-test").id)
    assert len({e.id for e in executions}) == sum(
        len(store.get_executions_by_context(c.id)) for c in children
    )
    models = [
        a
        for a in store.get_artifacts_by_context(study_context(store, "hares-study-test").id)
        if a.type == "Model"
    ]
    assert "mine_small" in [m.custom_properties["encoder"].string_value for m in models]
    trainers = [e for e in executions if "plugins" in e.custom_properties["custom_config"].string_value]
    assert trainers and all(
        str(tmp_path / "mine.py") in e.custom_properties["custom_config"].string_value for e in trainers
    )


def recorded(workspace: Path) -> tuple[list[str], list[str], Counter[str]]:
    """How the runs of a workspace ended, the states of the study's cells, and how often each step was done."""
    store = open_store(workspace / "metadata.sqlite")
    runs = [c.custom_properties for c in store.get_contexts_by_type("pipeline_run")]
    done: Counter[str] = Counter()
    for context in store.get_contexts_by_type("node"):
        executions = store.get_executions_by_context(context.id)
        done[context.name] = sum(e.last_known_state == pb.Execution.COMPLETE for e in executions)
    return (
        [run["status"].string_value for run in runs],
        [run["study_state"].string_value for run in runs if "study_state" in run],
        done,
    )


def hares(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of `hares ARGUMENTS` in this process."""
    monkeypatch.setattr(sys, "argv", ["hares", *arguments])
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        forget_plugins()
    return 0


def test_every_phase_is_a_call_of_the_product() -> None:
    for module, name, _ in PHASES.values():
        assert callable(getattr(importlib.import_module(module), name)), f"{module}.{name}"


@pytest.mark.slow
def test_a_study_that_is_stopped_fails_no_cell_and_goes_on_there(
    made_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = tmp_path / "w"
    arguments = study_options(tmp_path, made_corpus, workspace, TWO_CELLS)
    for nth, phase in enumerate(PHASES):
        with monkeypatch.context() as patched:
            sent_in(phase, (signal.SIGTERM, signal.SIGINT)[nth % 2], patched.setattr)
            assert hares(arguments, monkeypatch) == 6, phase
        if (workspace / "metadata.sqlite").exists():
            states, cells, _ = recorded(workspace)
            assert "running" not in states and "failed" not in cells, phase
    assert hares(arguments, monkeypatch) == 0

    states, cells, done = recorded(workspace)
    assert states.count("failed") == 5 and cells and set(cells) == {"complete"}
    # Each of the two cells trains, embeds and scores once; what they share is done once.
    steps = {name.rpartition(".")[2]: count for name, count in done.items()}
    assert steps["trainer"] == steps["embed_speech_commands_v2"] == steps["evaluator"] == 2, steps
    assert steps["ingest_speech_commands_v2"] == steps["transform"] == 1, steps
    assert [state for _, state, _ in study_signals.scores(workspace)] == ["done", "done"]


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_processes_of_a_study_stopped_in_every_phase(
    made_corpus: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """One study, stopped in one phase after the other, ends as one that nobody stopped."""

    def life(workspace: Path, phase: str) -> subprocess.CompletedProcess[str]:
        arguments = study_options(tmp_path, made_corpus, workspace, TWO_CELLS)
        script = Path(study_signals.__file__)
        return subprocess.run(
            [sys.executable, str(script), phase, number.name, *arguments],
            cwd=project(), env=environment(project()), capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip

    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    for phase in PHASES:
        ended = life(stopped, phase)
        assert ended.returncode == (-9 if number == signal.SIGKILL else 6), f"{phase}: {ended.stderr}"
        print(f"{number.name} in {phase}: {ended.returncode} {ended.stderr.strip()}")
        if (stopped / "metadata.sqlite").exists():
            states, cells, _ = recorded(stopped)
            assert "failed" not in cells, phase
            assert number == signal.SIGKILL or "running" not in states, phase
    assert life(stopped, "").returncode == life(whole, "").returncode == 0
    assert study_signals.scores(stopped) == study_signals.scores(whole)
    _, _, once = recorded(whole)
    _, _, done = recorded(stopped)
    assert done == once, "no step that had ended was done again"
