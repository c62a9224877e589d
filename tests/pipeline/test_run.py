"""What runs leave behind in a process that goes on after them."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

BRIEF = (
    "tasks=[birdsong]",
    "compare_untrained=false",
    "training.batch_size=4",
    "training.steps=2",
    "training.warmup_steps=1",
    "training.objective_settings.projector_sizes=[8]",
    "protocol.crops_per_clip=1",
    "protocol.max_steps=20",
    "protocol.bootstrap_resamples=20",
)


@pytest.mark.full
def test_runs_of_one_process_do_not_add_up_in_it(made_corpus: Path, tmp_path: Path) -> None:
    from tensorflow.python.framework.func_graph import FuncGraph
    from tfx.orchestration.pipeline import Pipeline

    from kits.three_steps import SilentObserver
    from pipeline.config import load_config
    from pipeline.run import execute, prepare

    def left(seed: int) -> dict[str, int]:
        """How many are alive after a run that trains, embeds and scores anew."""
        silent = SilentObserver()
        config = load_config("demo", [*BRIEF, f"training.seed={seed}"])
        execute(prepare(config, made_corpus, {}, tmp_path), silent)
        assert {"trainer", "embed_birdsong", "evaluator"} <= {
            one.node for one in silent.results if one.outcome.value == "ran"
        }
        gc.collect()
        alive = gc.get_objects()
        return {kind.__name__: sum(type(one) is kind for one in alive) for kind in (FuncGraph, Pipeline)}

    # The models of the last two runs are kept loaded, so the second and the third have equally many.
    left(0)
    second, third = left(1), left(2)
    assert second["FuncGraph"] > 0 and third == second
