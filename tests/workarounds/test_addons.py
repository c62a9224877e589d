"""Our LAMB and instance normalisation against TensorFlow Addons' own, bit by bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from models.training.optimizers import WarmupCosine
from workarounds import addons
from workarounds.keras import create_slots

pytest.importorskip("tensorflow_addons", reason="TensorFlow Addons has no build for this Python")

SCHEDULE = WarmupCosine(0.05, 5, 50)


def first_values() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in ((40, 7), (7,), (3, 2, 5), (4,))]


def trained(optimizer, steps: int, variables: list[tf.Variable]) -> list[np.ndarray]:
    """After updates by random gradients; those of the first variable come for some of its rows, of the last are 0."""
    create_slots(optimizer, variables)

    @tf.function
    def update(gradients: list[tf.Tensor]) -> None:
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for step in range(steps):
        random = np.random.default_rng(100 + step)
        gradients = [tf.constant(random.standard_normal(v.shape), tf.float32) for v in variables]
        rows = tf.constant([3, 3, 8])
        gradients[0] = tf.IndexedSlices(tf.gather(gradients[0], rows), rows, tf.shape(variables[0]))
        gradients[-1] = tf.zeros_like(variables[-1])
        update(gradients)
    return [variable.numpy() for variable in (*variables, *optimizer.variables())]


@pytest.mark.parametrize("unadapted", [(), ("v1:0", "v2:0")])
def test_lamb_is_that_of_addons(unadapted: tuple[str, ...]) -> None:
    def variables() -> list[tf.Variable]:
        return [tf.Variable(value, name=f"v{place}") for place, value in enumerate(first_values())]

    theirs = addons.lamb(SCHEDULE, unadapted)
    assert type(theirs).__module__.startswith("tensorflow_addons")
    expected = trained(theirs, 50, variables())
    found = trained(addons.Lamb(SCHEDULE, unadapted), 50, variables())
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert not np.array_equal(found[0], first_values()[0])


@pytest.mark.parametrize("saved_by_addons", [True, False])
def test_a_checkpoint_of_one_goes_on_in_the_other(saved_by_addons: bool, tmp_path: Path) -> None:
    makers = [addons.lamb, addons.Lamb] if saved_by_addons else [addons.Lamb, addons.lamb]
    variables = [tf.Variable(value) for value in first_values()]
    before = makers[0](SCHEDULE)
    trained(before, 10, variables)
    path = tf.train.Checkpoint(optimizer=before, variables=variables).write(str(tmp_path / "checkpoint"))
    expected = trained(before, 10, variables)

    restored = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    after = makers[1](SCHEDULE)
    create_slots(after, restored)
    status = tf.train.Checkpoint(optimizer=after, variables=restored).read(path)
    status.assert_existing_objects_matched().assert_consumed()
    for one, other in zip(trained(after, 10, restored), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_instance_normalisation_is_that_of_addons() -> None:
    x = tf.constant(np.random.default_rng(0).normal(3.0, 2.0, (2, 9, 6, 5)), tf.float32)
    theirs = addons.instance_normalization(1e-5, 0.7)
    assert type(theirs).__module__.startswith("tensorflow_addons")
    ours = addons.InstanceNormalization(1e-5, tf.keras.initializers.Constant(0.7))
    results = []
    for layer in (theirs, ours):
        with tf.name_scope("res/norm"):
            layer.build(tf.TensorShape([None, None, None, 5]))
        layer.gamma.assign_add(tf.linspace(0.0, 1.0, 5))
        layer.beta.assign_add(tf.linspace(-1.0, 1.0, 5))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(layer(x)) * tf.range(5.0))
        gradients = tape.gradient(loss, layer.trainable_variables)
        names = [variable.name for variable in layer.trainable_variables]
        results.append((names, [layer(x).numpy(), *(gradient.numpy() for gradient in gradients)]))
    (expected_names, expected), (names, found) = results
    assert names == expected_names
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
