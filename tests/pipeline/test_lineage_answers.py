"""trace, impact, why, diff and export on a store of two runs, whose every link is written here by hand."""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from pathlib import Path

import pytest
from ml_metadata.metadata_store import MetadataStore

from kits.lineage_stores import CACHED, FAILED, StoreWriter
from pipeline.lineage.diff import diff
from pipeline.lineage.export import openlineage, prov
from pipeline.lineage.impact import impact_of_artifact, impact_of_file
from pipeline.lineage.runs import find_run
from pipeline.lineage.targets import find_target
from pipeline.lineage.trace import trace, trace_data
from pipeline.lineage.why import nested_differences, why

OLD, NEW = "a" * 64, "b" * 64


def manifest_folder(folder: Path, source: str, clips: dict[str, str]) -> str:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"sources": {source: f"/data/{source}"}}))
    lines = [
        json.dumps({"clip_id": name, "source": source, "path": name, "sha256": sha256, "labels": [0]})
        for name, sha256 in clips.items()
    ]
    (folder / "clips-test-00000-of-00001.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder)


@pytest.fixture(scope="module")
def ids() -> dict[str, int]:
    return {}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, ids: dict[str, int]) -> MetadataStore:
    """run1 makes all; in run2 a clip of ESC-50 is another one, and what does not read it comes from the cache."""
    root = tmp_path_factory.mktemp("root")
    writer = StoreWriter()

    def ingest(run: str, source: str, clips: dict[str, str], name: str, fingerprint: str) -> None:
        uri = manifest_folder(root / f"ingest_{source}" / "manifest" / name, source, clips)
        digest = str(sorted(clips.values()))
        manifest = writer.artifact("components.AudioManifest", uri, source=source, content_digest=digest)
        examples = writer.artifact("Examples", f"{root}/{source}/{name}", content_digest=digest)
        outputs = [("examples", examples), ("manifest", manifest)]
        writer.step(run, f"ingest_{source}", [], outputs, fingerprint=fingerprint, code_digest="c")
        ids[f"{source} examples {run}"], ids[f"{source} manifest {run}"] = examples, manifest

    def cached(run: str, node: str, inputs: list[tuple[str, int]], outputs: list[tuple[str, int]]) -> None:
        writer.step(run, node, inputs, outputs, CACHED)

    writer.context("hares.Config", "config1", config=json.dumps({"training": {"seed": 0, "steps": 5}}))
    writer.context("hares.Config", "config2", config=json.dumps({"training": {"seed": 1, "steps": 5}}))
    for run, revision, config, score in (("run1", "r1", "config1", 0.5), ("run2", "r2", "config2", 0.75)):
        facts = {
            "git_revision": revision,
            "git_clean": "yes",
            "config_digest": config,
            "code": json.dumps({"trainer": config}),
        }
        writer.context(
            "pipeline_run",
            run,
            status="complete",
            end="x",
            **facts,
            **{"score/esc50": score, "score/tut18": 0.1},
        )
    ingest("run1", "esc50", {"1.wav": OLD, "2.wav": "c" * 64}, "1", "f1")
    ingest("run1", "tut18", {"t.wav": "d" * 64}, "2", "f2")
    ingest("run1", "pretraining", {"p.wav": "e" * 64, "copy.wav": OLD}, "3", "f3")
    model = writer.artifact("Model", "/model", encoder="sf", seed=0)
    pretraining = [("examples", ids["pretraining examples run1"])]
    writer.step("run1", "trainer", pretraining, [("model", model)], custom_config=json.dumps({"seed": 0}))
    ids["model"] = model

    def score(run: str, value: float, blessed: int) -> None:
        embedded = []
        for task in ("esc50", "tut18"):
            examples = ids.get(f"{task} examples {run}", ids[f"{task} examples run1"])
            manifest = ids.get(f"{task} manifest {run}", ids[f"{task} manifest run1"])
            links = [("examples", examples), ("model", model)]
            if f"embeddings {task} run1" in ids and task == "tut18":
                cached(run, f"embed_{task}", links, [("embeddings", ids["embeddings tut18 run1"])])
            else:
                made = writer.artifact("components.Embeddings", f"/embeddings/{task}/{run}")
                writer.step(run, f"embed_{task}", links, [("embeddings", made)], task=task)
                ids[f"embeddings {task} {run}"] = made
            made = ids.get(f"embeddings {task} {run}", ids[f"embeddings {task} run1"])
            embedded += [
                (f"embeddings_{task}", made),
                (f"manifest_{task}", manifest),
                (f"examples_{task}", examples),
            ]
        properties = {
            "esc50/score": value,
            "esc50/low": value - 0.1,
            "esc50/high": value + 0.1,
            "tut18/score": 0.1,
        }
        report = writer.artifact("components.ProbeReport", f"/report/{run}", **properties)
        blessing = writer.artifact(
            "ModelBlessing", f"/blessing/{run}", blessed=blessed, reasons="passed: a; failed: b"
        )
        baseline = "/report/run1" if run == "run2" else ""
        outputs = [("report", report), ("blessing_artifact", blessing)]
        writer.step(run, "evaluator", [("model", model), *embedded], outputs, baseline=baseline)
        pushed = writer.artifact(
            "PushedModel", f"/pushed/{run}", pushed=blessed, pushed_destination=f"/served/{run}"
        )
        writer.step(
            run, "pusher", [("model", model), ("model_blessing", blessing)], [("pushed_model", pushed)]
        )
        ids[f"report {run}"], ids[f"pushed {run}"] = report, pushed

    score("run1", 0.5, 1)
    ingest("run2", "esc50", {"1.wav": NEW, "2.wav": "c" * 64}, "4", "f1x")
    outputs = [("examples", ids["tut18 examples run1"]), ("manifest", ids["tut18 manifest run1"])]
    cached("run2", "ingest_tut18", [], outputs)
    outputs = [("examples", ids["pretraining examples run1"]), ("manifest", ids["pretraining manifest run1"])]
    cached("run2", "ingest_pretraining", [], outputs)
    cached("run2", "trainer", pretraining, [("model", model)])
    score("run2", 0.75, 0)
    return writer.store


