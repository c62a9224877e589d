"""Runs a compiled pipeline from its file alone, on this machine: what the cluster would do, without a cluster.

Every step's own command is executed as a process, with the executor input that the cluster would put in place of
`{{$}}`, and with names of run and task in place of theirs; drivers (`lifecycle.preCacheCheck`) first. Only the
interpreter's name is replaced by this one's path, since no image is pulled. What a step gives is read from its output
file, as the cluster reads it.

The steps of a Kubeflow file are treated no better than Kubeflow treats them: input artifacts come without a type, the
log is among the outputs, and an importer takes addresses with a scheme alone (`kubeflow.executor_input.as_tfx_expects`
and `_import` name the sources).

On disk, below the folder of the run:

| path | what |
|---|---|
| STEP/attempt-N/ | one attempt: its outputs, `executor_input.json`, `executor_output.json`, `log.txt` |
| STEP/task-DIGEST/ | of a Vertex file: outputs and `executor_output.json` of all attempts at the same input |
| STEP/published.json | which attempt counts, its artifacts and parameters, and the digest of its executor input |

`published.json` is written last and in one go: an attempt that was killed is never read. From a Kubeflow file a new one
starts in a folder of its own; from a Vertex file it is given the same addresses, with what the killed one left there,
and has to do away with it (`kubeflow.entrypoint`). A run that was stopped goes on behind the steps that are published
with the same input.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from hares.atomic_files import no_link, refuse_links, write_atomically
from kubeflow.compiled import CompiledFileError, CompiledPipeline, CompiledStep
from kubeflow.executor_input import EXECUTOR_LOGS

PLACEHOLDER = "{{$}}"
RUN, TASK = "{{$.pipeline_job_resource_name}}", "{{$.pipeline_task_name}}"
_PLACEHOLDERS = re.compile(r"\{\{\$.*?\}\}")
PUBLISHED = "published.json"
INPUT_FILE, OUTPUT_FILE, LOG_FILE = "executor_input.json", "executor_output.json", "log.txt"


class CompiledStepError(RuntimeError):
    """A step failed in every attempt; `step` is its name, and the message names the log."""

    def __init__(self, step: str, message: str):
        super().__init__(message)
        self.step = step


class HarnessObserver(Protocol):
    """Who is told how the steps go."""

    def start(self, step: str, attempt: int, process: int) -> None:
        """An attempt runs, as the process of this number."""

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        """A step has ended: "ran", "kept" from an earlier run, or "failed"."""


@dataclass(frozen=True)
class _Place:
    """Where a step's attempt writes: log and input into its own folder, the rest into the task's."""

    attempt: Path
    task: Path

    @property
    def input_file(self) -> Path:
        return self.attempt / INPUT_FILE

    @property
    def log_file(self) -> Path:
        return self.attempt / LOG_FILE

    @property
    def output_file(self) -> Path:
        return self.task / OUTPUT_FILE

    def uri(self, key: str) -> Path:
        return self.task / "outputs" / key


Artifacts = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class _Given:
    """What a step gives to those after it."""

    artifacts: Artifacts
    parameters: Mapping[str, Any] = field(default_factory=dict)


def run_compiled(
    pipeline: CompiledPipeline,
    folder: Path,
    observer: HarnessObserver,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Artifacts]:
    """Runs every step that is not published yet.

    The file's programs are executed: `kubeflow.own_steps` tells whether they are ours.

    Args:
        pipeline: what `read_compiled` gave.
        folder: of this run; made where it is not there.
        observer: told of every attempt.
        environment: of the steps' processes; None for this one's, with all tokens that are in it.

    Returns:
        Step to output name to the artifacts' uri, type and metadata.

    Raises:
        CompiledStepError: a step failed in every attempt; those after it were not started.
    """
    done: dict[str, _Given] = {}
    refuse_links(folder, [step.name for step in pipeline.steps])
    for step in pipeline.steps:
        if not _enabled(step):
            raise CompiledStepError(step.name, f"step {step.name}: conditional steps cannot be run here")
        began = time.monotonic()
        if step.container is None:
            done[step.name] = _Given(_import(step, pipeline.for_vertex))
            continue
        inputs = _inputs(step, pipeline, done)
        if not pipeline.for_vertex:
            inputs["artifacts"] = _without_types(inputs["artifacts"])
        digest = _digest(step, inputs)
        home = folder.resolve() / step.name
        published = _published(home, digest)
        outcome = "kept" if published is not None else "ran"
        if published is None:
            task = home / f"task-{digest[:12]}" if pipeline.for_vertex else None
            given = dict(os.environ if environment is None else environment)
            published = _run_step(step, inputs, home, task, digest, observer, given)
        done[step.name] = published
        observer.finish(step.name, outcome, time.monotonic() - began)
    return {name: given.artifacts for name, given in done.items()}


def _run_step(
    step: CompiledStep,
    inputs: dict[str, Any],
    home: Path,
    task: Path | None,
    digest: str,
    observer: HarnessObserver,
    environment: Mapping[str, str],
) -> _Given:
    """Tries a step as often as its policy says; `task` is the folder of all its attempts, None for one each."""
    began, code, log = time.monotonic(), 0, home
    for _ in range(step.retries + 1):
        attempt = _next_attempt(home)
        folder = home / f"attempt-{attempt}"
        folder.mkdir(parents=True)
        place = _Place(folder, task or folder)
        place.task.mkdir(exist_ok=True)
        log = place.log_file
        started = functools.partial(observer.start, step.name, attempt)
        code = _run_attempt(step, inputs, place, started, environment)
        if code == 0:
            given = _collect(step, place)
            record = {"attempt": attempt, "digest": digest, **asdict(given)}
            write_atomically(home / PUBLISHED, json.dumps(record, indent=1, sort_keys=True))
            return given
    observer.finish(step.name, "failed", time.monotonic() - began)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise CompiledStepError(
        step.name,
        f"step {step.name} ended with {how} in {step.retries + 1} attempts; the last one's log is {log}",
    )


def _run_attempt(
    step: CompiledStep,
    inputs: dict[str, Any],
    place: _Place,
    started: Callable[[int], None],
    environment: Mapping[str, str],
) -> int:
    """Exit code of the driver, where there is one and it failed, else of the step's own command."""
    container = step.container
    assert container is not None
    driver = container.get("lifecycle", {}).get("preCacheCheck")
    given = {"inputs": inputs, "outputs": _outputs(step, place)}
    environment = {**environment, **{e["name"]: e["value"] for e in container.get("env", [])}}
    with open(place.log_file, "ab", opener=no_link) as log:
        if driver is not None:
            code = _execute(driver, _handed(given, place), environment, place, log, started)
            if code != 0:
                return code
            given = _with_driver_output(given, _read_output(place))
        return _execute(container, _handed(given, place), environment, place, log, started)


