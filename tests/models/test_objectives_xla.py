"""What runs on a replica has static shapes: XLA, which TPUs need, compiles it and computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from kits import replica_figures as FIGURES
from models.training.distribution import make_strategy
from models.training.step import replica_gradients

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", FIGURES.SETTINGS)
def test_xla_compiles_an_objective_and_agrees(name):
    results = []
    settings = {"noise": 0.0} if name == "clmr" else {}  # drawn all the same, but other noise under XLA
    for compiled in (False, True):
        record, encoder, objective = FIGURES.built(name, make_strategy("single"), **settings)

        @tf.function(jit_compile=compiled)
        def update(batch, encoder=encoder, objective=objective):
            loss, metrics, gradients = replica_gradients(encoder, objective, batch)
            objective.after_update(encoder)
            return [loss, *metrics.values(), *gradients]

        for seed in range(2):
            got = update(FIGURES.batch(record, objective, seed))
        results.append([*got, *objective.variables])
    for plain, compiled in zip(*results, strict=True):
        np.testing.assert_allclose(plain.numpy(), compiled.numpy(), atol=1e-3)
