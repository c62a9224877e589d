"""A run's folder of executor inputs and outputs, as steps of KFP v2 read and write them.

| path | what |
|---|---|
| STEP/attempt-N/executor_input.json | KFP's `ExecutorInput`: artifacts in, parameters, planned artifacts out |
| STEP/attempt-N/executor_output.json | its `ExecutorOutput`: what the step made of the planned artifacts |
| STEP/published.json | `{"attempt": N, "artifacts": {...}}`: which attempt counts, and what it made |

Both files may also be in STEP itself, without attempts: then STEP is complete if it has an output file. Each attempt is
an execution; one that does not count is FAILED.

An artifact is identified by its type and URI. What an importer step brings in (it runs nothing, and leaves no files) is
the store's own artifact of that type and URI, if there is one. So a run on a cluster is linked to the local run that
trained its model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from pipeline.lineage.importing.recorded import (
    ImportFailedError,
    RecordedArtifact,
    RecordedContext,
    RecordedEvent,
    RecordedExecution,
    RecordedRun,
    Value,
    properties_of_json,
    type_of_title,
)
from pipeline.lineage.record import COMPLETE, FAILED, RUN_TYPE, moment_text

INPUT_FILE, OUTPUT_FILE, PUBLISHED = "executor_input.json", "executor_output.json", "published.json"
_ATTEMPT = "attempt-"
_UNTYPED = "system.Artifact"
_LOGS = "executor-logs"  # written by Kubeflow's launcher beside the step's outputs


@dataclass(frozen=True)
class _Attempt:
    """One attempt of a step; `number` is 0 if the step has no attempts of its own."""

    step: str
    number: int
    folder: Path
    counts: bool
    published: Mapping[str, Any]


def read_run(folder: Path, run: str, pipeline: str) -> RecordedRun:
    """Reads a run from its folder.

    Args:
        folder: of the run.
        run: name for it.
        pipeline: name of its pipeline.

    Raises:
        ImportFailedError: no such folder, no step in it, or a file with unexpected content.
    """
    if not folder.is_dir():
        raise ImportFailedError(f"--kubeflow {folder}: it is not a folder")
    attempts = [a for path in sorted(folder.iterdir()) if path.is_dir() for a in _attempts(path)]
    if not attempts:
        raise ImportFailedError(
            f"--kubeflow {folder}: no STEP/attempt-N/{INPUT_FILE} and no STEP/{INPUT_FILE} is in it; give the folder "
            "of one run"
        )
    attempts.sort(key=lambda attempt: (_written(attempt.folder / INPUT_FILE), attempt.step, attempt.number))
    artifacts: dict[str, RecordedArtifact] = {}
    made = {
        artifact.uri: artifact
        for attempt in attempts
        if attempt.counts
        for _, _, artifact in _outputs(_read(attempt.folder / INPUT_FILE), attempt)
    }
    executions, events = [], []
    for attempt in attempts:
        read = _read(attempt.folder / INPUT_FILE)
        execution = f"kubeflow:{run}/{attempt.step}/{attempt.number}"
        executions.append(
            RecordedExecution(
                key=execution,
                type_name="system.ContainerExecution",
                node=attempt.step,
                state="COMPLETE" if attempt.counts else "FAILED",
                properties=_parameters(read, attempt.folder / INPUT_FILE),
            )
        )
        sides = [(False, _inputs(read, attempt))]
        if attempt.counts:  # a failed attempt has no artifacts
            sides.append((True, _outputs(read, attempt)))
        for output, lists in sides:
            for name, index, artifact in lists:
                if artifact.type_name == _UNTYPED:  # Kubeflow passes inputs on without their types
                    artifact = made.get(artifact.uri, artifact)
                known = artifacts.get(artifact.key)
                if known is None or output:
                    artifacts[artifact.key] = artifact
                events.append(RecordedEvent(execution, artifact.key, output, name, index))
    last = {attempt.step: attempt for attempt in attempts if attempt.counts}
    done = set(last) == {attempt.step for attempt in attempts}
    facts: dict[str, Value] = {
        "target": "kubeflow",
        "start": moment_text(_written(attempts[0].folder / INPUT_FILE)),
        "end": moment_text(max(_ended(attempt) for attempt in attempts)),
        "status": COMPLETE if done else FAILED,
    }
    return RecordedRun(
        run=RecordedContext(f"kubeflow:{run}", RUN_TYPE, run, {}),
        pipeline=pipeline,
        artifacts=tuple(artifacts.values()),
        executions=tuple(executions),
        events=tuple(events),
        facts=facts,
    )


def _attempts(step: Path) -> Iterator[_Attempt]:
    """The attempts of a step that started, by their numbers."""
    record = _read(step / PUBLISHED) if (step / PUBLISHED).is_file() else {}
    if (step / INPUT_FILE).is_file():
        yield _Attempt(step.name, 0, step, (step / OUTPUT_FILE).is_file(), record.get("artifacts", {}))
    found = {}
    for path in step.glob(f"{_ATTEMPT}*"):
        text = path.name.removeprefix(_ATTEMPT)
        if text.isdecimal() and (path / INPUT_FILE).is_file():
            found[int(text)] = path
    for number, path in sorted(found.items()):
        counts = record.get("attempt") == number
        yield _Attempt(step.name, number, path, counts, record.get("artifacts", {}) if counts else {})


def _inputs(read: Mapping[str, Any], attempt: _Attempt) -> Iterator[tuple[str, int, RecordedArtifact]]:
    path = attempt.folder / INPUT_FILE
    for name, index, artifact in _listed(read.get("inputs", {}), path):
        yield name, index, _artifact(artifact, path, adopts=True)


def _outputs(read: Mapping[str, Any], attempt: _Attempt) -> Iterator[tuple[str, int, RecordedArtifact]]:
    """The planned artifacts, updated by what was published, or else by the step's own file."""
    path = attempt.folder / INPUT_FILE
    published = dict(_flat(attempt.published, path))
    if not published and (attempt.folder / OUTPUT_FILE).is_file():
        output = attempt.folder / OUTPUT_FILE
        published = {(name, index): a for name, index, a in _listed(_read(output), output)}
    for name, index, planned in _listed(read.get("outputs", {}), path):
        if name == _LOGS:
            continue
        said = published.get((name, index), {})
        merged = {
            **planned,
            "uri": said.get("uri") or planned.get("uri", ""),
            "metadata": {**planned.get("metadata", {}), **said.get("metadata", {})},
        }
        yield name, index, _artifact(merged, path, adopts=False)