def _handed(given: dict[str, Any], place: _Place) -> dict[str, str]:
    """What goes in place of each placeholder; the executor input is kept beside the log.

    The run is named by its folder, so that every attempt has the same names.
    """
    text = json.dumps(given, sort_keys=True)
    place.input_file.write_text(text, encoding="utf-8")
    home = place.attempt.parent
    return {PLACEHOLDER: text, RUN: str(home.parent), TASK: home.name}


def _execute(
    command: Mapping[str, Any],
    handed: Mapping[str, str],
    environment: Mapping[str, str],
    place: _Place,
    log: IO[bytes],
    started: Callable[[int], None],
) -> int:
    words = [*command.get("command", []), *command.get("args", [])]
    for word in words:
        if set(_PLACEHOLDERS.findall(word)) - set(handed):
            raise CompiledFileError(
                f"{word!r}: of placeholders, {', '.join(handed)} alone can be filled in here"
            )
    words = [_PLACEHOLDERS.sub(lambda match: handed[match[0]], word) for word in words]
    if words[0] in ("python", "python3"):
        words[0] = sys.executable
    # In a folder of its own: `python -m` imports from the current one before it looks for what is installed.
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=dict(environment),
        cwd=place.attempt, start_new_session=True,
    )  # fmt: skip
    started(process.pid)
    try:
        return process.wait()
    finally:  # with what it started: a worker that outlives its step could write into the next attempt's data
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _with_driver_output(given: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """What the step itself is handed after its driver: parameters and properties as the driver left them."""
    inputs, outputs = given["inputs"], given["outputs"]
    artifacts = {
        key: {"artifacts": [_merged(entry["artifacts"][0], said, key)]}
        for key, entry in outputs["artifacts"].items()
    }
    values = {**inputs["parameterValues"], **said.get("parameterValues", {})}
    return {"inputs": {**inputs, "parameterValues": values}, "outputs": {**outputs, "artifacts": artifacts}}


def _read_output(place: _Place) -> dict[str, Any]:
    """What a step or driver wrote into its output file; nothing where it wrote none."""
    if not place.output_file.is_file():
        return {}
    content: dict[str, Any] = json.loads(place.output_file.read_text(encoding="utf-8"))
    return content


def _merged(planned: dict[str, Any], said: dict[str, Any], key: str) -> dict[str, Any]:
    """An artifact with address and properties as the output file has them; its type stays."""
    (own,) = said.get("artifacts", {}).get(key, {}).get("artifacts", [{}])
    metadata = {**planned["metadata"], **own.get("metadata", {})}
    return {**planned, "uri": own.get("uri") or planned["uri"], "metadata": metadata}


def _inputs(step: CompiledStep, pipeline: CompiledPipeline, done: Mapping[str, _Given]) -> dict[str, Any]:
    """`ExecutorInput.inputs`: upstream artifacts as they were published, and parameters."""
    wanted = step.task.get("inputs", {})
    artifacts = {}
    for key, source in wanted.get("artifacts", {}).items():
        output = source["taskOutputArtifact"]
        artifacts[key] = {"artifacts": done[output["producerTask"]].artifacts[output["outputArtifactKey"]]}
    values = {}
    for key, source in wanted.get("parameters", {}).items():
        if "componentInputParameter" in source:
            values[key] = pipeline.parameters[source["componentInputParameter"]]
        elif "taskOutputParameter" in source:
            output = source["taskOutputParameter"]
            values[key] = done[output["producerTask"]].parameters[output["outputParameterKey"]]
        else:
            values[key] = source["runtimeValue"]["constant"]
    return {"artifacts": artifacts, "parameterValues": values}


def _without_types(artifacts: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as Kubeflow's driver hands them over."""
    return {
        key: {"artifacts": [{**one, "type": {"instanceSchema": ""}} for one in entry["artifacts"]]}
        for key, entry in artifacts.items()
    }


def _outputs(step: CompiledStep, place: _Place) -> dict[str, Any]:
    artifacts: dict[str, Any] = {}
    if place.task == place.attempt:  # of a Kubeflow file
        kind = {"schemaTitle": "system.Artifact"}
        log = {"name": EXECUTOR_LOGS, "type": kind, "uri": str(place.log_file), "metadata": {}}
        artifacts[EXECUTOR_LOGS] = {"artifacts": [log]}
    for key, definition in step.component.get("outputDefinitions", {}).get("artifacts", {}).items():
        one = {
            "name": f"{step.name}/{key}/{place.task.name}",
            "type": definition["artifactType"],
            "uri": str(place.uri(key)),
            "metadata": {**definition.get("metadata", {})},
        }
        artifacts[key] = {"artifacts": [one]}
    return {"artifacts": artifacts, "outputFile": str(place.output_file)}


def _collect(step: CompiledStep, place: _Place) -> _Given:
    """The artifacts as the step was handed them, its driver's properties included, and as its output file has them.

    The output file may leave artifacts out, and never their types, and no parameter.
    """
    said = _read_output(place)
    handed = json.loads(place.input_file.read_text(encoding="utf-8"))["outputs"]["artifacts"]
    artifacts = {
        key: [_merged(entry["artifacts"][0], said, key)]
        for key, entry in handed.items()
        if key != EXECUTOR_LOGS
    }
    wanted = step.component.get("outputDefinitions", {}).get("parameters", {})
    parameters = {key: said.get("parameterValues", {}).get(key) for key in wanted}
    missing = sorted(key for key, value in parameters.items() if value is None)
    if missing:
        raise CompiledStepError(step.name, f"step {step.name}: its output file has no {', '.join(missing)}")
    return _Given(artifacts, parameters)


def _import(step: CompiledStep, for_vertex: bool) -> Artifacts:
    importer = step.executor["importer"]
    value = importer["artifactUri"].get("constant")
    if not value:
        raise CompiledFileError(
            f"step {step.name}: of importers, those of a constant address alone can be run"
        )
    if not for_vertex and "://" not in value:
        # kubeflow/pipelines, backend/src/v2/component/importer_launcher.go: "no provider scheme found".
        raise CompiledFileError(
            f"step {step.name}: Kubeflow imports from gs://, s3:// and minio:// alone, and this is {value}"
        )
    one = {
        "name": f"{step.name}/result",
        "type": importer["typeSchema"],
        "uri": value,
        "metadata": importer.get("metadata", {}),
    }
    return {key: [one] for key in step.component["outputDefinitions"]["artifacts"]}


def _published(home: Path, digest: str) -> _Given | None:
    try:
        record = json.loads((home / PUBLISHED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return _Given(record["artifacts"], record["parameters"]) if record["digest"] == digest else None


def _digest(step: CompiledStep, inputs: dict[str, Any]) -> str:
    content = json.dumps([step.container, step.component, inputs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _next_attempt(home: Path) -> int:
    there = [int(path.name.removeprefix("attempt-")) for path in home.glob("attempt-*")]
    return max(there, default=0) + 1


def _enabled(step: CompiledStep) -> bool:
    return "triggerPolicy" not in step.task or "condition" not in step.task["triggerPolicy"]
