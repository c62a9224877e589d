"""TFX finds the functions that it calls by name, and a second look gives the very same code."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("node", ["trainer", "transform"])
def test_tfx_finds_the_same_function_however_often_it_looks(made_corpus, tmp_path, node) -> None:
    from tfx.components.util import udf_utils

    from pipeline.config import load_config
    from pipeline.pipeline import create_pipeline
    from pipeline.preprocessing import preprocessing_fn
    from pipeline.run import prepare
    from pipeline.training import run_fn

    run = prepare(load_config("demo", ["tasks=[birdsong]"]), made_corpus, {}, tmp_path)
    (step,) = [step for step in create_pipeline(run).components if step.id == node]
    expected = {"trainer": run_fn, "transform": preprocessing_fn}[node]
    for _ in range(2):
        found = udf_utils.get_fn(step.exec_properties, expected.__name__)
        # Not the module's of today, which loading it anew would have changed as well.
        assert found is expected
