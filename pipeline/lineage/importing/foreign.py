"""A run as another system recorded it, in the terms of ML Metadata: what readers make and `writer.py` writes.

Every node has a key that no other node of its kind has, wherever it comes from. It becomes the node's external id, by
which the next import knows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from components.properties import is_whole_number

Value: TypeAlias = "str | int | float"
_TFX = "tfx."


class ImportFailedError(RuntimeError):
    """A run cannot be imported; the message names the address or file, the cause and the remedy.

    Attributes:
        refused: whether a server did not answer or refused us, and not that what it has is wrong.
    """

    def __init__(self, message: str, refused: bool = False):
        super().__init__(message)
        self.refused = refused


@dataclass(frozen=True)
class ForeignArtifact:
    """An artifact; `adopts` lets one with this type and URI that the store has already stand for it."""

    key: str
    type_name: str
    uri: str
    live: bool
    properties: Mapping[str, Value]
    adopts: bool = False


@dataclass(frozen=True)
class ForeignExecution:
    """An execution of a node of the pipeline; `state` is a name of ML Metadata's `Execution.State`."""

    key: str
    type_name: str
    node: str
    state: str
    properties: Mapping[str, Value]


@dataclass(frozen=True)
class ForeignEvent:
    """An artifact as input or output of an execution, both by their keys, under the name the step has for it."""

    execution: str
    artifact: str
    output: bool
    name: str
    index: int = 0


@dataclass(frozen=True)
class ForeignContext:
    """A context; `parents` are keys of others."""

    key: str
    type_name: str
    name: str
    properties: Mapping[str, Value]
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class ForeignRun:
    """A run.

    Attributes:
        run: its context, of type `pipeline_run`.
        pipeline: name of its pipeline.
        others: contexts above it.
        artifacts, executions, events: what ran and what it made.
        facts: of the run, named as `pipeline.lineage.record` names them: start, end, status, target...
    """

    run: ForeignContext
    pipeline: str
    others: tuple[ForeignContext, ...] = ()
    artifacts: tuple[ForeignArtifact, ...] = ()
    executions: tuple[ForeignExecution, ...] = ()
    events: tuple[ForeignEvent, ...] = ()
    facts: Mapping[str, Value] = field(default_factory=dict)


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
