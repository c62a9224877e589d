"""`hares metadata import --kubeflow`: runs as Kubeflow's driver and launcher record them, over gRPC."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from ml_metadata.metadata_store import MetadataStore

from cli.commands.metadata import command
from components.properties import MANIFEST_COUNTS, task_key
from kits.grpc_store_server import grpc_server
from kits.kfp_metadata import KfpRun, retraining
from kits.lineage_stores import StoreWriter, memory_store, open_store
from pipeline.lineage.connection import store_address
from pipeline.lineage.importing.kubeflow import list_runs, read_run
from pipeline.lineage.importing.recorded import (
    ImportFailedError,
    NothingToImportError,
    properties_of_json,
    type_of_title,
)
from pipeline.lineage.importing.writer import Imported, write_run, write_runs
from pipeline.lineage.runs import config_of, find_run
from pipeline.lineage.store import latest_blessed_model, latest_blessed_report
from pipeline.lineage.targets import find_target
from pipeline.lineage.trace import trace
from pipeline.lineage.why import why

NOTHING = Imported()
DOCS = Path(__file__).resolve().parents[2] / "docs" / "metadata.md"
COMPILED = Path(__file__).resolve().parents[1] / "kubeflow" / "compiled" / "golden" / "kubeflow.yaml"
RUN = "7f9c0d4e-53a1-4a31-9d5e-0c6b7e8f9a10"
START = "minio://mlpipeline/models/9"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[MetadataStore, str]]:
    """A server as a cluster has it, with a client that writes as its pods do, and its address."""
    with grpc_server(tmp_path / "cluster.sqlite") as port:
        address = f"grpc://127.0.0.1:{port}"
        yield store_address(address, Path()).open(), address


def bring(store: MetadataStore, there: MetadataStore, run: str = RUN) -> Imported:
    return write_run(store, read_run(there, run))


def test_a_run_is_whole_and_a_second_import_adds_nothing(cluster: tuple[MetadataStore, str]) -> None:
    there, _ = cluster
    made = retraining(there, RUN)
    store = memory_store()
    done = bring(store, there)
    assert (done.executions, done.artifacts, done.events) == (5, 6, 11)
    assert bring(store, there) == NOTHING
    wanted = (
        "ingest-esc50/examples",
        "trainer/model",
        "evaluator/report",
        "evaluator/blessing",
        "pusher/pushed_model",
    )
    addresses = {START, *(made.artifacts[name].uri for name in wanted)}
    assert {a.uri for a in store.get_artifacts()} == addresses, "buckets' addresses, and no log"
    assert {a.type for a in store.get_artifacts()} == {
        "Examples", "Model", "components.ProbeReport", "ModelBlessing", "PushedModel",
    }  # fmt: skip
    (model,) = store.get_artifacts_by_uri(made.artifacts["trainer/model"].uri)
    properties = model.custom_properties
    assert properties["steps"].int_value == 30 and properties["step_hours"].double_value == 1.0
    assert json.loads(properties["blob"].string_value) == {"a": [1.0]}
    assert properties["node"].string_value == "trainer" and properties["run"].string_value == RUN
    assert "store_session_info" not in properties
    (blessing,) = store.get_artifacts_by_type("ModelBlessing")
    assert blessing.custom_properties["current_model_id"].int_value == model.id
    assert blessing.custom_properties["current_model"].string_value == model.uri, "no path of a pod"
    states = {e.external_id.split("/")[1]: e.last_known_state for e in store.get_executions()}
    assert states == dict.fromkeys(("base_model", "ingest_esc50", "trainer", "evaluator", "pusher"), 3)
    (trainer,) = [e for e in store.get_executions() if "/trainer/" in e.external_id]
    assert trainer.custom_properties["pod_name"].string_value == f"{RUN}-trainer"
    assert json.loads(trainer.custom_properties["custom_config"].string_value) == {"training": {"steps": 30}}


def test_what_the_compiled_file_brings_is_recorded_as_of_a_local_run(
    cluster: tuple[MetadataStore, str],
) -> None:
    """From the file's parameter, as the driver records it of a run and of a schedule, which may set other ones."""
    there, _ = cluster
    (spec, *_) = yaml.safe_load_all(COMPILED.read_text(encoding="utf-8"))
    carried = spec["root"]["inputDefinitions"]["parameters"]["recorded"]["defaultValue"]
    retraining(there, RUN, parameters={"recorded": carried, "baseline": ""})
    store = memory_store()
    bring(store, there)
    run = find_run(store, RUN)
    says = json.loads(carried)
    names = ("user", "preset", "git_revision", "git_clean", "lock_digest")
    assert {name: run.facts[name] for name in names} == {name: says[name] for name in names}
    assert config_of(store, run) == says["config"] and says["config"]["training"]["seed"] == 0
    assert run.facts["status"] == "complete" and run.facts["pipeline"] == "hares"
    assert bring(store, there) == NOTHING


