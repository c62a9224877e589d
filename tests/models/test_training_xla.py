"""What a replica runs can be compiled by XLA, as a TPU does it, and gives the loss that TensorFlow's own kernels give.

There is no TPU here. XLA's compiler for CPUs takes the same first step, from operations to HLO, and fails on the same
operations: those that XLA does not have, and shapes that are not known. Each objective goes through it with a tiny
encoder that fits, by name, so that a new one is tested the moment it is there; one is compiled to the end and run.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from kits import training_kit as KIT
from models.encoder import encoder_names, load_encoder
from models.frontend import FrontendConfig
from models.objective import load_objective, objective_names
from models.training import loop
from models.training.config import TrainingConfig
from models.training.step import compile_steps

pytestmark = pytest.mark.slow

# The compiled code runs once: optimising it takes a minute, not doing so a few seconds.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)
FRONTEND = FrontendConfig(num_mel_bins=16)
CROP_SECONDS = {"log_mel": 0.18, "waveform": 1.0}


class Captured(Exception):
    """Ends a run once its replica function is known."""


class Capture:
    """Stands in front of a strategy of one replica; keeps what it is given to run on each replica."""

    def __init__(self, strategy):
        self.num_replicas_in_sync, self.reduce = strategy.num_replicas_in_sync, strategy.reduce
        self.update = None

    def run(self, update, args):
        self.update = update
        raise Captured


def tiny_encoder(objective):
    """Of the tiny encoders that fit, the objective's namesake, else the smallest."""
    kinds = ("log_mel", "waveform") if objective.input_kind == "any" else (objective.input_kind,)
    tiny = [load_encoder(name) for name in encoder_names() if name.endswith("_tiny")]
    fitting = [record for record in tiny if record.input_kind in kinds]
    assert fitting, f"{objective.name} has no tiny encoder of {objective.input_kind} to be tested with"
    return max(fitting, key=lambda e: (objective.name in e.name, -e.parameters))


def replica_function(name, folder, monkeypatch):
    """A run's function of one replica, a batch for it, and its variables, all made by `train` itself."""
    objective = load_objective(name)
    encoder = tiny_encoder(objective)
    made = {}

    def captured(strategy, encoder, objective, optimizer, metric_names, batches):
        made["capture"] = Capture(strategy)
        made["batch"] = next(batches)
        made["variables"] = [*encoder.variables, *objective.variables, *optimizer.variables()]
        compile_steps(made["capture"], encoder, objective, optimizer, metric_names, batches)

    monkeypatch.setattr(loop, "compile_steps", captured)
    config = TrainingConfig(
        encoder=encoder.name, objective=name, steps=10, batch_size=4, warmup_steps=2, strategy="single",
        crop_seconds=CROP_SECONDS[encoder.input_kind],
        objective_settings={"projector_sizes": (12,), "projection_size": 6} if name == "simclr" else {},
    )  # fmt: skip
    files = [KIT.write(folder / "clips.tfrecord", [clip(i, encoder.input_kind) for i in range(6)])]
    try:
        with pytest.raises(Captured):
            loop.train(config, files, 3, str(folder / "run"), frontend=FRONTEND)
    finally:
        disable_op_determinism()  # `train` turns it on for the process, which other tests share
    return made["capture"].update, made["batch"], made["variables"]


def clip(number, kind):
    rng = np.random.default_rng(number)
    content = (
        rng.normal(size=(60, FRONTEND.num_mel_bins)) if kind == "log_mel" else rng.normal(0, 3000, 20_000)
    )
    return KIT.serialize(str(number), content, [number % 3], kind)


def hlo(function, *args):
    return tf.function(function, jit_compile=True).experimental_get_compiler_ir(*args)(stage="hlo")


@pytest.mark.parametrize("name", objective_names())
def test_every_objective_is_made_of_what_xla_has(name, tmp_path, monkeypatch):
    update, batch, _ = replica_function(name, tmp_path, monkeypatch)
    text = hlo(update, batch)
    assert "ENTRY" in text
    assert "[<=" not in text  # HLO's mark of a size that is only known while it runs


@pytest.mark.parametrize(
    "function",
    [
        lambda x: tf.numpy_function(np.sin, [x], tf.float32),  # the host's Python
        lambda x: tf.strings.to_number(tf.strings.as_string(x)),
    ],
)
def test_what_xla_lacks_would_be_noticed(function):
    with pytest.raises((tf.errors.OpError, ValueError, RuntimeError)):
        hlo(function, tf.ones([3]))


def test_the_compiled_update_gives_the_graphs_loss(tmp_path, monkeypatch):
    update, batch, variables = replica_function("simclr", tmp_path, monkeypatch)
    before = [variable.numpy() for variable in variables]
    plain = tf.function(update)(batch).numpy()  # loss, gradient norm, metrics
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)
    compiled = tf.function(update, jit_compile=True)(batch).numpy()
    assert plain[1] > 1e-2  # there is a gradient to compare
    np.testing.assert_allclose(compiled, plain, rtol=1e-4)
