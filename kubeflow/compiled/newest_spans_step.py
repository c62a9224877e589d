"""A first step that finds the newest spans when a scheduled run starts, and how it is put into a compiled file.

`hares compile` fixes the spans of a run, but a schedule starts the same file again and again. `with_newest_spans` adds
a step in front that looks for the newest complete spans (folders with the marker file), and gives each ingestion the
folder, number and fingerprint of its span. Ingestions are then named by their place in the window: 1 is the newest.

The keys of the clusters' caches contain parameters: a new or changed span is ingested, and one that an earlier run
ingested in another place of the window comes from the cache. The step itself is never cached. The run key becomes a
digest of the compiled key and the fingerprints, so that runs on different data have different keys.

The tasks' data, the baseline and the model to start from stay as compiled.

    python -m kubeflow.compiled.newest_spans_step --json_serialized_invocation_args EXECUTOR_INPUT
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from hares.buckets import Place, own
from hares.folder import FOLDER, spans
from hares.reading import source_fingerprint
from kubeflow.compiled.executor_input import FLAG, executor_input, write_output
from kubeflow.compiled.file import rename_tasks, with_argo_names, with_node_names

STEP = "newest_spans"
_INGEST = re.compile(r"ingest_pretraining_span_\d+")
_OUTPUTS = {"sources": "STRING", "fingerprint": "STRING", "span": "NUMBER_INTEGER"}


def with_newest_spans(
    documents: Sequence[Mapping[str, Any]], source: str, window: int, marker: str
) -> list[dict[str, Any]]:
    """Changes a compiled pipeline to run on the newest spans.

    Args:
        documents: of the file: one of JSON for Vertex, one or two of YAML for Kubeflow.
        source: pattern of the spans' folders, with `{SPAN}` once, as the steps see them.
        window: how many spans.
        marker: name of the file that marks a span as complete.

    Returns:
        New documents.

    Raises:
        ValueError: the file was compiled with another number of spans, or with another source.
    """
    done = [copy.deepcopy(dict(document)) for document in documents]
    for_kubeflow = "pipelineSpec" not in done[0]
    if for_kubeflow:
        done[0] = with_node_names(done[0])
    spec = done[0].get("pipelineSpec", done[0])
    tasks = spec["root"]["dag"]["tasks"]
    found = sorted(filter(_INGEST.fullmatch, tasks), key=lambda name: -_span(tasks[name]))
    if len(found) != window:
        raise ValueError(
            f"--window {window}: the compiled file takes {len(found)} spans; compile it with "
            f"--set pretraining.window={window}, a source with {{SPAN}}, and that many spans there"
        )
    for name in found:
        _check_folder(source, _folder(spec, tasks[name]), _span(tasks[name]))
    names = {name: f"ingest_pretraining_newest_{place}" for place, name in enumerate(found, 1)}
    rename_tasks(spec, names)
    for place, name in enumerate(names.values(), 1):
        for key in _OUTPUTS:
            _take(spec, done[0], name, key, f"{key}_{place}")
    _take(spec, done[0], "evaluator", "run_key", "run_key")
    _add_step(spec, tasks[names[found[0]]], {"source": source, "marker": marker, "window": window})
    for document in done[1:]:
        pods = document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        beside = pods.get(_label(spec, names[found[0]]))
        if beside is not None:
            pods[f"{STEP}_executor"] = copy.deepcopy(beside)
    if for_kubeflow:
        done[0] = with_argo_names(done[0])
    return done


def newest_complete(source: str, window: int, marker: str) -> list[tuple[int, Place]]:
    """Numbers and folders of the newest complete spans, newest first.

    Raises:
        ValueError: there are fewer.
    """
    complete = [(number, path) for number, path in spans(source).items() if own(path / marker).is_file()]
    if len(complete) < window:
        raise ValueError(
            f"{source}: {len(complete)} spans have a {marker}, but the window takes {window}; wait for more, or "
            "schedule a file with a smaller window"
        )
    return sorted(complete, key=lambda found: found[0], reverse=True)[:window]


def main(arguments: Sequence[str]) -> int:
    """Finds the spans and writes them into the step's output file. Returns 1 if there are too few."""
    given = executor_input(arguments)
    values = given["inputs"]["parameterValues"]
    try:
        found = newest_complete(values["source"], int(values["window"]), values["marker"])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    outputs: dict[str, Any] = {}
    fingerprints = []
    for place, (number, path) in enumerate(found, 1):
        fingerprints.append(source_fingerprint(path))
        outputs[f"sources_{place}"] = json.dumps({FOLDER: str(path.resolve())})
        outputs[f"fingerprint_{place}"] = fingerprints[-1]
        outputs[f"span_{place}"] = number
        print(f"span {number}: {path}")
    outputs["run_key"] = hashlib.sha256(json.dumps([values["run_key"], *fingerprints]).encode()).hexdigest()
    write_output(given, {"parameterValues": outputs})
    return 0