@pytest.mark.parametrize(
    "broken", ["", "{", "[1]", '{"config": 3, "user": {"a": 1}, "status": "failed"}', 7.0]
)
def test_a_parameter_that_someone_else_set_spoils_no_import(
    cluster: tuple[MetadataStore, str], broken: object
) -> None:
    there, _ = cluster
    retraining(there, RUN, parameters={"recorded": broken})
    store = memory_store()
    bring(store, there)
    run = find_run(store, RUN)
    assert run.facts["user"] == "unknown" and run.facts["status"] == "complete"
    assert config_of(store, run) == {"training": {"steps": 30}}


def test_an_imported_run_answers_like_a_local_one(cluster: tuple[MetadataStore, str]) -> None:
    """The model it started from is the one that a local run made: the way goes on there."""
    there, _ = cluster
    made = retraining(there, RUN)
    writer = StoreWriter()
    start = writer.artifact("Model", START, encoder="sf_nfnet_tiny")
    writer.step("local", "trainer", [], [("model", start)])
    store = writer.store
    bring(store, there)
    assert len(store.get_artifacts_by_uri(START)) == 1
    run = find_run(store, RUN)
    assert run.facts["status"] == "complete" and run.facts["target"] == "kubeflow" and run.blessed is True
    assert run.scores == {"esc50": 0.5, "hares": 1.0} and run.facts["encoder"] == "sf_nfnet_tiny"
    assert config_of(store, run) == {"training": {"steps": 30}}, "what the trainer's parameters carry"
    assert run.facts["user"] == run.facts["git_revision"] == "unknown"
    found = trace(store, find_target(store, "hares", RUN))
    assert {(t.node, t.run_id) for t in found.steps} == {
        ("trainer", "local"), ("ingest_esc50", RUN), ("trainer", RUN), ("evaluator", RUN),
    }  # fmt: skip
    reasons = why(store, run)
    assert reasons.blessed is True and {s.node: s.outcome for s in reasons.steps}["trainer"] == "ran"
    report = latest_blessed_report(store, "hares", "another key")
    assert report == f"{made.root}/hares/{RUN}/evaluator/report", "the next run's baseline, by its address"


@pytest.mark.parametrize("pushed", [1, 0])
def test_the_latest_blessed_model_is_where_it_was_pushed(
    cluster: tuple[MetadataStore, str], pushed: int
) -> None:
    """Its address is of the cluster's own object store, which TensorFlow cannot open; it was pushed to a volume."""
    there, _ = cluster
    made = retraining(there, RUN, blessed=pushed)
    store = memory_store()
    bring(store, there)
    assert latest_blessed_model(store, "hares") == ("/mnt/data/hares/pushed/7" if pushed else "")
    assert made.artifacts["trainer/model"].uri.startswith("minio://")


def test_runs_that_are_not_ours_are_passed_over(cluster: tuple[MetadataStore, str]) -> None:
    """A Kubeflow has other people's runs, a schedule's own, and those that have just been submitted."""
    there, _ = cluster
    for name, step in (("of-others", "say-hello"), ("of-a-schedule", "watch"), ("submitted", "")):
        begun = KfpRun(there, name).begin()
        if step:
            begun.step(step, {}, {})
    retraining(there, RUN)
    store = memory_store()
    assert list(write_runs(store, list_runs(there), lambda run: read_run(there, run))) == [RUN]
    with pytest.raises(
        NothingToImportError, match="--run of-others: no step of it is one of this pipeline's"
    ):
        write_runs(store, ["of-others"], lambda run: read_run(there, run), again=True)


def test_a_run_that_goes_on_is_brought_up_to_date(cluster: tuple[MetadataStore, str]) -> None:
    """A running step, then one that failed, and no end before the last step is done."""
    there, _ = cluster
    made = KfpRun(there, RUN).begin()
    with pytest.raises(ImportFailedError, match="no step of it has begun"):
        read_run(there, RUN)
    made.step("ingest-esc50", {}, {"examples": ("tfx.Examples", {})})
    store = memory_store()
    assert bring(store, there).executions == 1
    assert find_run(store, RUN).facts["status"] == "running" and "end" not in find_run(store, RUN).facts
    trainer = made.step("trainer", {"examples": "ingest-esc50/examples"}, {}, "FAILED")
    bring(store, there)
    assert find_run(store, RUN).facts["status"] == "failed" and "end" in find_run(store, RUN).facts
    made.again(trainer, "trainer", {"model": ("tfx.Model", {})})
    done = bring(store, there)
    assert (done.artifacts, done.executions, done.events) == (1, 0, 1)
    assert find_run(store, RUN).facts["status"] == "running"
    made.step("pusher", {"model": "trainer/model"}, {"pushed_model": ("tfx.PushedModel", {"pushed": 1})})
    bring(store, there)
    assert find_run(store, RUN).facts["status"] == "complete"


