"""Settings as JSON and back: what travels through TFX's execution properties and an artifact's files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def from_plain(cls: type[T], values: Mapping[str, Any]) -> T:
    """A dataclass from plain data; lists become the tuples that went in.

    Raises:
        TypeError: a name that `cls` does not have.
        ValueError: a value that `cls` refuses.
    """
    return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def from_json(cls: type[T], text: str) -> T:
    """A dataclass from the JSON text of its fields. Raises as `from_plain` does."""
    return from_plain(cls, json.loads(text))
