"""Makes the runs that the pipeline's tests share fixtures here too, and gives steps the code of the test."""

from __future__ import annotations

import pytest

from kits.pipeline_runs import environment, made_corpus, project, short_run

__all__ = ["made_corpus", "short_run"]


@pytest.fixture
def code_of_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps inherit the environment: they run the copy of the packages that compiled them."""
    for name, value in environment(project()).items():
        monkeypatch.setenv(name, value)