def test_a_tasks_score_is_traced_to_its_own_clips_and_the_pretraining_ones(
    store: MetadataStore, ids: dict[str, int]
) -> None:
    found = trace(store, find_target(store, "esc50", "run2"))
    assert (found.target.value, found.target.low, found.target.high) == (0.75, 0.65, 0.85)
    assert {clip.path: clip.sha256 for clip in found.clips()} == {
        "/data/esc50/1.wav": NEW,
        "/data/esc50/2.wav": "c" * 64,
        "/data/pretraining/p.wav": "e" * 64,
        "/data/pretraining/copy.wav": OLD,
    }
    assert [(t.node, t.run_id) for t in found.steps if t.node != "ingest_esc50"] == [
        ("ingest_pretraining", "run1"), ("trainer", "run1"), ("embed_esc50", "run2"), ("evaluator", "run2"),
    ]  # fmt: skip
    assert {name: config["training"]["seed"] for name, config in found.configs.items()} == {
        "run1": 0,
        "run2": 1,
    }
    data = json.loads(json.dumps(trace_data(found)))
    assert {run["run"]: run["git_revision"] for run in data["runs"]} == {"run1": "r1", "run2": "r2"}
    (trainer,) = [step for step in data["steps"] if step["node"] == "trainer"]
    assert trainer["properties"]["custom_config"] == {"seed": 0}
    whole = trace(store, find_target(store, str(ids["report run2"])))
    assert "embed_tut18" in {traced.node for traced in whole.steps}, "the report itself is made of all tasks"


