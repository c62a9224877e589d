"""Batch normalisation against numpy, and one replica against two: outputs, gradients, statistics, whole runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.encoders._batch_norm import BatchNorm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Logical devices must be made before TensorFlow starts, so a process of its own compares."""
    root = Path(__file__).parents[2]
    script = root / "tests/kits/batch_norm_figures.py"
    own = {"PYTHONPATH": f"{root}:{root}/tests", "TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path_factory.mktemp("clips"))],
        cwd=root, env={**os.environ, **own}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "name",
    ["output", "gradient", "gradient of gamma", "gradient of beta", "moving_mean", "moving_variance"],
)
def test_two_replicas_normalise_as_one(figures: dict[str, dict], name: str) -> None:
    one, two = (np.array(figures[strategy][name]) for strategy in ("single", "mirrored"))
    assert np.abs(one).max() > 0.1
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-5 * np.abs(one).max())


def test_a_run_is_the_same_on_two_replicas(figures: dict[str, dict]) -> None:
    one, two = figures["single"], figures["mirrored"]
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-3)
    assert one["losses"][0] != one["losses"][-1]
    np.testing.assert_allclose(two["moving"], one["moving"], rtol=1e-3)
    assert np.abs(np.array(one["moving"]) - 1.0).min() > 1e-3  # all have moved


def test_checkpoints_hold_the_moving_statistics(figures: dict[str, dict]) -> None:
    for found in figures.values():
        assert found["saved"] == 44  # one for each convolution of the encoder
        assert found["is saved"]


@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_outputs_and_statistics_equal_numpy(dtype: tf.DType) -> None:
    rng = np.random.default_rng(0)
    x = tf.cast(rng.normal(2.0, 3.0, (4, 5, 6, 3)), dtype)
    exact = tf.cast(x, tf.float32).numpy()
    gamma, beta = rng.normal(size=(2, 3)).astype(np.float32)
    layer = BatchNorm("norm", 3, momentum=0.9, epsilon=1e-3)
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    atol = 1e-5 if dtype == tf.float32 else 0.03
    axes = (0, 1, 2)
    expected = (exact - exact.mean(axes)) / np.sqrt(exact.var(axes) + 1e-3) * gamma + beta
    y = layer(x, training=True)
    assert y.dtype == dtype
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=atol)
    mean, variance = 0.1 * exact.mean(axes), 0.9 + 0.1 * exact.var(axes, ddof=1)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-4)
    expected = (exact - mean) / np.sqrt(variance + 1e-3) * gamma + beta
    np.testing.assert_allclose(tf.cast(layer(x, training=False), tf.float32), expected, atol=2 * atol)
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-4)  # inference leaves them
