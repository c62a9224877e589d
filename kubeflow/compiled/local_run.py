"""Runs a compiled file on this machine, step by step, as its cluster would.

Each step's own command is executed as a process. `{{$}}` in it is replaced by the executor input that the cluster would
put there, and the names of run and task are replaced likewise; drivers (`lifecycle.preCacheCheck`) run first. `python`
becomes this interpreter, since no image is pulled. A step's outputs are read from its output file, as the cluster does.

The steps of a Kubeflow file get what Kubeflow would give them and no more (`kfp_launcher` has the list), and are
retried as Argo counts (`CompiledStep.retried_by_argo`).

The folder of a run holds:

| path | what |
|---|---|
| STEP/attempt-N/ | one attempt: its outputs and output file, `executor_input.json`, `log.txt` |
| STEP/task-DIGEST/ | of a Vertex file: outputs and `executor_output.json` of all attempts at the same input |
| STEP/published.json | which attempt counts, its artifacts and parameters, and the digest of its executor input |

`published.json` is written last and atomically, so the outputs of a killed attempt are never read. After a kill, a step
of a Kubeflow file starts again in a folder of its own. A step of a Vertex file gets the same addresses again, together
with what the killed attempt left there, and has to remove it (`kubeflow.entrypoint`). A run that was stopped skips the
steps that are published with the same input.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from hares.atomic_files import no_link, refuse_links, write_atomically
from kubeflow.compiled import kfp_launcher
from kubeflow.compiled.executor_input import EXECUTOR_LOGS
from kubeflow.compiled.file import CompiledFileError, CompiledPipeline, CompiledStep

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


class AttemptObserver(Protocol):
    """Is notified of every attempt and of the end of every step."""

    def start(self, step: str, attempt: int, process: int) -> None:
        """An attempt runs as the process with this number."""

    def finish(self, step: str, outcome: str, seconds: float) -> None:
        """A step has ended: "ran", "kept" from an earlier run, or "failed"."""


@dataclass(frozen=True)
class _AttemptPaths:
    """Where an attempt writes: log and input into its own folder, the rest into the task's.

    `run` is the folder of the whole run; of a Vertex file attempts share their task's folder.
    """

    run: Path
    attempt: Path
    task: Path
    for_vertex: bool

    @property
    def input_file(self) -> Path:
        return self.attempt / INPUT_FILE

    @property
    def log_file(self) -> Path:
        return self.attempt / LOG_FILE

    @property
    def outputs(self) -> Path:
        return self.task / "outputs"

    @property
    def output_file(self) -> Path:
        return self.task / OUTPUT_FILE if self.for_vertex else self.outputs / kfp_launcher.OUTPUT_FILE


Artifacts = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class _Outputs:
    """What a step produced, for the steps after it."""

    artifacts: Artifacts
    parameters: Mapping[str, Any] = field(default_factory=dict)


def run_compiled(
    pipeline: CompiledPipeline,
    folder: Path,
    observer: AttemptObserver,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Artifacts]:
    """Runs every step that is not yet published.

    The file's programs are executed; `kubeflow.compiled.trust` tells whether they are ours.

    Args:
        pipeline: from `read_compiled`.
        folder: of this run; created if it does not exist.
        observer: notified of every attempt.
        environment: of the steps' processes; None for this process's own, with all its tokens.

    Returns:
        Step to output name to the artifacts' uri, type and metadata.

    Raises:
        CompiledStepError: a step failed in every attempt; the steps after it were not started.
    """
    done: dict[str, _Outputs] = {}
    refuse_links(folder, [step.name for step in pipeline.steps])
    for step in pipeline.steps:
        if not _enabled(step):
            raise CompiledStepError(step.name, f"step {step.name}: conditional steps cannot be run here")
        began = time.monotonic()
        if step.container is None:
            done[step.name] = _Outputs(_import(step, pipeline.for_vertex))
            continue
        run = folder.resolve()
        inputs = _inputs(step, pipeline, done)
        if not pipeline.for_vertex:
            with _refusals(step):
                inputs = kfp_launcher.handed_over(step, inputs, run)
        digest = _digest(step, inputs)
        home = run / step.name
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
    observer: AttemptObserver,
    environment: Mapping[str, str],
) -> _Outputs:
    """Tries a step as often as its policy says; `task` is the folder that its attempts share, if they do."""
    began = time.monotonic()
    for count in itertools.count(1):
        attempt = _next_attempt(home)
        folder = home / f"attempt-{attempt}"
        folder.mkdir(parents=True)
        paths = _AttemptPaths(home.parent, folder, task or folder, for_vertex=task is not None)
        paths.task.mkdir(exist_ok=True)
        started = functools.partial(observer.start, step.name, attempt)
        code = _run_attempt(step, inputs, paths, started, environment)
        if code == 0:
            given = _collect(step, paths)
            record = {"attempt": attempt, "digest": digest, **asdict(given)}
            write_atomically(home / PUBLISHED, json.dumps(record, indent=1, sort_keys=True))
            return given
        passed = time.monotonic() - began
        if not (count <= step.retries if paths.for_vertex else step.retried_by_argo(count, passed)):
            break
    observer.finish(step.name, "failed", passed)
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    raise CompiledStepError(
        step.name,
        f"step {step.name} ended with {how} in {count} attempts; the last one's log is {paths.log_file}",
    )


def _run_attempt(
    step: CompiledStep,
    inputs: dict[str, Any],
    paths: _AttemptPaths,
    started: Callable[[int], None],
    environment: Mapping[str, str],
) -> int:
    """Exit code of the driver if it failed, else of the step's own command."""
    container = step.container
    assert container is not None
    driver = container.get("lifecycle", {}).get("preCacheCheck")
    given = {"inputs": inputs, "outputs": _planned_outputs(step, paths)}
    environment = {**environment, **{e["name"]: e["value"] for e in container.get("env", [])}}
    with open(paths.log_file, "ab", opener=no_link) as log:
        if driver is not None:
            code = _execute(driver, _placeholders(given, paths), environment, paths, log, started)
            if code != 0:
                return code
            given = _with_driver_output(given, _read_output(paths))
        return _execute(container, _placeholders(given, paths), environment, paths, log, started)


