"""A schedule's first step: what it finds, how it stands in the reviewed files, and what runs of such a file do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from hares.reading import source_fingerprint
from kits.hand_made import step, write_file
from kubeflow.compiled.file import (
    ARGO_TASK_NAME,
    compiled_text,
    read_compiled,
    read_documents,
    with_node_names,
)
from kubeflow.compiled.local_run import CompiledStepError, run_compiled
from kubeflow.compiled.newest_spans_step import STEP, main, newest_complete, with_newest_spans

GOLDEN = Path(__file__).with_name("golden")
SOURCE = "/mnt/corpora/span-{SPAN}"


def arrive(folder: Path, span: int, clips: int = 1, whole: bool = True) -> Path:
    place = folder / f"span-{span}"
    place.mkdir(parents=True, exist_ok=True)
    for clip in range(clips):
        (place / f"{clip}.wav").write_bytes(b"RIFF" + bytes([span, clip]))
    if whole:
        (place / "_SUCCESS").touch()
    return place


def found_by(folder: Path, window: int, run_key: str = "K") -> dict[str, Any]:
    """What the step's own command writes into its output file."""
    output = folder / "executor_output.json"
    values = {
        "source": f"{folder}/span-{{SPAN}}",
        "window": float(window),
        "marker": "_SUCCESS",
        "run_key": run_key,
    }
    given = {"inputs": {"parameterValues": values}, "outputs": {"outputFile": str(output)}}
    assert main(["--json_serialized_invocation_args", json.dumps(given)]) == 0
    said: dict[str, Any] = json.loads(output.read_text())["parameterValues"]
    return said


def test_the_newest_complete_spans_with_their_fingerprints(tmp_path: Path) -> None:
    places = {span: arrive(tmp_path, span) for span in (3, 20, 100)}
    arrive(tmp_path, 101, whole=False)
    said = found_by(tmp_path, 2)
    assert (said["span_1"], said["span_2"]) == (100, 20)
    assert json.loads(said["sources_1"]) == {"folder": str(places[100].resolve())}
    assert said["fingerprint_2"] == source_fingerprint(places[20])
    assert found_by(tmp_path, 2) == said

    arrive(tmp_path, 20, clips=2)  # a file more in a span that was there
    changed = found_by(tmp_path, 2)
    assert changed["fingerprint_1"] == said["fingerprint_1"]
    assert changed["fingerprint_2"] != said["fingerprint_2"] and changed["run_key"] != said["run_key"]
    arrive(tmp_path, 101)
    assert found_by(tmp_path, 2)["span_1"] == 101
    assert found_by(tmp_path, 2, "another")["run_key"] != found_by(tmp_path, 2)["run_key"]


def test_too_few_whole_spans_are_an_error(tmp_path: Path) -> None:
    arrive(tmp_path, 1)
    arrive(tmp_path, 2, whole=False)
    with pytest.raises(ValueError, match="1 spans have a _SUCCESS, but the window takes 2"):
        newest_complete(f"{tmp_path}/span-{{SPAN}}", 2, "_SUCCESS")


