"""Finding the latest blessed model: of this pipeline, of another run key, and really blessed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from kits.lineage_stores import open_store, set_properties
from pipeline.lineage.store import latest_blessed_report, verdict_of_run


@pytest.fixture
def store(tmp_path: Path) -> MetadataStore:
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(tmp_path / "metadata.sqlite")
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return MetadataStore(config)


def bless(
    store: MetadataStore,
    pipeline: str,
    run: str,
    key: str,
    blessed: int,
    live: bool = True,
    recorded: bool = True,
) -> None:
    """A blessing as the Evaluator leaves one, in the contexts in which TFX puts it.

    Of an earlier version neither the blessing names its run nor the run its pipeline.
    """
    artifact_type = store.put_artifact_type(pb.ArtifactType(name="ModelBlessing"), can_add_fields=True)
    artifact = pb.Artifact(type_id=artifact_type, uri=f"/blessing/{run}")
    artifact.state = pb.Artifact.LIVE if live else pb.Artifact.DELETED
    artifact.custom_properties["blessed"].int_value = blessed
    artifact.custom_properties["run_key"].string_value = key
    artifact.custom_properties["report"].string_value = f"/report/{run}"
    artifact.custom_properties["reasons"].string_value = f"because of {run}"
    facts = {"facts": json.dumps({"pipeline": pipeline})} if recorded else {}
    if recorded:
        artifact.custom_properties["run"].string_value = run
    (artifact_id,) = store.put_artifacts([artifact])
    for kind, name in (("pipeline", pipeline), ("pipeline_run", run)):
        type_id = store.put_context_type(pb.ContextType(name=kind), can_add_fields=True)
        found = store.get_context_by_type_and_name(kind, name)
        new = pb.Context(type_id=type_id, name=name)
        set_properties(new, facts if kind == "pipeline_run" else {})
        context = found.id if found else store.put_contexts([new])[0]
        store.put_attributions_and_associations(
            [pb.Attribution(artifact_id=artifact_id, context_id=context)], []
        )


@pytest.mark.parametrize("recorded", [True, False], ids=["facts", "earlier version"])
def test_the_latest_of_this_pipeline_with_another_key(store: MetadataStore, recorded: bool) -> None:
    assert latest_blessed_report(store, "p", "k1") == ""
    bless(store, "p", "run1", "k1", blessed=1, recorded=recorded)
    bless(store, "p", "run2", "k2", blessed=0, recorded=recorded)
    bless(store, "other", "run3", "k3", blessed=1, recorded=recorded)
    bless(store, "p", "run4", "k4", blessed=1, live=False, recorded=recorded)
    assert latest_blessed_report(store, "p", "k1") == "", "its own key"
    assert latest_blessed_report(store, "p", "k9") == "/report/run1"
    bless(store, "p", "run5", "k5", blessed=1, recorded=recorded)
    assert latest_blessed_report(store, "p", "k9") == "/report/run5"
    assert latest_blessed_report(store, "p", "k5") == "/report/run1"


def test_the_verdict_of_a_run(store: MetadataStore) -> None:
    bless(store, "p", "run1", "k1", blessed=1)
    bless(store, "p", "run2", "k2", blessed=0)
    verdict = verdict_of_run(store, "p", "run2")
    assert (verdict.report_uri, verdict.blessed, verdict.reasons) == (
        "/report/run2",
        False,
        "because of run2",
    )
    with pytest.raises(LookupError, match="run3 of p has no blessing"):
        verdict_of_run(store, "p", "run3")


def test_reading_makes_no_empty_store(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="has `hares run` been run"):
        open_store(tmp_path / "metadata.sqlite")
    assert not (tmp_path / "metadata.sqlite").exists()