def test_what_kubeflows_cache_answered_is_what_the_first_run_made(cluster: tuple[MetadataStore, str]) -> None:
    """The driver publishes the outputs of the cached execution once more, by their ids (driver/cache.go)."""
    there, _ = cluster
    first = KfpRun(there, "first").begin()
    first.step("trainer", {}, {"model": ("tfx.Model", {"encoder": "e"})})
    second = KfpRun(there, "second", artifacts=dict(first.artifacts)).begin()
    second.cached("trainer", ["trainer/model"])
    store = memory_store()
    bring(store, there, "first")
    bring(store, there, "second")
    (model,) = store.get_artifacts_by_type("Model")
    assert model.custom_properties["run"].string_value == "first"
    assert sorted(e.last_known_state for e in store.get_executions()) == [3, 5]
    assert list_runs(there) == ["first", "second"]


def test_the_documented_command_imports_every_run_once(
    cluster: tuple[MetadataStore, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, address = cluster
    retraining(there, RUN)
    retraining(there, "unfinished", evaluated=False)
    monkeypatch.chdir(tmp_path)
    (line,) = [text for text in DOCS.read_text(encoding="utf-8").splitlines() if " import --kubeflow" in text]
    assert "grpc://127.0.0.1:8080" in line and "--all" in line
    words = line.removeprefix("hares metadata ").replace("grpc://127.0.0.1:8080", address).split()
    done = CliRunner().invoke(command, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert {name: new["executions"] for name, new in json.loads(done.output).items()} == {
        RUN: 5,
        "unfinished": 4,
    }
    again = CliRunner().invoke(command, words)
    assert "unfinished: 0 contexts, 0 artifacts, 0 executions, 0 events, 0 updated" in again.output
    assert RUN not in again.output and "1 run(s) imported" in again.output, "it had ended"
    assert find_run(open_store(tmp_path / "W" / "metadata.sqlite"), RUN).run_id == RUN


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--all", "--kubeflow", "a-folder"), 3, "expected the address of Kubeflow's ML Metadata"),
        (("--kubeflow", "grpc://127.0.0.1:1"), 3, "--kubeflow: give one of --run RUN and --all"),
        (("--kubeflow", "grpc://127.0.0.1:1", "--all", "--token-env", "X"), 3, "go with --vertex"),
        (
            ("--kubeflow", "grpc://127.0.0.1:1", "--all"),
            8,
            "grpc://127.0.0.1:1: the metadata store cannot be opened",
        ),
    ],
)
def test_what_cannot_be_imported_is_told(
    tmp_path: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    done = CliRunner().invoke(
        command, ["import", "--workspace", str(tmp_path), *options], standalone_mode=False
    )
    assert done.exception is not None and words in str(done.exception)
    assert done.exception.code == code


def test_a_run_that_the_cluster_does_not_know(cluster: tuple[MetadataStore, str]) -> None:
    retraining(cluster[0], RUN)
    with pytest.raises(ImportFailedError, match="--run other: Kubeflow's ML Metadata has no"):
        read_run(cluster[0], "other")


def test_numbers_and_types_are_those_of_the_components() -> None:
    """Every property that a component sets as a whole number is whole again, and no score is."""
    root = Path(__file__).resolve().parents[2] / "components"
    texts = [path.read_text(encoding="utf-8") for path in root.rglob("executor.py")]
    named = {name for text in texts for name in re.findall(r'set_int_custom_property\(\s*f?"([^"]+)"', text)}
    named |= {"steps", "seed", "parameters", "embedding_size", "replicas", "listed", "used", "unsettled"}
    assert {"blessed", "rejected"} <= named
    counts = ("clips", "expected_clips", *(f"manifest_{count}" for count in MANIFEST_COUNTS))
    for name in (*named, *(task_key("esc50", count) for count in counts)):
        assert type(properties_of_json({name: 1.0})[name]) is int, name
    for score in ("hares", "esc50/score", "domain/music", "esc50/low", "step_hours", "final_loss"):
        assert type(properties_of_json({score: 1})[score]) is float
    assert properties_of_json({"a": True, "b": None, "c": [1]}) == {"a": 1, "c": "[1]"}
    assert (
        type_of_title("tfx.Model") == "Model"
        and type_of_title("components.Embeddings") == "components.Embeddings"
    )