def test_targets_by_id_folder_file_in_it_and_pushed_copy(store: MetadataStore, ids: dict[str, int]) -> None:
    assert find_target(store, "/report/run1/predictions/esc50.npz").artifact.id == ids["report run1"]
    assert find_target(store, "/served/run1/variables").artifact.id == ids["pushed run1"]
    assert find_target(store, str(ids["model"])).artifact.uri == "/model"
    assert find_target(store, "esc50/score").artifact.id == ids["report run2"], "of the latest run"
    for wrong, message in (
        ("/nowhere", "neither an artifact's id"),
        ("9999", "has none"),
        ("hares", "has no score 'hares'"),
    ):
        with pytest.raises(LookupError, match=message):
            find_target(store, wrong)


def test_a_pushed_copy_is_found_whatever_its_path_and_the_newest_of_two() -> None:
    writer = StoreWriter()
    for served in ("/it's/served", '/a "b"', r"/back\slash", "/twice", "/twice"):
        last = writer.artifact("PushedModel", f"/pushed{served}", pushed=1, pushed_destination=served)
        assert find_target(writer.store, f"{served}/variables/variables.index").artifact.id == last
    writer.artifact("PushedModel", "/not pushed", pushed=0, pushed_destination="/never")
    with pytest.raises(LookupError):
        find_target(writer.store, "/never")


def test_impact_of_a_file_is_all_that_it_and_its_copies_made(
    store: MetadataStore, ids: dict[str, int], tmp_path: Path
) -> None:
    found = impact_of_file(store, "/data/esc50/1.wav")
    made = set(found.graph.artifacts)
    assert {
        ids["esc50 examples run1"],
        ids["esc50 examples run2"],
        ids["embeddings esc50 run2"],
        ids["report run1"],
    } <= made
    assert not {ids["model"], ids["embeddings tut18 run1"]} & made
    assert [a.id for a in found.of_type("PushedModel")] == [ids["pushed run1"]], "the other was not pushed"
    assert found.runs == ("run1", "run2") and found.made_in[ids["esc50 examples run2"]] == "run2"
    by_bytes = impact_of_file(store, OLD)
    assert {clip.path for clips in by_bytes.clips.values() for clip in clips} == {
        "/data/esc50/1.wav",
        "/data/pretraining/copy.wav",
    }
    assert ids["model"] in by_bytes.graph.artifacts, "a copy of the file was pretrained on"
    for other in ("/data/esc50/3.wav", "f" * 64):
        with pytest.raises(LookupError, match="no clip came from it in the 4 manifests"):
            impact_of_file(store, other)


def test_impact_of_an_artifact(store: MetadataStore, ids: dict[str, int]) -> None:
    found = impact_of_artifact(store, ids["tut18 examples run1"])
    types = sorted(a.type for a in found.graph.artifacts.values())
    assert types.count("components.Embeddings") == 1 and types.count("components.ProbeReport") == 2
    assert found.runs == ("run1", "run2")


def test_why_names_what_changed_and_where_cached_steps_come_from(store: MetadataStore) -> None:
    found = why(store, find_run(store, "run2"))
    assert found.blessed is False and found.reasons == ("passed: a", "failed: b") and found.baseline == "run1"
    steps = {step.node: step for step in found.steps}
    assert {node: step.outcome for node, step in steps.items()} == {
        "ingest_esc50": "ran", "ingest_tut18": "cached", "ingest_pretraining": "cached", "trainer": "cached",
        "embed_esc50": "ran", "embed_tut18": "cached", "evaluator": "ran", "pusher": "ran",
    }  # fmt: skip
    assert steps["ingest_esc50"].reasons == ("since run run1: fingerprint changed: f1 -> f1x",)
    assert steps["embed_esc50"].reasons == (
        "since run run1: input examples is another one, made anew by ingest_esc50",
    )
    assert "in run run1 (execution" in steps["trainer"].reasons[0]
    assert any("baseline changed" in text for text in steps["evaluator"].reasons)
    assert {s.reasons for s in why(store, find_run(store, "run1")).steps} == {
        ("the first run of this pipeline",)
    }


