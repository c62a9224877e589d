"""`hares metadata import --kubeflow`: a run's executor inputs and outputs, written as KFP's own messages write them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec
from ml_metadata.metadata_store import MetadataStore

from cli.commands.metadata import command
from components.properties import MANIFEST_COUNTS, task_key
from kits.lineage_stores import StoreWriter, memory_store, open_store
from pipeline.lineage.importing.kubeflow import read_run
from pipeline.lineage.importing.recorded import ImportFailedError, properties_of_json, type_of_title
from pipeline.lineage.importing.writer import Imported, write_run
from pipeline.lineage.runs import config_of, find_run
from pipeline.lineage.targets import find_target
from pipeline.lineage.trace import trace
from pipeline.lineage.why import why

NOTHING = Imported()
DOCS = Path(__file__).resolve().parents[2] / "docs" / "metadata.md"
TYPES = {
    "examples": {"instance_schema": "title: tfx.Examples\ntype: object\n"},
    "model": {"schema_title": "tfx.Model"},
    "report": {"instance_schema": "title: components.ProbeReport\ntype: object\n"},
    "blessing": {"schema_title": "tfx.ModelBlessing"},
}


def runtime(step: str, key: str, uri: str, **metadata: Any) -> spec.RuntimeArtifact:
    made = spec.RuntimeArtifact(
        name=f"{step}/{key}/attempt-1", uri=uri, type=spec.ArtifactTypeSchema(**TYPES[key])
    )
    made.metadata.update(metadata)
    return made


def given(
    inputs: dict[str, spec.RuntimeArtifact], outputs: dict[str, spec.RuntimeArtifact], **values: Any
) -> str:
    message = spec.ExecutorInput()
    for key, artifact in inputs.items():
        message.inputs.artifacts[key].artifacts.add().CopyFrom(artifact)
    for key, artifact in outputs.items():
        message.outputs.artifacts[key].artifacts.add().CopyFrom(artifact)
    for name, value in values.items():
        message.inputs.parameter_values[name].string_value = value
    message.inputs.parameters["old"].int_value = 3
    return json_format.MessageToJson(message)


def said(outputs: dict[str, spec.RuntimeArtifact]) -> str:
    message = spec.ExecutorOutput()
    for key, artifact in outputs.items():
        message.artifacts[key].artifacts.add(uri=artifact.uri, name=artifact.name).metadata.CopyFrom(
            artifact.metadata
        )
    return json_format.MessageToJson(message)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def attempt(
    run: Path, step: str, number: int, inputs: dict[str, spec.RuntimeArtifact],
    outputs: dict[str, spec.RuntimeArtifact], counts: bool = True, **values: str,
) -> None:  # fmt: skip
    """One attempt as it is left on the disk, and published if it counts."""
    folder = run / step / f"attempt-{number}"
    bare = {key: runtime(step, key, artifact.uri) for key, artifact in outputs.items()}
    write(folder / "executor_input.json", given(inputs, bare, **values))
    if counts:
        write(folder / "executor_output.json", said(outputs))
        artifacts = {key: [json_format.MessageToDict(a)] for key, a in outputs.items()}
        write(run / step / "published.json", json.dumps({"attempt": number, "artifacts": artifacts}))


def run_folder(root: Path, evaluated: bool = True) -> Path:
    """Ingestion, a trainer that failed once and warm-started from a model of the store, and an evaluator."""
    run = root / "nightly-7"
    examples = runtime("ingest_esc50", "examples", "/w/examples/1", content_digest="d0", span=2)
    start = runtime("start", "model", "/local/model/9")
    model = runtime(
        "trainer", "model", "/w/model/2", encoder="sf_nfnet_tiny", steps=30, step_hours=1, blob={"a": [1]}
    )
    report = runtime("evaluator", "report", "/w/report/3", hares=1, **{"esc50/score": 0.5, "esc50/clips": 40})
    blessing = runtime(
        "evaluator", "blessing", "/w/blessing/3", blessed=1, reasons="fine", current_model="/w/model/2"
    )
    attempt(run, "ingest_esc50", 1, {}, {"examples": examples}, source="esc50")
    settings = json.dumps({"training": {"steps": 30}})
    attempt(
        run,
        "trainer",
        1,
        {"examples": examples, "base": start},
        {"model": model},
        False,
        custom_config=settings,
    )
    attempt(
        run, "trainer", 2, {"examples": examples, "base": start}, {"model": model}, custom_config=settings
    )
    attempt(run, "evaluator", 1, {"model": model}, {"report": report, "blessing": blessing}, evaluated)
    return run


def bring(store: MetadataStore, run: Path) -> Imported:
    return write_run(store, read_run(run, run.name, "hares"))


def test_a_folder_is_whole_and_a_second_import_adds_nothing(tmp_path: Path) -> None:
    store, run = memory_store(), run_folder(tmp_path)
    done = bring(store, run)
    assert (done.executions, done.artifacts, done.events) == (4, 5, 9)
    assert bring(store, run) == NOTHING
    assert {(a.type, a.uri) for a in store.get_artifacts()} == {
        ("Examples", "/w/examples/1"), ("Model", "/local/model/9"), ("Model", "/w/model/2"),
        ("components.ProbeReport", "/w/report/3"), ("ModelBlessing", "/w/blessing/3"),
    }  # fmt: skip
    (model,) = store.get_artifacts_by_uri("/w/model/2")
    properties = model.custom_properties
    assert properties["steps"].int_value == 30 and properties["step_hours"].double_value == 1.0
    assert json.loads(properties["blob"].string_value) == {"a": [1.0]}
    assert properties["node"].string_value == "trainer" and properties["run"].string_value == "nightly-7"
    (blessing,) = store.get_artifacts_by_type("ModelBlessing")
    assert blessing.custom_properties["current_model_id"].int_value == model.id
    states = sorted((e.external_id, e.last_known_state) for e in store.get_executions())
    assert states == [
        ("kubeflow:nightly-7/evaluator/1", 3), ("kubeflow:nightly-7/ingest_esc50/1", 3),
        ("kubeflow:nightly-7/trainer/1", 4), ("kubeflow:nightly-7/trainer/2", 3),
    ]  # fmt: skip
    evaluator = store.get_executions()[-1]
    assert evaluator.custom_properties["old"].int_value == 3


def test_inputs_without_types_are_what_made_them_and_the_launchers_log_is_no_output(tmp_path: Path) -> None:
    """Kubeflow's driver hands inputs over so, and adds that output (kubeflow/pipelines, backend/src/v2/driver)."""
    run = run_folder(tmp_path)
    for path in run.glob("*/attempt-*/executor_input.json"):
        given = json.loads(path.read_text())
        for name, entry in given.get("inputs", {}).get("artifacts", {}).items():
            if name != "base":  # nothing of this run made it
                entry["artifacts"][0]["type"] = {"instanceSchema": ""}
        logs = {
            "type": {"schemaTitle": "system.Artifact"},
            "uri": f"{path.parent}/log",
            "name": "executor-logs",
        }
        given["outputs"]["artifacts"]["executor-logs"] = {"artifacts": [logs]}
        path.write_text(json.dumps(given))
    typed, untyped = memory_store(), memory_store()
    bring(typed, run_folder(tmp_path / "typed"))
    done = bring(untyped, run)
    assert (done.executions, done.artifacts, done.events) == (4, 5, 9)
    for store in (typed, untyped):
        assert {(a.type, a.uri) for a in store.get_artifacts()} == {
            (a.type, a.uri) for a in typed.get_artifacts()
        }


