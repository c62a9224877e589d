"""The matrix of faults: its checks find what they are there to find, and its document is made of its record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from benchmarks.faults.__main__ import NAMES, chosen
from benchmarks.faults.published import (
    Reference,
    content_of,
    digest_of,
    finished_steps,
    partial,
    published,
)
from benchmarks.faults.record import BEGIN, END, Record, Row, table
from kits.lineage_stores import create_store

PROJECT = Path(__file__).resolve().parents[2]
MEASUREMENTS = PROJECT / "docs" / "measurements"
DOCUMENT, RECORD = MEASUREMENTS / "faults.md", MEASUREMENTS / "faults.json"


class Written:
    """A workspace with artifacts that a store holds, as TFX records them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.store: MetadataStore = create_store(folder / "metadata.sqlite")
        self._node = self.store.put_context_type(pb.ContextType(name="node"))
        self._step = self.store.put_execution_type(pb.ExecutionType(name="step"))
        self._kind = self.store.put_artifact_type(pb.ArtifactType(name="Thing"))

    def done(self, node: str, output: str, files: dict[str, str], state: int = pb.Execution.COMPLETE) -> Path:
        execution = pb.Execution(type_id=self._step, last_known_state=state)
        found = self.store.get_context_by_type_and_name("node", f"p.{node}")
        context = found or pb.Context(type_id=self._node, name=f"p.{node}")
        uri = self.folder / "artifacts" / node / output / str(len(self.store.get_executions()))
        for name, text in files.items():
            (uri / name).parent.mkdir(parents=True, exist_ok=True)
            (uri / name).write_text(text)
        artifact = pb.Artifact(type_id=self._kind, uri=str(uri), state=pb.Artifact.LIVE)
        artifact.custom_properties["content_digest"].string_value = digest_of(uri)
        event = pb.Event(type=pb.Event.OUTPUT)
        event.path.steps.add().key = output
        self.store.put_execution(execution, [(artifact, event)], [context])
        return uri

    def partial(self, reference: Reference | None = None) -> list[str]:
        return partial(self.folder, published(self.store, self.folder / "artifacts"), reference)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path)


def test_a_file_that_was_cut_short_or_lost_after_it_was_recorded_is_found(written: Written) -> None:
    other = written.done("embed_y", "embeddings", {"a": "whole", "b/c": "whole"})
    embed = written.done("embed_x", "embeddings", {"a": "whole"})
    assert written.partial() == []
    (other / "b" / "c").write_text("who")
    (embed / "a").unlink()
    assert written.partial() == [
        "embed_y/embeddings is not what was recorded",
        "embed_x/embeddings has no files",
    ]


def test_a_file_that_was_cut_short_before_it_was_recorded_is_found(written: Written) -> None:
    """The record agrees with the disk; the undisturbed run does not."""
    whole = written.done("embed_y", "embeddings", {"a": "whole"})
    reference = Reference({}, "", {"embed_y/embeddings": content_of(whole)})
    assert written.partial(reference) == []
    written.done("embed_y", "embeddings", {"a": "who"})
    assert written.partial(reference) == ["embed_y/embeddings differs from the undisturbed run's"]
    written.done("embed_y", "embeddings", {"a": "whole", "a.part": ""})
    assert "embed_y/embeddings has other files than the undisturbed run's" in written.partial(reference)


def test_a_version_that_is_a_part_of_the_model_is_found_and_a_hidden_folder_is_none(written: Written) -> None:
    written.done(
        "trainer", "model", {"Format-Serving/saved_model.pb": "graph", "Format-Serving/v": "weights"}
    )
    for name, files in ((".part/1", ["v"]), ("1", ["v", "saved_model.pb"])):
        folder = written.folder / "pushed" / name
        folder.mkdir(parents=True)
        for file in files:
            (folder / file).write_text("weights" if file == "v" else "graph")
    assert written.partial() == []
    (written.folder / "pushed" / "1" / "saved_model.pb").unlink()
    assert written.partial() == ["pushed/ holds a version that is not the whole model"]


def test_only_steps_that_were_done_count_and_not_those_from_the_cache(written: Written) -> None:
    for state in (pb.Execution.COMPLETE, pb.Execution.CACHED, pb.Execution.FAILED, pb.Execution.RUNNING):
        written.done("trainer", "model", {"a": "x"}, state)
    written.done("trainer", "model", {"a": "x"})
    written.done("embed_y", "embeddings", {"a": "x"})
    assert finished_steps(written.store) == {"trainer": 2, "embed_y": 1}


def test_rows_that_are_done_are_not_run_again_unless_they_are_named() -> None:
    assert len(NAMES) == 6 * 7 + 2
    assert chosen([], {"Trainer:SIGKILL"}) == [name for name in NAMES if name != "Trainer:SIGKILL"]
    assert chosen(["Trainer:SIGKILL"], {"Trainer:SIGKILL"}) == ["Trainer:SIGKILL"]
    assert [name.partition(":")[0] for name in chosen(["pusher"], set())] == ["pusher"] * 7
    with pytest.raises(ValueError, match=r"--only: got 'Train'"):
        chosen(["Train"], set())


def test_a_row_is_sound_only_where_every_promise_held(tmp_path: Path) -> None:
    sound = Row("pusher", "SIGKILL", True, "SIGKILL", "", "0", ["pusher"], True, [], [], "abc", 1.0)
    bad = [{"rerun": "5"}, {"same": False}, {"partial": ["x"]}, {"repeated": ["trainer"]}, {"tried": False}]
    assert sound.sound and not any(Row(**{**vars(sound), **change}).sound for change in bad)
    record = Record(tmp_path / "record.json")
    record.add(sound)
    record.add(Row(**{**vars(sound), "seconds": 2.0}))
    assert Record(tmp_path / "record.json").rows["pusher:SIGKILL"].seconds == 2.0
    assert "1 of 44 rows are sound, 1 have been run" in table(list(record.rows.values()), NAMES)


def test_the_document_shows_the_record_and_every_row_that_was_run_is_sound() -> None:
    record = Record(RECORD)
    shown = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0].strip()
    assert shown == table(list(record.rows.values()), NAMES), "run `python -m benchmarks.faults --table`"
    assert [row.name for row in record.rows.values() if not row.sound] == []


@pytest.mark.full
def test_two_rows_of_the_matrix(tmp_path: Path) -> None:
    document = tmp_path / "faults.md"
    document.write_text(f"{BEGIN}\n{END}\n")
    record = tmp_path / "faults.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.faults", "--only", "pusher:SIGKILL", "--only", "evaluator:disk full",
         "--record", str(record), "--document", str(document)],
        cwd=PROJECT, capture_output=True, text=True, timeout=1100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["cause"]: row for row in json.loads(record.read_text())["rows"]}
    assert rows["SIGKILL"]["ending"] == "SIGKILL" and "evaluator" in rows["disk full"]["redone"]
    assert "2 of 44 rows are sound" in document.read_text()
