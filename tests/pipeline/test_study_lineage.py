"""Studies in ML Metadata, on a store of its own: one context, its runs below it, and what is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.lineage_stores import create_store
from pipeline.lineage.record import (
    COMPLETE,
    FAILED,
    CellRecord,
    attach_run,
    complete_cells,
    study_context,
)


@pytest.fixture
def store(tmp_path: Path):
    return create_store(tmp_path / "new" / "metadata.sqlite")


def made_run(store, name: str) -> tuple[int, int]:
    """A run of one execution that put out one artifact, as TFX leaves it."""
    types = {
        "context": store.put_context_type(pb.ContextType(name="pipeline_run")),
        "execution": store.put_execution_type(pb.ExecutionType(name="Trainer")),
        "artifact": store.put_artifact_type(pb.ArtifactType(name="Model")),
    }
    execution, artifacts, _ = store.put_execution(
        pb.Execution(type_id=types["execution"]),
        [(pb.Artifact(type_id=types["artifact"], uri=name), pb.Event(type=pb.Event.OUTPUT))],
        [pb.Context(type_id=types["context"], name=name)],
    )
    return execution, artifacts[0]


def record(cell: str, state: str = COMPLETE, key: str = "k") -> CellRecord:
    return CellRecord(cell, key, state, "report", "" if state == COMPLETE else "it broke", 2.5)


def test_a_study_has_one_context_with_all_of_its_runs(store) -> None:
    study = study_context(store, "try")
    made = [made_run(store, name) for name in ("r1", "r2", "other")]
    for name in ("r1", "r2", "r1"):  # again, as after a kill
        attach_run(store, study, name, record(name, key=name))
    assert study_context(store, "try").id == study.id
    assert len(store.get_contexts_by_type("hares.Study")) == 1
    assert {e.id for e in store.get_executions_by_context(study.id)} == {made[0][0], made[1][0]}
    assert {a.id for a in store.get_artifacts_by_context(study.id)} == {made[0][1], made[1][1]}
    children = store.get_children_contexts_by_context(study.id)
    assert sorted(c.name for c in children) == ["r1", "r2"]
    parents = store.get_parent_contexts_by_context(children[0].id)
    assert [(p.name, p.type) for p in parents] == [("try", "hares.Study")]


def test_only_complete_runs_of_this_study_are_done(store) -> None:
    study, other = study_context(store, "try"), study_context(store, "other")
    for name in ("good", "bad", "foreign"):
        made_run(store, name)
    attach_run(store, study, "good", record("a", key="ka"))
    attach_run(store, study, "bad", record("b", FAILED, "kb"))
    attach_run(store, other, "foreign", record("c", key="kc"))
    assert complete_cells(store, "try") == {"ka": record("a", key="ka")}
    (bad,) = (c for c in store.get_children_contexts_by_context(study.id) if c.name == "bad")
    assert bad.custom_properties["study_error"].string_value == "it broke"


def test_what_a_run_has_on_its_context_stays(store) -> None:
    study = study_context(store, "try")
    made_run(store, "r")
    context = store.get_context_by_type_and_name("pipeline_run", "r")
    context.custom_properties["status"].string_value = "complete"
    store.put_contexts([context])
    attach_run(store, study, "r", record("a"))
    after = store.get_context_by_type_and_name("pipeline_run", "r").custom_properties
    assert after["status"].string_value == "complete" and after["study_cell"].string_value == "a"


def test_a_run_that_is_not_there(store) -> None:
    with pytest.raises(LookupError, match="run r is not in the store"):
        attach_run(store, study_context(store, "try"), "r", record("a"))
