"""A tiny study that is sent a signal in the middle of a chosen phase: what stopped studies are tried with.

`python study_signals.py PHASE SIGNAL ARGUMENT...` is `hares ARGUMENT...`, sent SIGNAL the first time it does what
`PHASES[PHASE]` names.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A phase, in the order in which a study comes to it: whose call is the moment, and which call of it. Ingestion and
# embedding are inside of Beam, which wraps what is raised there.
PHASES = {
    "reading the indexes": ("pipeline.resolve", "_fingerprint", 1),
    "ingestion": ("components.audio_example_gen.executor", "ingest_shard", 1),
    "transform": ("pipeline.preprocessing", "log_mel", 1),
    "training": ("models.training.loop", "_require_finite", 1),
    "embedding": ("components.embedder.executor", "embed_shard", 1),
    "evaluation": ("hares.benchmark", "score_task", 1),
    "recording a cell": ("pipeline.study", "attach_run", 1),
    "writing the page": ("pipeline.study", "render_study", 1),
    "writing its files": ("pipeline.study", "write_atomically", 2),
    "between cells": ("pipeline.study", "resolve", 2),
}
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
    "mine_other": EncoderRecord("mine_other", "log_mel", 8, 80 * 8 + 8, Mine),
    "mine_broken": EncoderRecord("mine_broken", "log_mel", 8, 80 * 8 + 8, broken),
}
"""
GRID = """
name: hares-study-test
base: demo
settings:
  compare_untrained: false
  tasks: [speech_commands_v2]
  training: {batch_size: 8, steps: 4, warmup_steps: 1, steps_per_loop: 2, checkpoint_every_steps: 4}
  protocol: {crops_per_clip: 1, max_steps: 20, bootstrap_resamples: 20}
cells:
"""
SIMCLR = "objectives: [simclr], settings: {training: {objective_settings: {projector_sizes: [8]}}}"
TWO_CELLS = f"  - {{encoders: [mine_small, mine_other], {SIMCLR}}}\n"


def study_options(folder: Path, corpus: Path, workspace: Path, cells: str) -> list[str]:
    """Writes grid and plugin, and gives the arguments of `hares` that run them."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "grid.yaml").write_text(GRID + cells)
    (folder / "mine.py").write_text(PLUGIN)
    return ["study", "--grid", str(folder / "grid.yaml"), "--plugin", str(folder / "mine.py"),
            "--corpus", str(corpus), "--workspace", str(workspace), "--json"]  # fmt: skip


def sent_in(phase: str, number: signal.Signals, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Sends this process a signal when it comes to a phase; `put` sets the attribute that does it."""
    module_name, name, nth = PHASES[phase]
    module = importlib.import_module(module_name)
    done, calls = getattr(module, name), 0

    @functools.wraps(done)
    def doing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth:
            os.kill(os.getpid(), number)
        return done(*arguments, **named)

    put(module, name, doing)


def scores(workspace: Path) -> list[object]:
    """Of each cell of the study its state and what it scored."""
    study = json.loads((workspace / "study" / "hares-study-test" / "study.json").read_text())
    return [(cell["name"], cell["state"], cell["scores"]) for cell in study["cells"]]


if __name__ == "__main__":
    from cli.main import main

    phase, number, *sys.argv[1:] = sys.argv[1:]
    if phase:
        sent_in(phase, signal.Signals[number])
    main()