def _span(task: Mapping[str, Any]) -> int:
    return int(task["inputs"]["parameters"]["span"]["runtimeValue"]["constant"])


def _folder(spec: Mapping[str, Any], task: Mapping[str, Any]) -> str:
    name = task["inputs"]["parameters"]["sources"]["componentInputParameter"]
    folder: str = json.loads(spec["root"]["inputDefinitions"]["parameters"][name]["defaultValue"])[FOLDER]
    return folder


def _check_folder(source: str, folder: str, span: int) -> None:
    before, found, after = source.partition("{SPAN}")
    match = re.fullmatch(f"{re.escape(before)}([0-9]+){re.escape(after.rstrip('/'))}", folder)
    if not found or match is None or int(match[1]) != span:
        raise ValueError(
            f"--source {source}: the file was compiled with span {span} at {folder}, which does not match; give the "
            "absolute pattern as the steps see it, with {SPAN} for the number"
        )


def _take(spec: dict[str, Any], job: dict[str, Any], name: str, key: str, output: str) -> None:
    """Takes a task's parameter from the new step, and drops the pipeline's own parameter, except the run key."""
    task = spec["root"]["dag"]["tasks"][name]
    before = task["inputs"]["parameters"][key]
    task["inputs"]["parameters"][key] = {
        "taskOutputParameter": {"producerTask": STEP, "outputParameterKey": output}
    }
    task["dependentTasks"] = sorted({*task.get("dependentTasks", []), STEP})
    own = before.get("componentInputParameter")
    if own and own != "run_key":
        del spec["root"]["inputDefinitions"]["parameters"][own]
        job.get("runtimeConfig", {}).get("parameterValues", {}).pop(own, None)


def _add_step(spec: dict[str, Any], beside: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    kinds = {"source": "STRING", "marker": "STRING", "window": "NUMBER_INTEGER", "run_key": "STRING"}
    given = {
        f"{key}_{place}": kind for place in range(1, settings["window"] + 1) for key, kind in _OUTPUTS.items()
    }
    executors = spec["deploymentSpec"]["executors"]
    component = spec["components"][beside["componentRef"]["name"]]
    spec["components"][STEP] = {
        "executorLabel": f"{STEP}_executor",
        "inputDefinitions": {"parameters": {name: {"parameterType": kind} for name, kind in kinds.items()}},
        "outputDefinitions": {
            "parameters": {
                name: {"parameterType": kind} for name, kind in {**given, "run_key": "STRING"}.items()
            }
        },
    }
    executors[f"{STEP}_executor"] = {
        "container": {
            "image": executors[component["executorLabel"]]["container"]["image"],
            "command": ["python", "-m", "kubeflow.compiled.newest_spans_step"],
            "args": [FLAG, "{{$}}"],
        }
    }
    parameters: dict[str, Any] = {
        name: {"runtimeValue": {"constant": value}} for name, value in settings.items()
    }
    task: dict[str, Any] = {
        "cachingOptions": {},
        "componentRef": {"name": STEP},
        "inputs": {"parameters": {**parameters, "run_key": {"componentInputParameter": "run_key"}}},
        "taskInfo": {"name": STEP},
    }
    if "retryPolicy" in beside:
        task["retryPolicy"] = copy.deepcopy(beside["retryPolicy"])
    spec["root"]["dag"]["tasks"][STEP] = task


def _label(spec: Mapping[str, Any], name: str) -> str:
    component = spec["root"]["dag"]["tasks"][name]["componentRef"]["name"]
    label: str = spec["components"][component]["executorLabel"]
    return label


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
