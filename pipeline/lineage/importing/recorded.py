"""A run as another system recorded it, in ML Metadata's terms. Readers make it, `writer.py` writes it.

Every node has a key that is unique among the nodes of its kind, wherever it comes from. The key becomes the node's
external id, by which the next import recognises it.

What the run's steps say of its settings and code:

| recorded of the run | read from |
|---|---|
| settings `training`, `frontend`, `plugins` | `custom_config` of the trainer |
| settings `protocol`, `blessing` | the evaluator's parameters of these names |
| settings `tasks` | the embedders' parameter `task` |
| `run_key` | the evaluator's parameter |
| `code` | the parameter `code_digest` of every step; for trainer and transform in `custom_config` |

No step carries the rest: where the data lay, who started the run, the lock file, and whether the code's tree was clean.
Those are "unknown".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from components.properties import is_whole_number
from pipeline.lineage.record import UNKNOWN

Value: TypeAlias = "str | int | float"
_TFX = "tfx."
# Unless the reader of the run knows them.
NOT_RECORDED = ("git_revision", "git_clean", "lock_digest", "preset", "user")
_TRAINER, _EVALUATOR, _EMBEDDER = "trainer", "evaluator", "embed_"
_OF_TRAINER = ("training", "frontend", "plugins")
_OF_EVALUATOR = ("protocol", "blessing")


class ImportFailedError(RuntimeError):
    """A run cannot be imported; the message names the address or file, the cause and the remedy.

    Attributes:
        refused: whether a server did not answer or refused us; else what it has is wrong.
    """

    def __init__(self, message: str, refused: bool = False):
        super().__init__(message)
        self.refused = refused


class NothingToImportError(ImportFailedError):
    """The run is none of this pipeline, or has not begun; where all runs are imported it is passed over."""


@dataclass(frozen=True)
class RecordedArtifact:
    """An artifact; with `adopts`, the store's own artifact of this type and URI is used in its place."""

    key: str
    type_name: str
    uri: str
    live: bool
    properties: Mapping[str, Value]
    adopts: bool = False


@dataclass(frozen=True)
class RecordedExecution:
    """An execution of a node of the pipeline; `state` is a name of ML Metadata's `Execution.State`."""

    key: str
    type_name: str
    node: str
    state: str
    properties: Mapping[str, Value]


@dataclass(frozen=True)
class RecordedEvent:
    """An artifact as input or output of an execution, both by their keys, under the step's name for it."""

    execution: str
    artifact: str
    output: bool
    name: str
    index: int = 0


@dataclass(frozen=True)
class RecordedContext:
    """A context; `parents` are keys of others."""

    key: str
    type_name: str
    name: str
    properties: Mapping[str, Value]
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecordedRun:
    """A run.

    Attributes:
        run: its context, of type `pipeline_run`.
        pipeline: name of its pipeline.
        others: contexts above it.
        artifacts, executions, events: what ran and what it made.
        facts: of the run, named as `pipeline.lineage.record` names them: start, end, status, target...
        config: its settings, if they are known whole.
    """

    run: RecordedContext
    pipeline: str
    others: tuple[RecordedContext, ...] = ()
    artifacts: tuple[RecordedArtifact, ...] = ()
    executions: tuple[RecordedExecution, ...] = ()
    events: tuple[RecordedEvent, ...] = ()
    facts: Mapping[str, Value] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)


def type_of_title(title: str) -> str:
    """ML Metadata's type for a schema title: TFX's own are titled `tfx.Model`, ours by their type's name."""
    return title.removeprefix(_TFX)


def properties_of_json(values: Mapping[str, Any]) -> dict[str, Value]:
    """JSON values as custom properties.

    JSON does not tell 1 from 1.0, so the components' schema decides which numbers are integers. Booleans become 1 and
    0, nested values become JSON text, and null is left out.
    """
    found: dict[str, Value] = {}
    for name, value in values.items():
        if isinstance(value, bool):
            found[name] = int(value)
        elif isinstance(value, str):
            found[name] = value
        elif isinstance(value, int | float):
            found[name] = int(value) if is_whole_number(name) and value == int(value) else float(value)
        elif value is not None:
            found[name] = json.dumps(value, sort_keys=True)
    return found


def facts_of_steps(executions: Iterable[RecordedExecution]) -> tuple[dict[str, Value], dict[str, Any]]:
    """Facts of a run, named as in `pipeline.lineage.record`, and its settings as far as its steps record them."""
    facts: dict[str, Value] = dict.fromkeys(NOT_RECORDED, UNKNOWN)
    config: dict[str, Any] = {}
    code: dict[str, str] = {}
    tasks = []
    for step in executions:
        custom = json_object(step.properties.get("custom_config"))
        digest = step.properties.get("code_digest", custom.get("code_digest"))
        if isinstance(digest, str):
            code[step.node] = digest
        if step.node == _TRAINER:
            config.update((name, custom[name]) for name in _OF_TRAINER if name in custom)
        elif step.node == _EVALUATOR:
            parts = {name: json_object(step.properties.get(name)) for name in _OF_EVALUATOR}
            config.update((name, part) for name, part in parts.items() if part)
            if isinstance(key := step.properties.get("run_key"), str):
                facts["run_key"] = key
        elif step.node.startswith(_EMBEDDER) and isinstance(task := step.properties.get("task"), str):
            tasks.append(task)
    if tasks:
        config["tasks"] = sorted(set(tasks))
    if code:
        facts["code"] = json.dumps(code, sort_keys=True)
    return facts, config


def json_object(text: Any) -> dict[str, Any]:
    """A JSON object written as text; {} for anything else."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
