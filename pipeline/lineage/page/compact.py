"""Artifacts and steps as short rows of numbers: every text and value stands once in a list, and rows point to it.

Runs repeat themselves: types, names of properties, digests, settings. A store of thousands of runs is a tenth of what
it is as plain JSON, and a search looks through every text once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_metadata.proto import metadata_store_pb2 as pb

from pipeline.lineage.graph import Link, Step
from pipeline.lineage.trace import plain_value, properties_of

Row = list[Any]


@dataclass
class Values:
    """Values by their place in `all`, each once."""

    all: list[Any] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, value: Any) -> int:
        """Where a value stands; a new one is put at the end."""
        key = json.dumps(value, sort_keys=True)  # tells 1 from 1.0 and from "1", as a dictionary would not
        if key not in self._places:
            self._places[key] = len(self.all)
            self.all.append(value)
        return self._places[key]


def artifact_row(artifact: pb.Artifact, values: Values) -> Row:
    """[id, type, uri, [name, value, name, value, ...]]."""
    return [
        artifact.id,
        values.place(artifact.type),
        values.place(artifact.uri),
        _properties(artifact, values),
    ]


def step_row(step: Step, node: str, run: str, values: Values) -> Row:
    """[execution, node, run, type, state, inputs, outputs, properties], of which the last three are lists of pairs."""
    state = pb.Execution.State.Name(step.execution.last_known_state)
    return [
        step.id,
        *(values.place(text) for text in (node, run, step.execution.type, state)),
        _links(step.inputs, values),
        _links(step.outputs, values),
        _properties(step.execution, values),
    ]


def finite(value: Any) -> Any:
    """A value for JSON, which has no NaN and no infinity: those as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


def _links(links: Sequence[Link], values: Values) -> list[int]:
    return [number for link in links for number in (values.place(link.key), link.artifact_id)]


def _properties(node: pb.Artifact | pb.Execution, values: Values) -> list[int]:
    return [
        values.place(part)
        for name, value in properties_of(node).items()
        for part in (name, plain_value(value))
    ]