def test_an_imported_folder_answers_like_a_local_run(tmp_path: Path) -> None:
    """The model it started from is the one that a local run made: the way goes on there."""
    writer = StoreWriter()
    start = writer.artifact("Model", "/local/model/9", encoder="sf_nfnet_tiny")
    writer.step("local", "trainer", [], [("model", start)])
    store = writer.store
    bring(store, run_folder(tmp_path))
    assert len(store.get_artifacts_by_uri("/local/model/9")) == 1
    run = find_run(store, "nightly-7")
    assert run.facts["status"] == "complete" and run.facts["target"] == "kubeflow" and run.blessed is True
    assert run.scores == {"esc50": 0.5, "hares": 1.0} and run.facts["encoder"] == "sf_nfnet_tiny"
    assert config_of(store, run) == {"training": {"steps": 30}}, "what the trainer's parameters carry"
    assert run.facts["user"] == run.facts["git_revision"] == "unknown"
    found = trace(store, find_target(store, "hares", "nightly-7"))
    assert [(t.node, t.run_id) for t in found.steps][-1] == ("evaluator", "nightly-7")
    assert {(t.node, t.run_id) for t in found.steps} == {
        ("trainer", "local"), ("ingest_esc50", "nightly-7"), ("trainer", "nightly-7"), ("evaluator", "nightly-7"),
    }  # fmt: skip
    reasons = why(store, run)
    assert reasons.blessed is True and {s.node: s.outcome for s in reasons.steps}["trainer"] == "ran"