def _flat(lists: Mapping[str, Any], path: Path) -> Iterator[tuple[tuple[str, int], Mapping[str, Any]]]:
    for name, entries in lists.items():
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise _wrong(path.parent.parent / PUBLISHED, f"artifacts.{name} holds no artifacts")
            yield (name, index), entry


def _listed(side: Mapping[str, Any], path: Path) -> Iterator[tuple[str, int, Mapping[str, Any]]]:
    """Name, index and artifact of every list of inputs or outputs."""
    for name, entry in side.get("artifacts", {}).items():
        listed = entry.get("artifacts", []) if isinstance(entry, dict) else None
        if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
            raise _wrong(path, f"artifacts.{name} is no list of artifacts")
        for index, artifact in enumerate(listed):
            yield name, index, artifact


def _artifact(artifact: Mapping[str, Any], path: Path, adopts: bool) -> RecordedArtifact:
    uri, name = artifact.get("uri", ""), artifact.get("name", "")
    if not isinstance(uri, str) or not uri:
        raise _wrong(path, f"artifact {name or '(without a name)'} has no uri")
    kind = _type(artifact.get("type", {}), path)
    properties = properties_of_json(artifact.get("metadata", {}))
    if name:
        properties["resource_name"] = str(name)
    return RecordedArtifact(f"kubeflow:{kind}:{uri}", kind, uri, True, properties, adopts)


def _type(schema: Mapping[str, Any], path: Path) -> str:
    """The type's name: `schemaTitle`, or the title of the YAML text in `instanceSchema`."""
    title = schema.get("schemaTitle", "")
    if not title and schema.get("instanceSchema"):
        try:
            title = yaml.safe_load(schema["instanceSchema"])["title"]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise _wrong(path, "an artifact's type.instanceSchema has no title") from error
    return type_of_title(str(title)) if title else _UNTYPED


def _parameters(read: Mapping[str, Any], path: Path) -> dict[str, Value]:
    """Parameters of both schemas: plain values, and before 2.1 `{"stringValue": ...}`."""
    inputs = read.get("inputs", {})
    values = properties_of_json(inputs.get("parameterValues", {}))
    for name, value in inputs.get("parameters", {}).items():
        if not isinstance(value, dict) or len(value) != 1:
            raise _wrong(path, f"parameter {name} is no value")
        ((kind, plain),) = value.items()
        if kind == "intValue":  # JSON writes 64-bit numbers as texts
            try:
                values[name] = int(plain)
            except (TypeError, ValueError) as error:
                raise _wrong(path, f"parameter {name} is no whole number") from error
        else:
            values.update(properties_of_json({name: plain}))
    return values


def _ended(attempt: _Attempt) -> datetime:
    """When an attempt ended, judging by its files."""
    there = [attempt.folder / name for name in (INPUT_FILE, OUTPUT_FILE)]
    return max(_written(path) for path in there if path.is_file())


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, tz=timezone.utc)


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = (
            error.strerror if isinstance(error, OSError) else "it is not JSON; was it written to the end?"
        )
        raise ImportFailedError(f"{path}: {reason}") from error
    if not isinstance(read, dict):
        raise _wrong(path, "expected an object")
    return read


def _wrong(path: Path, what: str) -> ImportFailedError:
    return ImportFailedError(f"{path}: {what}; expected what KFP v2 hands to a step")