def test_why_of_a_run_that_failed() -> None:
    writer = StoreWriter()
    writer.step("run1", "trainer", [], [], FAILED, seed=1)
    writer.step("run2", "trainer", [], [], seed=1)
    first, second = (why(writer.store, find_run(writer.store, run)) for run in ("run1", "run2"))
    assert first.blessed is None and [s.outcome for s in first.steps] == ["failed"]
    assert second.steps[0].reasons == ("it did not end in run run1",)


def test_diff_names_the_clip_the_setting_and_the_code(store: MetadataStore) -> None:
    found = diff(store, find_run(store, "run1"), find_run(store, "run2"))
    ((part),) = found.data
    assert part.node == "ingest_esc50"
    ((change),) = part.changes
    assert (change.what, change.clip_id) == ("changed", "1.wav")
    assert change.before and change.after and (change.before.sha256, change.after.sha256) == (OLD, NEW)
    assert found.config == [("training.seed", 0, 1)]
    assert ("git_revision", "r1", "r2") in found.code and ("trainer", "config1", "config2") in found.code
    assert found.scores["esc50"] == (0.5, 0.75)
    same = diff(store, find_run(store, "run1"), find_run(store, "run1"))
    assert same.config == [] and same.code == [] and same.data == ()


def test_nested_differences() -> None:
    first, second = {"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 1, "c": [2]}, "e": 3}
    assert nested_differences(first, second) == [("a.c", [1], [2]), ("d", 2, None), ("e", None, 3)]


def test_openlineage_jobs_are_named_by_their_pipeline() -> None:
    writer = StoreWriter()
    for run, pipeline in (("run1", "p"), ("run2", "q")):
        writer.step(run, "trainer", [], [], pipeline=pipeline)
        (event,) = openlineage(writer.store, find_run(writer.store, run))
        assert event["job"]["name"] == f"{pipeline}.trainer"
        assert event["run"]["facets"]["parent"]["job"]["name"] == pipeline


def test_openlineage_events_have_what_the_specification_requires(
    store: MetadataStore, ids: dict[str, int]
) -> None:
    """RunEvent of spec 2-0-2: required keys, a UUID, a date with a zone; and every input and output of ours."""
    events = json.loads(json.dumps(openlineage(store, find_run(store, "run2"))))
    assert len(events) == 8
    for event in events:
        assert {"eventTime", "producer", "schemaURL", "run", "job", "inputs", "outputs"} <= set(event)
        assert event["eventType"] in ("START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER")
        uuid.UUID(event["run"]["runId"])
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        for dataset in (*event["inputs"], *event["outputs"]):
            assert dataset["namespace"] == "file" and dataset["name"].startswith("/")
        for facets in (event["run"]["facets"], *(d["facets"] for d in event["inputs"])):
            assert all({"_producer", "_schemaURL"} <= set(facet) for facet in facets.values())
    assert len({event["run"]["runId"] for event in events}) == 8
    (evaluator,) = [event for event in events if event["job"]["name"] == "p.evaluator"]
    assert len(evaluator["inputs"]) == 7 and {d["name"] for d in evaluator["outputs"]} == {
        "/report/run2",
        "/blessing/run2",
    }
    digests = {
        d["facets"]["version"]["datasetVersion"]
        for e in events
        for d in e["outputs"]
        if "version" in d["facets"]
    }
    assert len(digests) == 3


def test_prov_relations_join_what_is_declared(store: MetadataStore, ids: dict[str, int]) -> None:
    document = json.loads(json.dumps(prov(store, find_run(store, "run2"))))
    for relation in ("used", "wasGeneratedBy"):
        for row in document[relation].values():
            assert row["prov:entity"] in document["entity"] and row["prov:activity"] in document["activity"]
    made = {row["prov:entity"] for row in document["wasGeneratedBy"].values()}
    assert f"hares:artifact/{ids['report run2']}" in made and f"hares:artifact/{ids['model']}" not in made
    assert len(document["activity"]) == 8
    for row in document["wasAssociatedWith"].values():
        assert row["prov:agent"] in document["agent"]
