"""A study end to end: a cell that is done and kept, one whose step fails, one whose settings cannot work."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from models._plugins import PREFIX
from pipeline.grid import Cell, load_grid
from pipeline.lineage.store import create_store
from pipeline.lineage.study import study_context

PLUGIN = """
import tensorflow as tf
from models.encoder import Encoder, EncoderRecord

class Mine(Encoder):
    def __init__(self, seed):
        super().__init__(name="mine")
        self.dense = tf.keras.layers.Dense(8, kernel_initializer=tf.keras.initializers.GlorotUniform(seed))

    def call(self, inputs, training=False, noise=None):
        return {"embedding": self.dense(tf.reduce_mean(inputs, axis=[1, 3]))}

def broken(seed):
    raise RuntimeError("this encoder cannot be built")

ENCODERS = {
    "mine_small": EncoderRecord("mine_small", "log_mel", 8, 80 * 8 + 8, Mine),
    "mine_broken": EncoderRecord("mine_broken", "log_mel", 8, 80 * 8 + 8, broken),
}
"""
GRID = """
name: hares-study-test
base: demo
settings:
  compare_untrained: false
  tasks: [speech_commands_v2]
  training: {batch_size: 8, steps: 4, warmup_steps: 1, steps_per_loop: 2, checkpoint_every_steps: 4, shuffle_buffer: 16,
             projector_sizes: [8]}
  protocol: {crops_per_clip: 1, max_steps: 20, bootstrap_resamples: 20}
cells:
  - {encoders: [mine_broken, mine_small], objectives: [simclr]}
  - {encoders: [mine_small], objectives: [classification]}
"""


class Watch:
    """Remembers what it is told."""

    def __init__(self):
        self.began: list[str] = []
        self.ended: list[tuple[str, str, bool]] = []

    def begin(self, cell=None, number=None, of=None):
        if isinstance(cell, Cell):
            self.began.append(cell.name)
        return self

    def finish(self, cell, reused=None):
        if reused is not None:
            self.ended.append((cell.name, cell.state, reused))

    def start(self, node):
        pass

    def update(self, node, fraction, text):
        pass


@pytest.mark.tfx
def test_a_study_goes_on_after_failures_and_runs_nothing_twice(made_corpus: Path, tmp_path: Path) -> None:
    from pipeline.study import run_study

    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "mine.py").write_text(PLUGIN)
    workspace = tmp_path / "w"
    try:
        grid = load_grid(str(tmp_path / "grid.yaml"), [], [tmp_path / "mine.py"])
        first, second = Watch(), Watch()
        outcome = run_study(grid, made_corpus, {}, workspace, first)
        again = run_study(grid, made_corpus, {}, workspace, second)
    finally:
        for name in [name for name in sys.modules if name.startswith(PREFIX)]:
            del sys.modules[name]

    assert first.began == ["simclr_mine_broken", "simclr_mine_small"]
    assert first.ended == [
        ("simclr_mine_broken", "failed", False),
        ("simclr_mine_small", "done", False),
        ("classification_mine_small", "failed", False),
    ]
    # What failed is tried again, what is done is kept.
    assert second.began == ["simclr_mine_broken"]
    assert ("simclr_mine_small", "done", True) in second.ended
    assert outcome.failed == again.failed == ("simclr_mine_broken", "classification_mine_small")

    study = json.loads((outcome.folder / "study.json").read_text())
    assert study == json.loads(json.dumps(again.content)) or study["cells"][1] == again.content["cells"][1]
    broken, done, refused = study["cells"]
    assert "step trainer failed" in broken["error"] and "cannot be built" in broken["error"]
    assert "no multi-label classes" in refused["error"]
    assert done["scored_tasks"] == 1 and done["scores"]["hares"] is None and done["parameters"] == 648
    assert "cannot be built" in (outcome.folder / "study.html").read_text()

    store = create_store(workspace / "metadata.sqlite")
    children = store.get_children_contexts_by_context(study_context(store, "hares-study-test").id)
    states = [c.custom_properties["study_state"].string_value for c in sorted(children, key=lambda c: c.id)]
    assert states == ["failed", "complete", "failed"]
    executions = store.get_executions_by_context(study_context(store, "hares-study-test").id)
    assert len({e.id for e in executions}) == sum(
        len(store.get_executions_by_context(c.id)) for c in children
    )
    models = [
        a
        for a in store.get_artifacts_by_context(study_context(store, "hares-study-test").id)
        if a.type == "Model"
    ]
    assert "mine_small" in [m.custom_properties["encoder"].string_value for m in models]
    trainers = [e for e in executions if "plugins" in e.custom_properties["custom_config"].string_value]
    assert trainers and all(
        str(tmp_path / "mine.py") in e.custom_properties["custom_config"].string_value for e in trainers
    )
