"""The settings, the learning rate and the choice of a strategy."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from models.objective import load_objective
from models.objectives.simclr import SimclrSettings
from models.training.config import TrainingConfig
from models.training.distribution import is_chief, make_strategy
from models.training.optimizers import WarmupCosine, build_optimizer


def test_defaults_are_the_papers_simclr_run():
    config = TrainingConfig()
    config.validate()
    assert (config.batch_size, config.steps, config.warmup_steps) == (4096, 200_000, 5000)
    assert (config.mixing_alpha, config.mixing_beta) == (5.0, 2.0)
    assert load_objective("simclr").own_settings(config) == SimclrSettings(0.1, (4096, 4096, 4096), 128)
    assert (config.crop_seconds, config.peak_learning_rate, config.optimizer) == (3.0, 2e-4, "adam")


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("steps", 0, "at least 1"),
        ("batch_size", 2, "at least 3"),
        ("peak_learning_rate", math.nan, "finite number above 0"),
        ("crop_seconds", -1.0, "finite number above 0"),
        ("seed", -1, "from 0 to"),
        ("optimizer", "sgd", "adam, lamb"),
        ("strategy", "gpu", "auto, tpu, mirrored, multi_worker, single"),
        ("compute_dtype", "float16", "float32, bfloat16"),
    ],
)
def test_a_bad_setting_is_named_with_what_is_accepted(name, value, accepted):
    config = dataclasses.replace(TrainingConfig(), **{name: value})
    with pytest.raises(ValueError, match=name) as error:
        config.validate()
    assert accepted in str(error.value)


def test_an_objective_refuses_settings_it_does_not_have():
    config = TrainingConfig(objective_settings={"queue": 3})
    with pytest.raises(
        ValueError,
        match=r"objective_settings has queue; accepted with .*'simclr' are temperature, projector_sizes",
    ):
        load_objective("simclr").own_settings(config)


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("temperature", math.nan, "a finite number above 0"),
        ("projector_sizes", (), "one or more layer sizes"),
        ("projection_size", 0, "1 or more"),
    ],
)
def test_simclr_refuses_what_cannot_work(name, value, accepted):
    with pytest.raises(ValueError, match=f"{name}: got .*; accepted (is|are) {accepted}"):
        load_objective("simclr").own_settings(TrainingConfig(objective_settings={name: value}))


def test_a_warm_up_longer_than_the_run_says_what_to_do():
    with pytest.raises(ValueError, match=r"warmup_steps=5000 is longer than steps=200.* at most 200"):
        TrainingConfig(steps=200).validate()


def test_learning_rate_follows_appendix_c():
    schedule = WarmupCosine(1e-4, 5000, 200_000)
    expected = {0: 0.0, 1: 2e-8, 2500: 5e-5, 5000: 1e-4, 102_500: 5e-5, 200_000: 0.0}
    for step, rate in expected.items():
        assert float(schedule(tf.constant(step, tf.int64))) == pytest.approx(rate, abs=1e-11)
    keras = tf.keras.optimizers.schedules.CosineDecay(
        0.0, 195_000, warmup_target=1e-4, warmup_steps=5000
    )  # fmt: skip
    for step in np.linspace(0, 200_000, 23, dtype=int):
        assert float(schedule(tf.constant(step))) == pytest.approx(float(keras(step)), rel=1e-4, abs=1e-10)


def test_learning_rate_without_warm_up_or_decay():
    assert float(WarmupCosine(1.0, 0, 10)(tf.constant(0))) == 1.0
    assert float(WarmupCosine(1.0, 10, 10)(tf.constant(9))) == pytest.approx(0.9)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.steps"):
        WarmupCosine(1.0, 11, 10)


def test_adam_is_the_published_update():
    config = TrainingConfig(warmup_steps=0, steps=10, peak_learning_rate=0.01)
    weight = tf.Variable([1.0, -2.0])
    optimizer = build_optimizer(config, [weight])
    expected, first, second = np.array([1.0, -2.0]), np.zeros(2), np.zeros(2)
    for step in range(5):
        gradient = np.array([0.3, -0.1]) * (step + 1)
        optimizer.apply_gradients([(tf.constant(gradient, tf.float32), weight)])
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        rate = 0.01 * 0.5 * (1 + math.cos(math.pi * step / 10))
        unbiased = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.999 ** (step + 1))
        expected = expected - rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-5)


def test_lamb_scales_the_step_to_the_weights():
    config = TrainingConfig(optimizer="lamb", warmup_steps=0, steps=1000, peak_learning_rate=0.01)
    weight = tf.Variable([[3.0, 4.0]])
    build_optimizer(config, [weight]).apply_gradients([(tf.constant([[1.0, 1.0]]), weight)])
    # A layer's first step has the learning rate times the weights' norm (5) as its length.
    assert np.linalg.norm(weight.numpy() - [3, 4]) == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize("start", [0.0, [0.0, 0.0], [1.0, 1.0], [[0.0, 0.0]]], ids=str)
def test_lamb_takes_adams_steps_with_what_starts_at_zero_and_with_vectors(start):
    ends = {}
    for name in ("adam", "lamb"):
        config = TrainingConfig(optimizer=name, warmup_steps=0, steps=1000, peak_learning_rate=1e-3)
        weights = [tf.Variable(start, name="w1"), tf.Variable([[3.0, 4.0]], name="w")]
        optimizer = build_optimizer(config, weights)
        for _ in range(50):
            optimizer.apply_gradients([(0.2 + tf.zeros_like(weight), weight) for weight in weights])
        ends[name] = [weight.numpy() for weight in weights]
    np.testing.assert_allclose(ends["lamb"][0], ends["adam"][0], rtol=1e-4)
    assert np.linalg.norm(ends["lamb"][1] - [3, 4]) > 3 * np.linalg.norm(ends["adam"][1] - [3, 4])


def test_auto_takes_what_is_there(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    if not tf.config.list_physical_devices("GPU"):
        assert make_strategy("auto").num_replicas_in_sync == 1
    assert is_chief(make_strategy("single"))
    one_worker = {"cluster": {"worker": ["localhost:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(one_worker))
    assert not isinstance(make_strategy("auto"), tf.distribute.MultiWorkerMirroredStrategy)


def test_a_strategy_that_cannot_be_says_what_is_missing(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.delenv("TPU_NAME", raising=False)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        make_strategy("multi_worker")
    with pytest.raises(ValueError, match="not accepted"):
        make_strategy("horovod")
    if not tf.config.list_physical_devices("TPU"):
        with pytest.raises(ValueError, match="no usable TPU"):
            make_strategy("tpu")
