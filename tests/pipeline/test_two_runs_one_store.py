"""Two `hares run` at once into one MariaDB store: both complete, each lineage is separate and whole, and the password
that one takes from its environment and the other from a file is nowhere to be read."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kits.database_servers import DatabaseServer, database_server
from kits.pipeline_runs import Finished, environment, project
from kits.server_runs import FEW, WatchedRun, dump, made_from, run_ids, start_run, watch
from pipeline.lineage.connection import PASSWORD_VARIABLE, store_address

pytestmark = pytest.mark.slow

CANARY = "canary-c0ffee-27"
STEPS = {
    "ingest_birdsong", "ingest_pretraining", "schema", "transform", "trainer", "embed_birdsong", "evaluator", "pusher",
}  # fmt: skip


@dataclass(frozen=True)
class TwoRuns:
    server: DatabaseServer
    watched: list[WatchedRun]
    finished: list[Finished]


@pytest.fixture(scope="module")
def two_runs(made_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoRuns]:
    """Each with audio of its own: what both had in common the later one might rightly take from the cache."""
    folder = tmp_path_factory.mktemp("two")
    other = folder / "corpus"
    for name in ("birdsong", "pretrain"):
        shutil.copytree(made_corpus / name, other / name)
        first = min((other / name).rglob("*.wav"))
        first.write_bytes(first.read_bytes()[:-2] + b"\1\0")  # a copy alone is the same audio, wherever it is
    secret = folder / "secret"
    secret.write_text(f"{CANARY}\n")
    with database_server("mariadb", CANARY) as server:
        address = server.address()
        watched = [
            start_run(made_corpus, folder / "a", address, FEW, {PASSWORD_VARIABLE: CANARY}),
            start_run(other, folder / "b", f"{address}?password_file={secret}", FEW, {}),
        ]
        yield TwoRuns(server, watched, watch(*watched))


def hares(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=project(), env=environment(project()), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert CANARY not in done.stdout + done.stderr
    return done.stdout


def test_both_complete_and_each_lineage_is_separate_and_whole(two_runs: TwoRuns) -> None:
    store = store_address(two_runs.server.address(), Path()).open()
    seen: list[set[tuple[str, int]]] = []
    for done in two_runs.finished:
        assert done.code == 0, done.stdout + done.stderr
        assert len(done.steps("done")) == 9 and done.steps("cached") == []
        (run,) = run_ids(store, done.workspace)
        (pushed,) = (done.workspace / "pushed").iterdir()
        found = json.loads(
            hares("lineage", "trace", str(pushed), "--json", "--metadata", two_runs.server.address())
        )
        assert {step["node"] for step in found["steps"]} == STEPS
        assert {step["run"] for step in found["steps"]} == {run} == {r["run"] for r in found["runs"]}
        assert all(Path(a["uri"]).is_relative_to(done.workspace) for a in found["artifacts"])
        steps, artifacts = made_from(store, found["target"]["artifact"])
        assert {step["execution"] for step in found["steps"]} == steps
        assert {artifact["id"] for artifact in found["artifacts"]} == artifacts
        seen.append({*(("step", i) for i in steps), *(("artifact", i) for i in artifacts)})
        context = store.get_context_by_type_and_name("pipeline_run", run)
        facts = {name: value.string_value for name, value in context.custom_properties.items()}
        assert facts["status"] == "complete" and facts["start"] < facts["end"]
    assert seen[0] and not seen[0] & seen[1]
    assert len(store.get_contexts_by_type("pipeline_run")) == 2


def test_the_password_is_in_no_output_file_table_or_process_list(two_runs: TwoRuns, tmp_path: Path) -> None:
    canary = CANARY.encode()
    tables = dump(two_runs.server, CANARY)
    page = tmp_path / "page.html"
    hares("lineage", "page", "--output", str(page), "--metadata", two_runs.server.address())
    places = {"tables": tables, "page": page.read_bytes()}
    for done in two_runs.finished:
        places[f"{done.workspace.name}: output"] = (done.stdout + done.stderr).encode()
        files = [path for path in done.workspace.rglob("*") if path.is_file()]
        places |= {str(path): path.read_bytes() for path in files}
        kinds = {path.relative_to(done.workspace).parts[0] for path in files}
        assert kinds >= {"artifacts", "checkpoints", "logs", "pushed"}
        uri = str(done.workspace).encode()
        assert uri in tables and uri in places["page"], "the grep reads what it should"
    for watched in two_runs.watched:
        own = os.path.basename(watched.workspace).encode()
        assert any(line.endswith(b"mean.py\0") and own in line for line in watched.command_lines)
        places[f"{watched.workspace.name}: ps"] = b"\n".join(watched.command_lines)
    by_variable, by_file = (b"\n".join(watched.environments) for watched in two_runs.watched)
    assert canary in by_variable, "the grep of environments reads what it should"
    places["environment of the run with a password file"] = by_file
    assert b"PYTHONPATH" in by_file
    assert [name for name, content in places.items() if canary in content] == []