def test_a_run_that_goes_on_is_brought_up_to_date(tmp_path: Path) -> None:
    store = memory_store()
    bring(store, run_folder(tmp_path, evaluated=False))
    assert find_run(store, "nightly-7").facts["status"] == "failed"
    done = bring(store, run_folder(tmp_path))
    assert (done.artifacts, done.executions, done.events) == (2, 0, 2)
    run = find_run(store, "nightly-7")
    assert run.facts["status"] == "complete" and run.scores["esc50"] == 0.5


def test_files_without_attempts_are_read(tmp_path: Path) -> None:
    model = runtime("trainer", "model", "gs://b/model", encoder="e")
    write(
        tmp_path / "trainer" / "executor_input.json",
        given({}, {"model": runtime("trainer", "model", "gs://b/model")}),
    )
    write(tmp_path / "trainer" / "executor_output.json", said({"model": model}))
    store = memory_store()
    assert bring(store, tmp_path).artifacts == 1
    (found,) = store.get_artifacts()
    assert found.uri == "gs://b/model" and found.custom_properties["encoder"].string_value == "e"


def test_what_is_no_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImportFailedError, match="it is not a folder"):
        read_run(tmp_path / "nowhere", "r", "p")
    with pytest.raises(ImportFailedError, match="give the folder of one run"):
        read_run(tmp_path, "r", "p")
    path = tmp_path / "trainer" / "attempt-1" / "executor_input.json"
    for text, problem in (
        ("{", "was it written to the end"),
        ("[]", "expected an object"),
        ('{"inputs": {"artifacts": {"model": {"artifacts": [{"name": "m"}]}}}}', "artifact m has no uri"),
        ('{"inputs": {"artifacts": {"model": []}}}', "artifacts.model is no list"),
        ('{"inputs": {"parameters": {"steps": 3}}}', "parameter steps is no value"),
        ('{"inputs": {"parameters": {"steps": {"intValue": "x"}}}}', "steps is no whole number"),
        (
            '{"inputs": {"artifacts": {"m": {"artifacts": [{"uri": "u", "type": {"instanceSchema": "x"}}]}}}}',
            "has no title",
        ),
    ):
        write(path, text)
        with pytest.raises(ImportFailedError, match=problem) as failed:
            read_run(tmp_path, "r", "p")
        assert str(path) in str(failed.value)


def test_the_documented_command_takes_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    (line,) = [text for text in DOCS.read_text(encoding="utf-8").splitlines() if " import --kubeflow" in text]
    words = [*line.removeprefix("hares metadata ").split(), "--json"]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["nightly-7"]["executions"] == 4
    again = CliRunner().invoke(command, words[:-1])
    assert "nightly-7: 0 contexts, 0 artifacts, 0 executions, 0 events, 0 updated" in again.output
    assert find_run(open_store(tmp_path / "W" / "metadata.sqlite"), "latest").run_id == "nightly-7"


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
