"""What `hares watch` imports before it compiles, from Vertex's metadata service; test_watch.py has Kubeflow's."""

from __future__ import annotations

from pathlib import Path

import pytest

from kits.lineage_stores import open_store
from kits.vertex_metadata import TOKEN, serving, two_runs
from kubeflow.clusters import ServiceConfig
from kubeflow.recorded_runs import import_runs
from pipeline.lineage.connection import store_address
from pipeline.lineage.importing.recorded import ImportFailedError
from pipeline.lineage.runs import find_run

pytestmark = pytest.mark.slow


def test_runs_of_vertex_are_imported_once_by_the_settings_of_the_cluster_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("of yesterday")
    address = store_address("", tmp_path / "W" / "metadata.sqlite")
    with serving(two_runs()) as service:
        config = ServiceConfig(
            project="my-project", region="europe-west4", endpoint=service.url, pipeline_root="gs://bucket/hares",
            token_env="", token_file=str(token), retries=1, backoff_seconds=0.01,
        )  # fmt: skip
        with pytest.raises(ImportFailedError) as refused:
            import_runs("vertex", config, address)
        assert refused.value.refused and TOKEN not in str(refused.value)
        token.write_text(TOKEN)
        done = import_runs("vertex", config, address)
        assert list(done) == ["hares-20261121", "hares-20261122"]
        assert all(new.executions for new in done.values())
        assert import_runs("vertex", config, address) == {}, "both had ended"
    store = open_store(tmp_path / "W" / "metadata.sqlite")
    assert find_run(store, "hares-20261122").facts["target"] == "vertex"
