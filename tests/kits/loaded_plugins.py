"""Plugins live as long as the process: a test that loads one leaves it without."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from hares.plugin import PREFIX
from hares.task import OWN_TASK


def forget_plugins() -> None:
    for name in [name for name in sys.modules if name.startswith((PREFIX, OWN_TASK))]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    forget_plugins()