@pytest.mark.parametrize("name", ["kubeflow.yaml", "vertex.json"])
def test_it_stands_before_the_ingestions_of_a_compiled_file(name: str) -> None:
    from kfp.pipeline_spec import pipeline_spec_pb2

    documents = read_documents(GOLDEN / name)
    before = compiled_text(documents)
    done = with_newest_spans(documents, SOURCE, 2, "_SUCCESS")
    assert compiled_text(documents) == before  # the given ones stay
    written = done[0]["pipelineSpec"] if name == "vertex.json" else with_node_names(done[0])
    spec = json_format.ParseDict(written, pipeline_spec_pb2.PipelineSpec())
    tasks = spec.root.dag.tasks
    assert not any("span_1" in task or "span_2" in task for task in tasks)
    # The golden file's newest span is 2, which its window takes first.
    window = tasks["ingest_pretraining"].inputs.artifacts
    for place in (1, 2):
        ingest = tasks[f"ingest_pretraining_newest_{place}"]
        given = {key: p.task_output_parameter for key, p in ingest.inputs.parameters.items()}
        for key in ("sources", "fingerprint", "span"):
            assert given[key].producer_task == STEP
            assert given[key].output_parameter_key == f"{key}_{place}"
        assert STEP in ingest.dependent_tasks and ingest.caching_options.enable_cache
        made_by = window[f"examples_{place - 1}"].task_output_artifact.producer_task
        assert made_by == f"ingest_pretraining_newest_{place}"
    assert tasks["evaluator"].inputs.parameters["run_key"].task_output_parameter.producer_task == STEP
    assert not tasks[STEP].caching_options.enable_cache
    outputs = spec.components[STEP].output_definitions.parameters
    assert set(outputs) == {f"{key}_{n}" for key in ("sources", "fingerprint", "span") for n in (1, 2)} | {
        "run_key"
    }
    left = {"baseline", "run_key", "ingest_esc50_sources", "ingest_esc50_fingerprint"}
    carried = {"recorded"} if name == "kubeflow.yaml" else set()
    assert set(spec.root.input_definitions.parameters) == left | carried
    if name == "vertex.json":
        assert set(done[0]["runtimeConfig"]["parameterValues"]) == left
    else:  # the step sees the volume with the spans
        pods = done[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        assert pods[f"{STEP}_executor"]["pvcMount"] == [{"constant": "hares-data", "mountPath": "/mnt"}]


@pytest.mark.parametrize("name", ["kubeflow.yaml", pytest.param("vertex.json", marks=pytest.mark.full)])
def test_the_clusters_own_clients_take_such_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(compiled_text(with_newest_spans(read_documents(GOLDEN / name), SOURCE, 2, "_SUCCESS")))
    if name == "kubeflow.yaml":
        from kfp import components

        loaded = components.load_component_from_file(str(path))
        tasks = loaded.pipeline_spec.root.dag.tasks
        assert STEP.replace("_", "-") in tasks and all(ARGO_TASK_NAME.fullmatch(task) for task in tasks)
        assert f"{STEP}_executor" in loaded.platform_spec.platforms["kubernetes"].deployment_spec.executors
        return
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform

    job = aiplatform.PipelineJob(
        display_name="golden", template_path=str(path), project="project", location="us-central1",
        credentials=AnonymousCredentials(), parameter_values={"baseline": ""},
    )  # fmt: skip
    assert STEP in job.to_dict()["pipelineSpec"]["root"]["dag"]["tasks"]


@pytest.mark.parametrize(
    ("source", "window", "message"),
    [
        (
            SOURCE,
            3,
            "--window 3: the compiled file takes 2 spans; compile it with --set pretraining.window=3",
        ),
        (
            "/data/span-{SPAN}",
            2,
            "--source /data/span-{SPAN}: the file was compiled with span 2 at /mnt/corpora/span-2",
        ),
        ("/mnt/corpora/span-2", 2, "with {SPAN} for the number"),
    ],
)
def test_a_file_of_other_spans_is_refused(source: str, window: int, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        with_newest_spans(read_documents(GOLDEN / "kubeflow.yaml"), source, window, "_SUCCESS")
    assert message in str(caught.value)


INGESTS = "write('out', ' '.join([str(values['span']), values['sources'], values['fingerprint']])); say()"
SCORES = "write('out', values['run_key']); say()"


def a_file(folder: Path, path: Path) -> Path:
    """As `hares compile` writes it with spans 1 and 2, the work of its steps done by a line each."""

    def ingests(span: int) -> dict[str, Any]:
        name = f"ingest_pretraining_span_{span}"
        given = {key: {"componentInputParameter": f"{name}_{key}"} for key in ("sources", "fingerprint")}
        return step(INGESTS, parameters={**given, "span": {"runtimeValue": {"constant": float(span)}}})

    defaults = {"run_key": "KEY"}
    for span in (1, 2):
        defaults[f"ingest_pretraining_span_{span}_sources"] = json.dumps({"folder": f"{folder}/span-{span}"})
        defaults[f"ingest_pretraining_span_{span}_fingerprint"] = "as compiled"
    steps = {
        "ingest_pretraining_span_1": ingests(1),
        "ingest_pretraining_span_2": ingests(2),
        "evaluator": step(
            SCORES,
            {"newest": ("ingest_pretraining_span_2", "out"), "older": ("ingest_pretraining_span_1", "out")},
            parameters={"run_key": {"componentInputParameter": "run_key"}},
        ),
    }
    parameters = {
        key: {"parameterType": "STRING", "defaultValue": value, "isOptional": True}
        for key, value in defaults.items()
    }
    return write_file(path, steps, parameters)


class Seen:
    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}

    def start(self, step: str, attempt: int, process: int) -> None: ...

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        self.outcomes[step] = outcome


def test_each_run_takes_the_spans_that_are_there_when_it_starts(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for span in (1, 2):
        arrive(data, span)
    documents = read_documents(a_file(data, tmp_path / "compiled.yaml"))
    path = tmp_path / "scheduled.yaml"
    path.write_text(compiled_text(with_newest_spans(documents, f"{data}/span-{{SPAN}}", 2, "_SUCCESS")))

    def run(name: str) -> tuple[list[str], str, dict[str, str]]:
        seen = Seen()
        done = run_compiled(read_compiled(path), tmp_path / name, seen)
        texts = [
            (Path(done[step]["out"][0]["uri"]) / "data").read_text()
            for step in ("ingest_pretraining_newest_1", "ingest_pretraining_newest_2", "evaluator")
        ]
        return [text.split()[0] for text in texts[:2]], texts[2], seen.outcomes

    spans, key, _ = run("monday")
    assert spans == ["2", "1"]
    arrive(data, 3)
    again, same, outcomes = run("monday")  # a run that goes on keeps what it began with
    assert (again, same, set(outcomes.values())) == (spans, key, {"kept"})
    later, other, _ = run("tuesday")
    assert later == ["3", "2"] and other != key
    arrive(data, 2, clips=3)
    _, changed, _ = run("wednesday")
    assert changed not in (key, other)
    (data / "span-2" / "_SUCCESS").unlink()
    (data / "span-1" / "_SUCCESS").unlink()
    with pytest.raises(CompiledStepError, match=STEP):
        run("thursday")