def _placeholders(given: dict[str, Any], paths: _AttemptPaths) -> dict[str, str]:
    """The value of each placeholder; the executor input is also written beside the log.

    The run is named by its folder, so every attempt gets the same names.
    """
    text = json.dumps(given, sort_keys=True)
    paths.input_file.write_text(text, encoding="utf-8")
    home = paths.attempt.parent
    return {PLACEHOLDER: text, RUN: str(home.parent), TASK: home.name}


def _execute(
    command: Mapping[str, Any],
    filled: Mapping[str, str],
    environment: Mapping[str, str],
    paths: _AttemptPaths,
    log: IO[bytes],
    started: Callable[[int], None],
) -> int:
    words = [*command.get("command", []), *command.get("args", [])]
    for word in words:
        if set(_PLACEHOLDERS.findall(word)) - set(filled):
            raise CompiledFileError(
                f"{word!r}: only the placeholders {', '.join(filled)} can be filled in here"
            )
    words = [_PLACEHOLDERS.sub(lambda match: filled[match[0]], word) for word in words]
    if words[0] in ("python", "python3"):
        words[0] = sys.executable
    # In a folder of its own, because `python -m` imports from the current folder first.
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=dict(environment),
        cwd=paths.attempt, start_new_session=True,
    )  # fmt: skip
    started(process.pid)
    try:
        return process.wait()
    finally:  # with its children: a worker that outlives its step could write into the next attempt's data
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _with_driver_output(given: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """The executor input of the step itself: parameters and properties as the driver left them."""
    inputs, outputs = given["inputs"], given["outputs"]
    artifacts = {
        key: {"artifacts": [_merged(entry["artifacts"][0], written, key)]}
        for key, entry in outputs["artifacts"].items()
    }
    values = {**inputs["parameterValues"], **written.get("parameterValues", {})}
    return {"inputs": {**inputs, "parameterValues": values}, "outputs": {**outputs, "artifacts": artifacts}}


def _read_output(paths: _AttemptPaths) -> dict[str, Any]:
    """What a step or driver wrote into its output file; {} if it wrote none."""
    if not paths.output_file.is_file():
        return {}
    content: dict[str, Any] = json.loads(paths.output_file.read_text(encoding="utf-8"))
    return content


def _merged(planned: dict[str, Any], written: dict[str, Any], key: str) -> dict[str, Any]:
    """An artifact with the address and properties of the output file; its type stays."""
    (own,) = written.get("artifacts", {}).get(key, {}).get("artifacts", [{}])
    metadata = {**planned.get("metadata", {}), **own.get("metadata", {})}
    return {**planned, "uri": own.get("uri") or planned["uri"], "metadata": metadata}


def _inputs(step: CompiledStep, pipeline: CompiledPipeline, done: Mapping[str, _Outputs]) -> dict[str, Any]:
    """`ExecutorInput.inputs`: published artifacts of earlier steps, and parameters."""
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


@contextlib.contextmanager
def _refusals(step: CompiledStep) -> Iterator[None]:
    """What Kubeflow would refuse is a failure of the step."""
    try:
        yield
    except kfp_launcher.RefusedByKubeflowError as error:
        raise CompiledStepError(
            step.name, f"step {step.name}: Kubeflow would fail it, because {error}"
        ) from error


def _planned_outputs(step: CompiledStep, paths: _AttemptPaths) -> dict[str, Any]:
    if not paths.for_vertex:
        return kfp_launcher.planned_outputs(step, paths.outputs, paths.log_file)
    artifacts: dict[str, Any] = {}
    for key, definition in step.component.get("outputDefinitions", {}).get("artifacts", {}).items():
        one = {
            "name": f"{step.name}/{key}/{paths.task.name}",
            "type": definition["artifactType"],
            "uri": str(paths.outputs / key),
            "metadata": {**definition.get("metadata", {})},
        }
        artifacts[key] = {"artifacts": [one]}
    return {"artifacts": artifacts, "outputFile": str(paths.output_file)}


def _collect(step: CompiledStep, paths: _AttemptPaths) -> _Outputs:
    """A step's outputs: the artifacts of its executor input, updated from its output file, and its parameters.

    The output file may leave out artifacts, but no parameter.
    """
    written = _read_output(paths)
    planned = json.loads(paths.input_file.read_text(encoding="utf-8"))["outputs"]["artifacts"]
    artifacts = {
        key: [_merged(entry["artifacts"][0], written, key)]
        for key, entry in planned.items()
        if key != EXECUTOR_LOGS
    }
    if not paths.for_vertex:
        with _refusals(step):
            kfp_launcher.check_output(written)
            artifacts = {key: [kfp_launcher.kept(one, paths.run)] for key, (one,) in artifacts.items()}
    wanted = step.component.get("outputDefinitions", {}).get("parameters", {})
    parameters = {key: written.get("parameterValues", {}).get(key) for key in wanted}
    missing = sorted(key for key, value in parameters.items() if value is None)
    if missing:
        raise CompiledStepError(step.name, f"step {step.name}: its output file has no {', '.join(missing)}")
    return _Outputs(artifacts, parameters)


def _import(step: CompiledStep, for_vertex: bool) -> Artifacts:
    importer = step.executor["importer"]
    value = importer["artifactUri"].get("constant")
    if not value:
        raise CompiledFileError(f"step {step.name}: only importers with a constant address can be run here")
    if not for_vertex and "://" not in value:
        # kubeflow/pipelines, backend/src/v2/component/importer_launcher.go: "no provider scheme found".
        raise CompiledFileError(
            f"step {step.name}: Kubeflow imports only from gs://, s3:// and minio://, and this is {value}"
        )
    one = {
        "name": f"{step.name}/result" if for_vertex else "result",
        "type": importer["typeSchema"],
        "uri": value,
        "metadata": importer.get("metadata", {}),
    }
    return {key: [one] for key in step.component["outputDefinitions"]["artifacts"]}


def _published(home: Path, digest: str) -> _Outputs | None:
    try:
        record = json.loads((home / PUBLISHED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return _Outputs(record["artifacts"], record["parameters"]) if record["digest"] == digest else None


def _digest(step: CompiledStep, inputs: dict[str, Any]) -> str:
    content = json.dumps([step.container, step.component, inputs], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _next_attempt(home: Path) -> int:
    there = [int(path.name.removeprefix("attempt-")) for path in home.glob("attempt-*")]
    return max(there, default=0) + 1


def _enabled(step: CompiledStep) -> bool:
    return "triggerPolicy" not in step.task or "condition" not in step.task["triggerPolicy"]
