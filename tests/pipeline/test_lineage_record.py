"""What a run leaves on its context, and the code revision it names."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from hares.version_lines import this_lock
from kits.lineage_stores import StoreWriter
from pipeline.lineage import record
from pipeline.lineage.record import COMPLETE, FAILED, RunFacts, begin_run, end_run, revision_of
from pipeline.lineage.runs import config_of, find_run

FACTS = RunFacts({"training": {"seed": 3}}, "demo", "local", "key", {"trainer": "t"})


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository that tracks the file which asks for the revision."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repository"
    source = folder / "pipeline" / "record.py"
    source.parent.mkdir(parents=True)
    source.write_text("# code\n")
    (folder / this_lock()).write_text("numpy==1\n")
    git(tmp_path, "init", "-q", str(folder))
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    monkeypatch.setattr(record, "__file__", str(source))
    return folder


def test_a_clean_tree_a_changed_one_and_an_untracked_file(repository: Path) -> None:
    head = git(repository, "rev-parse", "HEAD")
    assert revision_of(repository) == (head, "yes")
    (repository / "new.py").write_text("x = 1\n")
    assert revision_of(repository) == (head, "no")
    (repository / "new.py").unlink()
    (repository / this_lock()).write_text("numpy==2\n")
    assert revision_of(repository) == (head, "no")


def test_a_repository_that_only_encloses_the_code_is_not_its_revision(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an image, whose build was told, it is the image's."""
    (repository / ".gitignore").write_text("venv\n")
    installed = repository / "venv" / "record.py"
    installed.parent.mkdir()
    installed.write_text("# installed\n")
    record.__file__ = str(installed)  # the fixture puts it back
    assert revision_of(installed.parent) == ("unknown", "unknown")
    monkeypatch.setenv("HARES_REVISION", "of-the-image")
    assert revision_of(installed.parent) == ("of-the-image", "unknown")


def test_without_git_the_revision_is_unknown(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert revision_of(repository) == ("unknown", "unknown")


def test_what_is_known_before_and_after(repository: Path) -> None:
    writer = StoreWriter()
    store = writer.store
    begin_run(store, "run1", "p", FACTS, repository)
    run = find_run(store, "run1")
    assert run.facts["status"] == "running" and "end" not in run.facts
    host, pid, start = (
        store.get_context_by_type_and_name("pipeline_run", "run1")
        .custom_properties["process"]
        .string_value.split()
    )
    assert int(pid) == os.getpid() and start == record.process_start(os.getpid()) and host

    model = writer.artifact("Model", encoder="e", objective="o", weights_digest="w")
    scores = {
        "esc50/score": 0.25,
        "esc50/low": 0.1,
        "domain/speech": 0.5,
        "domain/speech/low": 0.4,
        "hares": 0.3,
    }
    report = writer.artifact("components.ProbeReport", **scores)
    blessing = writer.artifact("ModelBlessing", blessed=0, reasons="failed: a")
    writer.step("run1", "evaluator", [("model", model)], [("report", report), ("blessing", blessing)])
    writer.step("run1", "trainer", [], [("model", model)])
    end_run(store, "run1", COMPLETE)
    run = find_run(store, "run1")
    assert run.scores == {"esc50": 0.25, "speech": 0.5, "hares": 0.3} and run.blessed is False
    expected = {
        "status": "complete", "preset": "demo", "target": "local", "run_key": "key", "encoder": "e", "objective": "o",
        "weights_digest": "w", "git_revision": git(repository, "rev-parse", "HEAD"), "git_clean": "yes",
        "pipeline": "p", "lock_digest": hashlib.sha256(b"numpy==1\n").hexdigest(),
        "config_digest": hashlib.sha256(json.dumps(FACTS.config, sort_keys=True).encode()).hexdigest(),
    }  # fmt: skip
    assert {name: run.facts[name] for name in expected} == expected and run.code == {"trainer": "t"}
    assert datetime.fromisoformat(run.facts["start"]) <= datetime.fromisoformat(run.facts["end"])
    assert config_of(store, run) == FACTS.config


def test_two_runs_of_one_config_hold_it_once(repository: Path) -> None:
    store = StoreWriter().store
    for name in ("run1", "run2"):
        begin_run(store, name, "p", FACTS, repository)
        end_run(store, name, FAILED)
    assert len(store.get_contexts_by_type("hares.Config")) == 1
    assert find_run(store, "run2").facts["status"] == "failed"
